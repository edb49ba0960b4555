"""Rules on the latent code: collapsed, dead and saturated units, and a sparsity off its target."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...metrics import active_units
from ..collect import ReportData
from .finding import Finding, enough

__all__ = ["dead_units", "off_target", "posterior_collapse"]


def posterior_collapse(e: ReportData) -> Iterator[Finding]:
    """Find posteriors that do not depend on the row (Burda et al. 2016, section 5)."""
    seen = enough(e)
    if seen is None or seen.kl is None:
        return
    active = active_units(seen.codes)
    k, n_active = len(active), int(active.sum())
    kl = float(seen.kl.sum(axis=1).mean())
    if not n_active:
        yield Finding(
            "Posterior collapse",
            f"None of {k} latent units varies with the row (variance of its mean above 0.01); KL is {kl:.2f} nats.",
            "The decoder ignores z. Raise β slowly, beta='linear', or set a lower one; train longer; or learn σ, "
            "LearnedGaussian(), if it is fixed and too large.",
            serious=True,
        )
    elif n_active <= k // 2:
        yield Finding(
            "Inactive latent units",
            f"{n_active} of {k} latent units vary with the row; KL is {kl:.1f} nats.",
            f"n_latent={max(1, n_active)} would do as well. If you expected more active units, raise β slowly, "
            "beta='linear', or set a lower one.",
        )


def dead_units(e: ReportData) -> Iterator[Finding]:
    """Find units of a deterministic code that have one value for every row."""
    seen = enough(e)
    if seen is None or e.is_stochastic:
        return
    codes = seen.codes
    if codes.shape == seen.rebuilt.shape and np.allclose(codes, seen.rebuilt):
        return  # the code is the restored row, whose columns may be constant
    spread, k = codes.std(axis=0), codes.shape[1]
    if e.recipe.latent.in_unit_interval:
        dead = codes.max(axis=0) < 0.1
        full = codes.mean(axis=0) > 0.9
        if full.mean() > 0.05:
            yield Finding(
                "Saturated units",
                f"{int(full.sum())} of {k} units are above 0.9 on the average row.",
                "A unit that is always on says nothing. Raise the penalty's weight, or lower the learning rate.",
            )
        why = "A unit that is never active is wasted. Lower the penalty's weight or raise ρ; or take fewer units."
    else:
        dead = spread < 1e-3 * max(float(spread.max()), 1e-12)
        why = "Take fewer units, or an activation that does not die, such as 'silu'; lower the learning rate."
    how = "are never above 0.1" if e.recipe.latent.in_unit_interval else "are the same for every row"
    if dead.mean() > 0.05:
        yield Finding("Dead units", f"{int(dead.sum())} of {k} units {how}.", why)


def off_target(e: ReportData) -> Iterator[Finding]:
    """Compare the mean activation with the penalty's ρ."""
    seen = enough(e)
    if seen is None or not e.targets:
        return
    rho, found = e.targets[0], float(seen.codes.mean())
    if not rho / 2 <= found <= 2 * rho:
        yield Finding(
            "Sparsity off target",
            f"Units are active {found:.3f} on average; ρ is {rho:g}.",
            "Raise the penalty's weight, or train longer." if found > rho else "Lower the penalty's weight.",
        )
