"""Rules for the scale of features, the noise and the likelihood."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np

from ...core.likelihoods import ColumnwiseLikelihood, Likelihood
from ..collect import ReportData
from .finding import Finding, enough, listed

__all__ = ["sigma_at_floor", "too_noisy", "unscaled", "wrong_likelihood"]

_LITTLE_SIGMA = 3e-3
"""The smallest plausible σ, in scaled units."""


def sigma_at_floor(e: ReportData) -> Iterator[Finding]:
    """Find features whose learned σ is close to its lower bound."""
    blocks: list[tuple[Likelihood, str]] = [(e.recipe.likelihood, "spread")]
    if isinstance(e.recipe.likelihood, ColumnwiseLikelihood):
        blocks = [(block, f"{i}.spread") for i, block in enumerate(e.recipe.likelihood.blocks)]
    at = 0
    for i, (block, key) in enumerate(blocks):
        own = e.model.weights.likelihood
        spread, floor = own.get(key), getattr(own.get(key.replace("spread", "floor")), "value", 0.0)
        width = (
            e.recipe.likelihood.widths[i]
            if isinstance(e.recipe.likelihood, ColumnwiseLikelihood)
            else len(e.column_of_feature)
        )
        if spread is not None and hasattr(block, "floor"):
            sigma = np.log1p(np.exp(np.asarray(jax.device_get(spread), np.float64))) + np.asarray(floor)
            low = np.flatnonzero(sigma < (bound := max(_LITTLE_SIGMA, 3 * block.floor)))
            if len(low):
                names = [e.column_of_feature[at + j] for j in low]
                yield Finding(
                    "Learned σ at its floor",
                    f"{listed(names)}: σ is below {bound:g}; its lower bound is {block.floor:g}.",
                    "Leave out the feature, or raise the bound with LearnedGaussian(floor=0.01). The feature is "
                    "constant or determined exactly by others, and its density outweighs that of all others.",
                )
        at += width


def unscaled(e: ReportData) -> Iterator[Finding]:
    """Find features whose units differ by orders of magnitude."""
    results = enough(e)
    if results is None or e.scaler.kind != "none" or e.schema is not None:
        return
    spread = np.sqrt(results.spread)
    some = spread[spread > 1e-9]
    if len(some) > 1 and some.max() > 100 * np.median(some):
        large = np.flatnonzero(spread > 100 * np.median(some))
        yield Finding(
            "Features in very different units",
            f"The standard deviation of {listed([e.column_of_feature[i] for i in large])} is more than 100 times that "
            f"of the median feature, {np.median(some):.3g}; scaling is None.",
            "Use scaling='auto'. Without it these features dominate the loss.",
            serious=True,
        )


def too_noisy(e: ReportData) -> Iterator[Finding]:
    """Find a corruption that is too strong to restore rows."""
    results = enough(e)
    if results is None or results.noise is None:
        return
    at = results.noise.factors.index(1.0)
    left = results.noise.after[at] / max(float(results.spread.mean()), 1e-12)
    if left > 0.5:
        yield Finding(
            "Noise level too high",
            f"At the training level, {left:.0%} of the features' variance cannot be restored.",
            "Halve the level, and check whether codes and reconstructions become sharper. With this much noise the "
            "best restoration is close to the mean row.",
        )


def wrong_likelihood(e: ReportData) -> Iterator[Finding]:
    """Find a likelihood that does not fit the values of the rows."""
    results = enough(e)
    if results is None or isinstance(e.recipe.likelihood, ColumnwiseLikelihood):
        return
    likelihood, known = e.recipe.likelihood, results.scaled[~np.isnan(results.scaled)]
    between = float(((known > 0.02) & (known < 0.98)).mean())
    if likelihood.discrete and likelihood.support == "unit" and between > 0.1:
        yield Finding(
            "Likelihood mismatch",
            f"The likelihood is for cells of 0 and 1, but {between:.0%} of the cells lie between 0.02 and 0.98.",
            "Compare log-densities only with models of the same likelihood, or use Gaussian() or LearnedGaussian(). "
            "Reconstructions are valid, but the scores are not densities of such rows.",
        )
    if likelihood.support == "real" and set(np.unique(known[:10_000])) <= {0.0, 1.0} and e.scaler.kind == "none":
        yield Finding(
            "Likelihood mismatch",
            "The likelihood is for real numbers, but all cells are 0 or 1.",
            "Use likelihood='bernoulli': it gives probabilities, and log-densities of such rows.",
        )
    sigma = getattr(likelihood, "sigma", None)
    if e.is_stochastic and sigma is not None:
        error = float(np.sqrt(results.errors.mean()))
        if not 0.5 <= error / sigma <= 2:
            yield Finding(
                "σ mismatch",
                f"σ is {sigma:.3g}, but the root mean squared error is {error:.3g}, in scaled units.",
                "Use LearnedGaussian(), which learns σ. σ weighs the reconstruction against the KL term: if it is too "
                "large, reconstructions blur; if it is too small, the codes do not follow the prior.",
            )
