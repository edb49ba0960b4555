"""Rules for the latent code: collapsed, dead and saturated units, and sparsity off target."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...metrics import active_units
from ..collect import ReportData
from .finding import Finding, enough

__all__ = ["dead_units", "off_target", "posterior_collapse"]


def posterior_collapse(e: ReportData) -> Iterator[Finding]:
    """Find posteriors that do not depend on the row (Burda et al. 2016, section 5)."""
    results = enough(e)
    if results is None or results.kl is None:
        return
    active = active_units(results.codes)
    k, n_active = len(active), int(active.sum())
    kl = float(results.kl.sum(axis=1).mean())
    if not n_active:
        yield Finding(
            "Posterior collapse",
            f"None of {k} latent units varies with the row (variance of its mean above 0.01); KL is {kl:.2f} nats.",
            "The decoder ignores z. Raise β slowly with beta='linear', set a lower β, or train longer. If σ is fixed "
            "and too large, learn it with LearnedGaussian().",
            serious=True,
        )
    elif n_active <= k // 2:
        yield Finding(
            "Inactive latent units",
            f"{n_active} of {k} latent units vary with the row; KL is {kl:.1f} nats.",
            f"n_latent={max(1, n_active)} is sufficient. If you expected more active units, raise β slowly with "
            "beta='linear', or set a lower β.",
        )


def dead_units(e: ReportData) -> Iterator[Finding]:
    """Find units of a deterministic code that are constant over rows, never active, or always active."""
    results = enough(e)
    if results is None or e.is_stochastic:
        return
    codes = results.codes
    if codes.shape == results.reconstructions.shape and np.allclose(codes, results.reconstructions):
        return  # the code is the restored row, whose columns may be constant
    spread, k = codes.std(axis=0), codes.shape[1]
    if e.recipe.latent.in_unit_interval:
        dead = codes.max(axis=0) < 0.1
        full = codes.mean(axis=0) > 0.9
        if full.mean() > 0.05:
            yield Finding(
                "Saturated units",
                f"{int(full.sum())} of {k} units have a mean activation above 0.9.",
                "Raise the penalty's weight, or lower the learning rate. A unit that is always active carries no "
                "information.",
            )
        why = "Lower the penalty's weight, raise ρ, or use fewer units. A unit that is never active is unused."
    else:
        dead = spread < 1e-3 * max(float(spread.max()), 1e-12)
        why = "Use fewer units, an activation whose units cannot die ('silu', for example), or a lower learning rate."
    how = "are never above 0.1" if e.recipe.latent.in_unit_interval else "have the same value for every row"
    if dead.mean() > 0.05:
        yield Finding("Dead units", f"{int(dead.sum())} of {k} units {how}.", why)


def off_target(e: ReportData) -> Iterator[Finding]:
    """Compare the mean activation with the penalty's ρ."""
    results = enough(e)
    if results is None or not e.targets:
        return
    rho, found = e.targets[0], float(results.codes.mean())
    if not rho / 2 <= found <= 2 * rho:
        yield Finding(
            "Sparsity off target",
            f"The mean activation of the units is {found:.3f}; ρ is {rho:g}.",
            "Raise the penalty's weight, or train longer." if found > rho else "Lower the penalty's weight.",
        )
