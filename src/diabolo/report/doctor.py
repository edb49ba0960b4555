"""What is amiss with a fitted autoencoder, in plain words: each with the figure it rests on, and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from ..corruptions import NoCorruption
from ..likelihoods import Likelihood, Mixed
from ..metrics import active_units
from .evidence import Evidence, Seen

__all__ = ["RULES", "Finding", "examine"]


class Finding(NamedTuple):
    """One thing that is amiss.

    Attributes
    ----------
    what : str
        A name, a few words.
    figure : str
        What it rests on.
    remedy : str
        What to do.
    serious : bool
        Whether results should not be trusted before it is mended.
    """

    what: str
    figure: str
    remedy: str
    serious: bool = False


Rule = Callable[[Evidence], Iterator[Finding]]

_FEW_STEPS = 1_000
_LITTLE = 0.02
"""A share of all that was learned that is worth no remark."""


def _listed(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# -- the latent -------------------------------------------------------------------------------------------------------


def posterior_collapse(e: Evidence) -> Iterator[Finding]:
    """Units of a posterior that say nothing of the row (Burda et al. 2016, section 5)."""
    if e.seen is None or e.seen.kl is None:
        return
    active = active_units(e.seen.codes)
    k, n_active = len(active), int(active.sum())
    kl = float(e.seen.kl.sum(axis=1).mean())
    if not n_active:
        yield Finding(
            "Posterior collapse",
            f"None of {k} latent units varies with the row (variance of its mean above 0.01); KL is {kl:.2f} nats.",
            "The decoder does without z. Raise β slowly, beta='linear', or set a lower one; train longer; or learn σ, "
            "LearnedGaussian(), if it is fixed and too large.",
            serious=True,
        )
    elif n_active <= k // 2:
        yield Finding(
            "Latent units without work",
            f"{n_active} of {k} latent units vary with the row; KL is {kl:.1f} nats.",
            f"n_latent={max(1, n_active)} would do as well. If you expected more of them, raise β slowly, "
            "beta='linear', or set a lower one.",
        )


def dead_units(e: Evidence) -> Iterator[Finding]:
    """Units of a deterministic code that are the same for every row."""
    if e.seen is None or e.is_stochastic:
        return
    codes = e.seen.codes
    spread, k = codes.std(axis=0), codes.shape[1]
    if e.recipe.latent.in_unit_interval:
        dead = codes.max(axis=0) < 0.1
        full = codes.mean(axis=0) > 0.9
        if full.mean() > 0.05:
            yield Finding(
                "Saturated units",
                f"{int(full.sum())} of {k} units are above 0.9 on the average row.",
                "A unit that is always on tells nothing. Raise the penalty's weight, or lower the learning rate.",
            )
        why = "A unit that never is active is lost. Lower the penalty's weight or raise ρ; or take fewer units."
    else:
        dead = spread < 1e-3 * max(float(spread.max()), 1e-12)
        why = "Take fewer units, or an activation that does not die, 'silu' say; lower the learning rate."
    how = "never are above 0.1" if e.recipe.latent.in_unit_interval else "are the same for every row"
    if dead.mean() > 0.05:
        yield Finding("Dead units", f"{int(dead.sum())} of {k} units {how}.", why)


def off_target(e: Evidence) -> Iterator[Finding]:
    """Mean activations far from the ρ that was asked for."""
    if e.seen is None or not e.targets:
        return
    rho, found = e.targets[0], float(e.seen.codes.mean())
    if not rho / 2 <= found <= 2 * rho:
        yield Finding(
            "The code is not as sparse as asked",
            f"Units are active {found:.3f} on average; ρ is {rho:g}.",
            "Raise the penalty's weight, or train longer." if found > rho else "Lower the penalty's weight.",
        )


# -- the training -----------------------------------------------------------------------------------------------------


def _judged(e: Evidence) -> list[float]:
    return e.curve("validation_loss") or e.curve("loss")


def overfitting(e: Evidence) -> Iterator[Finding]:
    """A held-out loss that rose again, or that lies far above the training loss."""
    held, own = e.curve("validation_loss"), e.curve("loss")
    if len(held) < 5:
        return
    best, learned = min(held), max(held[0] - min(held), 1e-12)
    risen = (held[-1] - best) / learned
    if risen > 0.05:
        yield Finding(
            "Overfitting",
            f"The held-out loss was lowest in epoch {e.best_epoch} of {e.n_epochs} and has risen by {risen:.0%} of "
            "what was learned since; the weights kept are those of that epoch.",
            "More rows, a smaller network or code, or noise on the way in: a corruption such as GaussianNoise(0.1). "
            "early_stopping=True saves the time.",
        )
    gap = (held[e.best_epoch - 1] - own[e.best_epoch - 1]) / learned
    alike = e.curve("beta")[e.best_epoch - 1 : e.best_epoch] in ([], [1.0])  # held-out rows are judged at β = 1
    if risen <= 0.05 and gap > 0.25 and alike:
        yield Finding(
            "Learned by heart",
            f"At the best epoch the held-out loss is {held[e.best_epoch - 1]:.4g}, the training loss "
            f"{own[e.best_epoch - 1]:.4g}: the difference is {gap:.0%} of what was learned.",
            "More rows, a smaller network or code, or noise on the way in.",
        )


def under_training(e: Evidence) -> Iterator[Finding]:
    """A loss that still fell when training ended."""
    curve = _judged(e)
    if not curve or e.best_epoch < 0.9 * e.n_epochs:
        return
    n_steps = e.n_epochs * -(-e.n_samples // e.parameters["batch_size"])
    if n_steps < _FEW_STEPS:  # the curve does not show it, since the rate falls to 0 however short a training is
        yield Finding(
            "Stopped too early",
            f"The optimiser made {n_steps:,} steps, and the last epochs were the best.",
            "Train longer: max_epochs=None makes 4,000 steps. Then look whether it helped.",
        )
        return
    if len(curve) < 10:
        return
    start, end = curve[0], min(curve)
    if e.anneals:  # while β rises, the training loss does not say how much was learned
        start = max(curve)
    tenth = max(1, len(curve) // 10)
    late = (min(curve[:-tenth]) - end) / max(start - end, 1e-12)
    if late > _LITTLE:
        yield Finding(
            "Stopped too early",
            f"The last tenth of the epochs brought {late:.0%} of all that was learned.",
            f"Train longer: max_epochs={2 * e.n_epochs}, or a higher learning_rate.",
        )


def worse_than_pca(e: Evidence) -> Iterator[Finding]:
    """A code that keeps less than the best linear one of as many numbers."""
    if e.seen is None or e.is_stochastic or e.seen.pca_explained is None or e.targets:
        return
    if not isinstance(e.recipe.corruption, NoCorruption):
        return  # who has learned to take noise away keeps less of clean rows
    if e.seen.explained < e.seen.pca_explained - _LITTLE:
        yield Finding(
            "Behind PCA",
            f"The reconstruction keeps {e.seen.explained:.1%} of the variance; PCA with as many components "
            f"{e.seen.pca_explained:.1%} of these rows'.",
            "Train longer, raise the learning rate, or scale the features; on few rows, PCA may be what you want.",
        )


# -- the data and the likelihood --------------------------------------------------------------------------------------


def sigma_at_floor(e: Evidence) -> Iterator[Finding]:
    """A learned σ that can fall no more: a feature that is told exactly."""
    blocks: list[tuple[Likelihood, str]] = [(e.recipe.likelihood, "spread")]
    if isinstance(e.recipe.likelihood, Mixed):
        blocks = [(block, f"{i}.spread") for i, block in enumerate(e.recipe.likelihood.blocks)]
    at = 0
    for i, (block, key) in enumerate(blocks):
        spread = e.model.weights.likelihood.get(key)
        width = e.recipe.likelihood.widths[i] if isinstance(e.recipe.likelihood, Mixed) else len(e.owners)
        if spread is not None and hasattr(block, "floor"):
            sigma = np.log1p(np.exp(np.asarray(jax.device_get(spread), np.float64))) + block.floor
            low = np.flatnonzero(sigma < 3 * block.floor)
            if len(low):
                names = [e.owners[at + j] for j in low]
                yield Finding(
                    "Learned σ at its floor",
                    f"{_listed(names)}: σ is below {3 * block.floor:g}, {block.floor:g} being the least allowed.",
                    "Such a feature is constant, or follows exactly from others, and its density dwarfs all else. "
                    "Leave it out, or raise the floor, LearnedGaussian(floor=0.01).",
                )
        at += width


def unscaled(e: Evidence) -> Iterator[Finding]:
    """Features that are read in units that differ by orders of magnitude."""
    if e.seen is None or e.scaler.kind != "none" or e.schema is not None:
        return
    spread = np.sqrt(e.seen.spread)
    some = spread[spread > 1e-9]
    if len(some) > 1 and some.max() > 100 * np.median(some):
        large = np.flatnonzero(spread > 100 * np.median(some))
        yield Finding(
            "Features in very different units",
            f"The standard deviation of {_listed([e.owners[i] for i in large])} is more than a hundred times that of "
            f"the median feature, {np.median(some):.3g}; scaling is None.",
            "The loss is theirs alone. Use scaling='auto'.",
            serious=True,
        )


def too_noisy(e: Evidence) -> Iterator[Finding]:
    """A corruption that leaves too little to restore rows from."""
    if e.seen is None or e.seen.noise is None:
        return
    at = e.seen.noise.factors.index(1.0)
    left = e.seen.noise.after[at] / max(float(e.seen.spread.mean()), 1e-12)
    if left > 0.5:
        yield Finding(
            "Noise level too high",
            f"At the level of training {left:.0%} of the features' variance cannot be restored.",
            "The best answer to such noise is nearly the mean row. Halve the level, and see whether codes and "
            "reconstructions get sharper.",
        )


def _cells(seen: Seen, which: slice) -> np.ndarray:
    cells = seen.scaled[:, which]
    known: np.ndarray = cells[~np.isnan(cells)]
    return known


def wrong_likelihood(e: Evidence) -> Iterator[Finding]:
    """A likelihood of other values than the rows'."""
    if e.seen is None or isinstance(e.recipe.likelihood, Mixed):
        return
    likelihood, known = e.recipe.likelihood, _cells(e.seen, slice(None))
    between = float(((known > 0.02) & (known < 0.98)).mean())
    if likelihood.discrete and likelihood.support == "unit" and between > 0.1:
        yield Finding(
            "A likelihood for 0 and 1, on values between",
            f"{between:.0%} of the cells lie between 0.02 and 0.98.",
            "Reconstructions are right, but log-densities are no densities of such rows: compare them with models of "
            "the same likelihood only, or take Gaussian() or LearnedGaussian().",
        )
    if likelihood.support == "real" and set(np.unique(known[:10_000])) <= {0.0, 1.0} and e.scaler.kind == "none":
        yield Finding(
            "A likelihood for real numbers, on 0 and 1",
            "All cells are 0 or 1.",
            "likelihood='bernoulli' gives probabilities, and log-densities that mean something.",
        )
    sigma = getattr(likelihood, "sigma", None)
    if e.is_stochastic and sigma is not None:
        error = float(np.sqrt(e.seen.errors.mean()))
        if not 0.5 <= error / sigma <= 2:
            yield Finding(
                "σ does not fit",
                f"σ is {sigma:.3g}, but the root mean squared error is {error:.3g}, in scaled units.",
                "σ weighs the reconstruction against the KL term: too large a one blurs, too small a one ignores the "
                "prior. Use LearnedGaussian(), which finds it.",
            )


RULES: tuple[Rule, ...] = (
    unscaled,
    posterior_collapse,
    dead_units,
    off_target,
    overfitting,
    under_training,
    worse_than_pca,
    sigma_at_floor,
    too_noisy,
    wrong_likelihood,
)
"""All that is looked for."""


def examine(evidence: Evidence) -> list[Finding]:
    """All that is amiss, the serious first."""
    found = [finding for rule in RULES for finding in rule(evidence)]
    return sorted(found, key=lambda finding: not finding.serious)
