r"""The linear model of a density: factor analysis of the rows as the encoder reads them, given the condition.

For numbers it is the optimum among linear models, with an exact posterior: x ∣ c ~ N(m + Bᵀ(c − m_c), WᵀW + Ψ). Counts
and categories are taken for normal with the same moments, and the decoder's outputs are the tangent of the inverse link
at their mean: Δη = Δx / (dx/dη).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from ..core.likelihoods import Bernoulli, Categorical, Gaussian, LearnedGaussian, NegativeBinomial
from ..core.model import Model, Recipe
from .factor_analysis import factor_analysis, informative, loadings_of, number_of_factors
from .linear_paths import blocks_of, dense, inverse_softplus, placed, spread
from .moments import MOST_COLUMNS, clipped, known_mean, moments, times, weighted
from .splits import Rows

__all__ = ["Explained", "explained", "linear_density", "links"]

_SAMPLED = 1 << 14
"""Number of rows that choose the number of factors."""
_MOSTLY_NOISE = 0.5
_LEAST_NOISE = 0.5
"""Smallest noise of a count or a category, as a fraction of its variance: it is not a linear function of a code."""
_NUMBERS = (Gaussian, LearnedGaussian)
_KNOWN = (*_NUMBERS, Bernoulli, Categorical, NegativeBinomial)
Links = Literal["identity", "tangent", "unknown"]
"""Of numbers alone; of numbers, counts and categories; of something else, or without numbers."""
_SINGULAR = 1e-6
"""Relative size below which directions of a condition are taken for constant; a category has one."""


class Explained(NamedTuple):
    """The rows as the encoder reads them, and what is left of their covariance given the condition."""

    mean: np.ndarray
    """(d,), of all features."""
    rest: np.ndarray
    """The features that are not a condition."""
    condition: np.ndarray
    """The features that are."""
    effect: np.ndarray
    """(n_condition, n_rest), the regression of the rest on the condition."""
    covariance: np.ndarray
    """(n_rest, n_rest)."""

    def encoder(self, coded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (d, k) and bias (k,) that read the rest's deviation from what the condition explains."""
        weight = np.zeros((len(self.mean), coded.shape[1]))
        weight[self.rest] = coded
        weight[self.condition] = -self.effect @ coded
        return weight, -self.mean @ weight

    def decoder(self, loadings: np.ndarray, slope: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (k + n_condition, d) and bias (d,); slope and centre, (n_rest,), are those of the link."""
        k, c = len(loadings), self.condition
        weight, bias = np.zeros((k + len(c), len(self.mean))), np.zeros(len(self.mean))
        weight[:, self.rest] = np.vstack([loadings, self.effect]) * slope
        bias[self.rest] = centre - self.mean[c] @ self.effect * slope
        return weight, bias


def links(recipe: Recipe, n_features: int) -> Links:
    """Return how well the linear model is known for the features beside the condition."""
    given = recipe.is_condition(n_features)
    of = [one.likelihood for one in blocks_of(recipe.likelihood, n_features) if not given[one.features].all()]
    if not any(isinstance(one, _NUMBERS) for one in of) or not all(isinstance(one, _KNOWN) for one in of):
        return "unknown"
    return "identity" if all(isinstance(one, _NUMBERS) for one in of) else "tangent"


def explained(recipe: Recipe, rows: Rows) -> Explained:
    """Compute the moments of all rows as the encoder reads them."""
    mean, covariance = moments(rows, lambda piece: _read(recipe, piece))
    given = recipe.is_condition(len(mean))
    rest, condition = np.flatnonzero(~given), np.flatnonzero(given)
    own, across = covariance[np.ix_(rest, rest)], covariance[np.ix_(condition, rest)]
    if not len(condition):
        return Explained(mean, rest, condition, across, covariance)
    effect = linalg.pinvh(covariance[np.ix_(condition, condition)], rtol=_SINGULAR) @ across
    return Explained(mean, rest, condition, effect, own - across.T @ effect)


def _read(recipe: Recipe, piece: np.ndarray) -> np.ndarray:
    """Return rows as the encoder reads them, in 64 bits; numbers are read as they are."""
    if isinstance(recipe.likelihood, _NUMBERS):
        return piece
    return np.asarray(recipe.input_likelihood.transform_input(jnp.asarray(piece, jnp.float32)), np.float64)


def linear_density(model: Model, rows: Rows) -> Model | None:
    """Return the model with factor analysis in its linear paths; None if rows have too many columns for it."""
    recipe, k = model.recipe, model.recipe.latent.n_latent
    if rows.training.n_features > MOST_COLUMNS:
        return None
    found = explained(recipe, rows)
    rest, covariance = found.rest, found.covariance
    d, variance = len(rest), np.diag(covariance)
    floor, fixed = np.full(len(found.mean), 1e-6), np.full(len(found.mean), np.nan)
    is_number = np.zeros(len(found.mean), bool)
    for block in blocks_of(recipe.likelihood, len(found.mean)):
        is_number[block.features] = isinstance(block.likelihood, _NUMBERS)
        if isinstance(block.likelihood, LearnedGaussian):
            floor[block.features] = np.square(block.own(model.weights.likelihood, "floor"))
        elif isinstance(block.likelihood, Gaussian):
            fixed[block.features] = block.likelihood.sigma**2
    floor, fixed = floor[rest], fixed[rest]
    floor = np.where(is_number[rest], floor, np.maximum(floor, _LEAST_NOISE * variance))
    n_factors = number_of_factors(_unexplained(recipe, found, rows), min(k, d), floor)
    loadings, noise = factor_analysis(covariance, n_factors, floor)
    if k >= d and noise.sum() > _MOSTLY_NOISE * variance.sum():
        loadings, noise = informative(loadings, noise, floor)
    if not np.isnan(fixed).all():
        noise = np.where(np.isnan(fixed), noise, fixed)
        loadings = loadings_of(covariance, noise, min(k, d))
    loadings = np.pad(loadings, ((0, k - len(loadings)), (0, 0)))
    precision = 1 + (loadings**2 / noise).sum(axis=1)  # diagonal: loadings are orthogonal in the noise's units
    weight, bias = found.encoder((loadings / noise / precision[:, None]).T)
    wide = inverse_softplus(np.maximum(np.sqrt(1 / precision) - 1e-6, 1e-6))
    slope, centre = _links(recipe, found, rows, (loadings**2).sum(axis=0))
    sigma = np.ones(len(found.mean))
    sigma[rest] = np.sqrt(noise)
    return placed(
        model,
        dense(np.hstack([weight, np.zeros((len(weight), k))]), np.concatenate([bias, wide])),
        dense(*found.decoder(loadings, slope, centre)),
        spread(model, sigma),
    )


def _unexplained(recipe: Recipe, found: Explained, rows: Rows) -> np.ndarray:
    """Return rows of the first piece without what the condition explains, centred, with 0 for missing cells."""
    some = _read(recipe, next(clipped(rows))[:_SAMPLED])
    some = np.nan_to_num(some - known_mean(some))
    return some[:, found.rest] - some[:, found.condition] @ found.effect


def _links(recipe: Recipe, found: Explained, rows: Rows, common: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return dη/dx and η at the mean of each feature beside the condition; ``common`` is its variance by the code."""
    d = len(found.mean)
    slope, centre = np.ones(d), found.mean.copy()
    if isinstance(recipe.likelihood, _NUMBERS):
        return slope[found.rest], centre[found.rest]
    total, n = np.zeros(d), 0.0
    for piece, weight in weighted(rows):
        total += times(piece, weight).sum(axis=0)
        n += len(piece) if weight is None else weight.sum()
    low = 0.5 / n
    mean = np.maximum(total / n, low)
    log_mean, at = np.log(mean), np.clip(mean, low, 1 - low)
    log_mean[found.rest] -= common / 2  # of a log-normal
    for block in blocks_of(recipe.likelihood, d):
        some = block.features
        if isinstance(block.likelihood, NegativeBinomial):
            centre[some] = log_mean[some]
        elif isinstance(block.likelihood, Bernoulli):
            slope[some], centre[some] = 1 / (at * (1 - at))[some], np.log(at / (1 - at))[some]
        elif isinstance(block.likelihood, Categorical):
            slope[some], centre[some] = 1 / at[some], np.log(at[some])
    return slope[found.rest], centre[found.rest]
