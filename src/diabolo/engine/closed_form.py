r"""The start of a training: the best linear model, in closed form.

The optimum of a linear system is known: PCA for reconstruction, a linear regression of clean rows on corrupted rows for
denoising, factor analysis for a density. Networks with a linear path (`parts.SkipMLP`, or an `MLP` without hidden
layers) are initialised with it before the first step, so that training learns the nonlinear remainder only. If training
learns nothing, the start is the result.

Baldi & Hornik (1989) for PCA; Tipping & Bishop (1999) and Lucas et al. (2019), "Don't Blame the ELBO!", for the linear
variational model; Chen et al. (2012), "Marginalized Denoising Autoencoders", for denoising.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg
from scipy.special import expit

from ..core.corruptions import NoCorruption
from ..core.latents import Deterministic, DiagonalGaussian
from ..core.layers import Dense, Filter, Fixed, MLPModule, Neighbors, Skip
from ..core.likelihoods import Gaussian, GeneCounts, LearnedGaussian
from ..core.model import Model
from ..core.networks import Identity
from ..core.objectives import ELBO, Reconstruction
from ..core.penalties import SparsityConstraint
from . import inference
from .count_start import counts_start
from .factor_analysis import factor_analysis, informative, number_of_factors
from .linear_paths import dense, path, paths, pieces, placed
from .splits import Rows

__all__ = ["Start", "finish", "pieces", "prepared", "principal", "resolutions", "start"]

_MOST_COLUMNS = 2048
"""Up to this number of columns, a covariance matrix is decomposed; more columns need passes over the rows."""
_FARTHEST = 1e18
"""Largest scaled number whose square is a number of 32 bits; training refuses larger ones, whose products overflow."""
_PASSES, _OVERSAMPLED = 8, 16
_CORRUPTED = 1 << 14
"""Number of corrupted rows for a regression, with at least one copy of each row used."""
_COPIES, _MANY_COLUMNS = 40, 1024
_RIDGE = 1e-3
"""Ridge of the regression on corrupted rows, as a fraction of the mean variance."""
_SOLVED_ROWS, _HALVINGS = 1 << 16, 40
_MOSTLY_NOISE = 0.5
_COMPARED_VALUES, _REPEATED, _SAME, _CONSTANT = 4096, 0.75, 1e-5, 1e-3
_COMPARED = 512
"""Number of rows for the correlations that define neighbours."""
_FEW_TO_RESTORE = 512
"""Up to this number of rows, a regression is cross-validated."""


class Start(NamedTuple):
    """An initial model for a training.

    Attributes
    ----------
    model : Model
    is_linear : bool
        Whether its linear path is the best linear model.
    is_optimum : bool
        Whether the model is the optimum of the whole system, so that no training is needed.
    """

    model: Model
    is_linear: bool = False
    is_optimum: bool = False


def start(model: Model, rows: Rows, seed: int) -> Start:
    """Set the model's linear path to the best linear model of all rows, including held-out rows."""
    model = prepared(model, rows)
    recipe, linear = model.recipe, paths(model)
    is_of_genes = isinstance(recipe.likelihood, GeneCounts)
    is_known = isinstance(recipe.likelihood, Gaussian | LearnedGaussian) and not recipe.condition
    if linear is None or recipe.n_targets or not (is_of_genes or is_known):
        return Start(model)
    is_clean = isinstance(recipe.corruption, NoCorruption)
    if is_of_genes or isinstance(recipe.latent, DiagonalGaussian):
        if not (is_clean and recipe.missing != "mask" and isinstance(recipe.objective, ELBO)):
            return Start(model)
        return Start(counts_start(model, rows, seed), True) if is_of_genes else _factors(model, rows)
    if recipe.latent.in_unit_interval:
        return _inactive(model, rows)
    is_plain = isinstance(recipe.objective, Reconstruction) and recipe.latent == Deterministic(recipe.latent.n_latent)
    if not is_plain or (is_clean and recipe.missing == "mask"):  # a regression on clean rows has no missing cells
        return Start(model)
    return _components(model, rows) if is_clean else _restoring(model, rows, seed)


def prepared(model: Model, rows: Rows) -> Model:
    """Return the model with the bounds and the resolution of each column."""
    return _resolved(_bounded(model, rows), rows)


# -- bounds -----------------------------------------------------------------------------------------------------------


def _bounded(model: Model, rows: Rows) -> Model:
    """Return the model with its encoder's nonlinear path clipped to the bounds of the training rows."""
    if not isinstance(model.weights.encoder, Skip | Filter):
        return model
    recipe, (low, high) = model.recipe, (np.asarray(bound, np.float32) for bound in rows.bounds)
    if recipe.n_targets:
        low, high = low[: -recipe.n_targets], high[: -recipe.n_targets]
    shown = np.array(recipe.encoder_input(jnp.asarray(np.stack([low, high]))))
    if recipe.missing == "mask":
        shown[:, len(low) :] = [[0], [1]]
    return _within(model, *shown)


def _within(model: Model, low: np.ndarray, high: np.ndarray) -> Model:
    new = tuple(Fixed(jax.device_put(np.ascontiguousarray(bound, np.float32))) for bound in (low, high))
    weights = eqx.tree_at(lambda w: (w.encoder.low, w.encoder.high), model.weights, new)
    return Model(model.recipe, weights)


# -- rows -------------------------------------------------------------------------------------------------------------


def _pieces(rows: Rows) -> Iterator[np.ndarray]:
    return (np.clip(piece.astype(np.float64), -_FARTHEST, _FARTHEST) for piece in pieces(rows))


def _known_mean(rows: np.ndarray) -> np.ndarray:
    """Return the mean of each column's observed cells; 0 if it has none."""
    mean: np.ndarray = np.nansum(rows, axis=0) / np.maximum((~np.isnan(rows)).sum(axis=0), 1)
    return mean


def _moments(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance matrix of all rows."""
    d, n = rows.training.n_features, 0
    shift, total, product = _known_mean(next(_pieces(rows))), np.zeros(d), np.zeros((d, d))
    for piece in _pieces(rows):
        centred = np.nan_to_num(piece - shift)
        n += len(centred)
        total += centred.sum(axis=0)
        product += centred.T @ centred
    mean = total / n
    return shift + mean, product / n - np.outer(mean, mean)


def principal(rows: Rows, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean, the first k principal components (k, d), and the variance along each component.

    The result is exact for up to 2,048 columns or rows. Otherwise it is computed by subspace iteration over the rows
    (Halko, Martinsson & Tropp 2011, algorithm 4.4).
    """
    d = rows.training.n_features
    if d <= _MOST_COLUMNS:
        mean, covariance = _moments(rows)
        return mean, *_leading(covariance, k)
    mean, n = np.zeros(d), 0
    for piece in _pieces(rows):
        mean += piece.sum(axis=0)
        n += len(piece)
    mean /= n
    if n <= _MOST_COLUMNS:
        _, s, axes = linalg.svd(np.concatenate(list(_pieces(rows))) - mean, full_matrices=False)
        return mean, axes[:k], np.square(s[:k]) / n
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((d, min(k + _OVERSAMPLED, d))))[0]
    for _ in range(_PASSES):
        image = sum(centred.T @ (centred @ basis) for centred in (piece - mean for piece in _pieces(rows)))
        basis = np.linalg.qr(image)[0]
    inner = sum((part := (piece - mean) @ basis).T @ part for piece in _pieces(rows)) / n
    axes, variances = _leading(inner, k)
    return mean, axes @ basis.T, variances


def _leading(covariance: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first k axes, as rows, and the variance along each axis."""
    d = len(covariance)
    variances, axes = linalg.eigh(covariance, subset_by_index=(d - min(k, d), d - 1))
    return axes.T[::-1], np.maximum(variances[::-1], 0)


def _pad_axes(axes: np.ndarray, variances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Pad axes and variances with zeros to k axes."""
    missing = k - len(axes)
    return np.pad(axes, ((0, missing), (0, 0))), np.pad(variances, (0, missing))


# -- the best linear models -------------------------------------------------------------------------------------------


def _components(model: Model, rows: Rows) -> Start:
    """Return the start by PCA."""
    k = model.recipe.latent.n_latent
    mean, axes, variances = principal(rows, k)
    axes, variances = _pad_axes(axes, variances, k)
    is_all = isinstance(model.weights.encoder, MLPModule) and isinstance(model.weights.decoder, MLPModule)
    unit = np.ones(k) if is_all else np.sqrt(np.maximum(variances, 1e-6 * max(variances.max(), 1e-12)))
    found = placed(model, dense(axes.T / unit, -mean @ axes.T / unit), dense(axes * unit[:, None], mean))
    likelihood = model.recipe.likelihood
    if not is_all or not isinstance(likelihood, Gaussian) or model.recipe.penalties:
        return Start(_with_sigma(found, rows, mean, axes), is_linear=True)
    return Start(found, is_linear=True, is_optimum=True)


def _with_sigma(model: Model, rows: Rows, mean: np.ndarray, axes: np.ndarray) -> Model:
    """Return the model with a learned σ set to the error of the linear reconstruction."""
    if not isinstance(model.recipe.likelihood, LearnedGaussian):
        return model
    total, n = 0.0, 0
    for piece in _pieces(rows):
        centred = piece - mean
        total = total + np.square(centred - centred @ axes.T @ axes).sum(axis=0)
        n += len(piece)
    return placed(model, None, None, _spread(model, np.sqrt(total / n)))


def _spread(model: Model, sigma: np.ndarray) -> dict[str, np.ndarray]:
    """Return the likelihood's own weights for the given σ."""
    own = model.weights.likelihood
    above = np.maximum(sigma - np.asarray(own["floor"].value, np.float64), 1e-4)
    return own | {"spread": jax.device_put((above + np.log(-np.expm1(-above))).astype(np.float32))}


def _resolved(model: Model, rows: Rows) -> Model:
    """Return the model with a floor of σ that the resolution of each feature allows.

    A feature with repeated values is rounded: its density could grow without limit at these values, and would carry no
    information. Rounding to steps of δ has an error of standard deviation δ/√12. The floor is δ/√12, or the feature's
    standard deviation if that is smaller. A constant feature may differ by one step in one row after n rows, with a
    standard deviation of δ/√n, where δ is the smallest step of the other features. The floor of a constant feature is
    at least 1e-3, which also applies if no values repeat.
    """
    likelihood = model.recipe.likelihood
    if not isinstance(likelihood, LearnedGaussian) or model.recipe.n_targets:
        return model
    some = next(_pieces(rows))
    some = some[:: max(1, len(some) // _COMPARED_VALUES)]
    std, steps = np.nan_to_num(some - _known_mean(some)).std(axis=0), resolutions(some)
    constant = max(_CONSTANT, float(steps[steps > 0].min(initial=1)) / np.sqrt(rows.n_samples) if steps.any() else 0.0)
    lowest = np.maximum(np.where(std > 0, np.minimum(steps / np.sqrt(12), std), constant), likelihood.floor)
    own = model.weights.likelihood | {"floor": Fixed(jax.device_put(lowest.astype(np.float32)))}
    return Model(model.recipe, eqx.tree_at(lambda w: w.likelihood, model.weights, own))


def resolutions(rows: np.ndarray) -> np.ndarray:
    """Return the rounding step of each feature: the smallest distance of two values; 0 if values do not repeat.

    >>> resolutions(np.array([[0.1, 1.0], [0.3, 2.25], [0.1, 3.5], [0.3, 4.125], [0.7, 5.0]])).round(3).tolist()
    [0.2, 0.0]
    """
    found = np.zeros(rows.shape[1])
    for j, column in enumerate(rows.T):
        values = np.unique(column[~np.isnan(column)])
        gaps = np.diff(values)
        real = gaps > _SAME * max(1.0, float(np.abs(values).max(initial=0)))
        if real.any() and real.sum() + 1 <= _REPEATED * len(column):
            found[j] = gaps[real].min()
    return found


def _restoring(model: Model, rows: Rows, seed: int) -> Start:
    """Return the start by a regression of clean rows on corrupted rows, as the encoder reads them."""
    recipe = model.recipe
    clean = next(_pieces(rows)) if rows.training.n_rows > _CORRUPTED else np.concatenate(list(_pieces(rows)))
    clean = clean[:_CORRUPTED].astype(np.float32)
    d = clean.shape[1]
    n_wanted = _CORRUPTED if d <= _MANY_COLUMNS else _CORRUPTED // 4
    n_copies = int(np.clip(n_wanted // len(clean), 1, _COPIES))
    read = [
        np.asarray(
            recipe.encoder_input(jnp.asarray(inference.map_rows(inference.corrupt, model, clean, seed=seed + i)))
        )
        for i in range(n_copies)
    ]
    if isinstance(model.weights.encoder, Skip | Filter):
        model = _within(
            model, np.min([r.min(axis=0) for r in read], axis=0), np.max([r.max(axis=0) for r in read], axis=0)
        )
    known = ~np.isnan(clean)
    clean = np.where(known, clean, _known_mean(clean)).astype(np.float64)
    encoder = path(model.weights.encoder)
    if isinstance(encoder, Neighbors):
        found = _neighbors(clean, read, encoder)
        if len(clean) <= _FEW_TO_RESTORE:
            found = found.towards_identity(1 - _share_that_holds(clean, read, encoder))
        return Start(placed(model, found, None), True)
    inner, cross, shift, mean = _regression(clean, read)
    weight = linalg.solve(inner, cross, assume_a="pos")
    if isinstance(recipe.decoder, Identity):
        return Start(placed(model, dense(weight, mean - shift @ weight), None), True)
    axes, variances = _pad_axes(*_leading(weight.T @ inner @ weight, recipe.latent.n_latent), recipe.latent.n_latent)
    unit = np.sqrt(np.maximum(variances, 1e-6 * max(variances.max(), 1e-12)))
    coded = weight @ axes.T / unit
    return Start(placed(model, dense(coded, -shift @ coded), dense(axes * unit[:, None], mean)), True)


def _regression(clean: np.ndarray, read: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return moments of corrupted and clean rows: inner (m, m) with a ridge, cross (m, d), and the means."""
    n, mean = len(clean) * len(read), clean.mean(axis=0)
    shift = np.mean([piece.mean(axis=0, dtype=np.float64) for piece in read], axis=0)
    inner = sum((centred := piece - shift).T @ centred for piece in read) / n
    cross = sum((piece - shift).T @ (clean - mean) for piece in read) / n
    inner[np.diag_indices(len(inner))] += _RIDGE * np.trace(inner) / len(inner) + 1e-9
    return inner, cross, shift, mean


def _share_that_holds(clean: np.ndarray, read: list[np.ndarray], like: Neighbors) -> float:
    """Return the fraction of the regression's change that moves left-out rows towards the clean rows."""
    fold = np.random.default_rng(0).permutation(len(clean)) % 3
    good = total = 0.0
    for out in range(3):
        kept, left = fold != out, fold == out
        found = _neighbors(clean[kept], [piece[kept] for piece in read], like)
        for piece in read:
            change = _estimated(found, piece[left]) - piece[left]
            good += float(((clean[left] - piece[left]) * change).sum())
            total += float(np.square(change).sum())
    return float(np.clip(good / max(total, 1e-30), 0, 1))


def _estimated(found: Neighbors, rows: np.ndarray) -> np.ndarray:
    """Compute `Neighbors.estimate` for few rows, without compiling a program."""
    inputs, weight, bias = (np.asarray(one.value, np.float64) for one in (found.inputs, found.weight, found.bias))
    estimate: np.ndarray = np.einsum("ndm,dm->nd", rows[:, inputs.astype(int)], weight) + bias
    return estimate


def _neighbors(clean: np.ndarray, read: list[np.ndarray], like: Neighbors) -> Neighbors:
    """Regress each column on the columns with the highest correlation, including itself."""
    inner, cross, shift, mean = _regression(clean, read)
    n_neighbors = like.weight.value.shape[1]
    some = clean[:: max(1, len(clean) // _COMPARED)]
    centred = some - some.mean(axis=0)
    product = centred.T @ centred
    spread = np.sqrt(np.diag(product).copy())
    product /= np.maximum(spread[:, None] * spread, np.finfo(float).tiny)
    closeness = np.abs(product)
    np.fill_diagonal(closeness, 2)
    inputs = np.argsort(-closeness, axis=1, kind="stable")[:, :n_neighbors]
    sign = np.where(np.take_along_axis(product, inputs, axis=1) < 0, -1.0, 1.0)
    among = inner[inputs[:, :, None], inputs[:, None, :]]
    weight = np.linalg.solve(among, np.take_along_axis(cross.T, inputs, axis=1)[..., None])[..., 0]
    bias = mean - (weight * shift[inputs]).sum(axis=1)
    return Neighbors.of(inputs, weight, bias, sign, mean, clean.std(axis=0))


def _inactive(model: Model, rows: Rows) -> Start:
    """Return the start with the mean activations of the penalty, and the decoder's output at the mean row."""
    targets = [penalty.rho for penalty in model.recipe.penalties if hasattr(penalty, "rho")]
    encoder, decoder = path(model.weights.encoder), path(model.weights.decoder)
    if not targets or model.recipe.missing == "mask":
        return Start(model)
    mean = next(_pieces(rows)).mean(axis=0)
    weight, rho = np.asarray(encoder.weight, np.float64), float(targets[0])
    bias = np.log(rho / (1 - rho)) - mean @ weight
    back = np.asarray(decoder.weight, np.float64)
    return Start(placed(model, dense(weight, bias), dense(back, mean - rho * back.sum(axis=0))))


def finish(model: Model, rows: Rows) -> Model:
    """Solve for the encoder's biases after training, so that every mean activation is ρ of a `SparsityConstraint`.

    Training with the multiplier has brought the mean activations close to ρ. Other models are returned unchanged.
    """
    recipe = model.recipe
    constraints = [penalty for penalty in recipe.penalties if isinstance(penalty, SparsityConstraint)]
    encoder, decoder = path(model.weights.encoder), path(model.weights.decoder)
    if not constraints or not (isinstance(encoder, Dense) and isinstance(decoder, Dense)) or recipe.missing == "mask":
        return model
    rho, weight = float(constraints[0].rho), np.asarray(encoder.weight, np.float64)
    some = np.concatenate(list(_pieces(rows)) if rows.training.n_rows <= _SOLVED_ROWS else [next(_pieces(rows))])
    before = some @ weight + np.asarray(encoder.bias, np.float64)
    low, high = np.full(before.shape[1], -30.0), np.full(before.shape[1], 30.0)
    for _ in range(_HALVINGS):
        shift = (low + high) / 2
        above = expit(before + shift).mean(axis=0) > rho
        low, high = np.where(above, low, shift), np.where(above, shift, high)
    shift = (low + high) / 2
    moved = (expit(before + shift) - expit(before)).mean(axis=0)
    back = np.asarray(decoder.weight, np.float64)
    bias = np.asarray(decoder.bias, np.float64) - moved @ back[: len(moved)]  # a condition's weights follow
    return placed(model, dense(weight, np.asarray(encoder.bias, np.float64) + shift), dense(back, bias))


def _centred_sample(rows: Rows) -> np.ndarray:
    """Return rows of the first piece, centred, with 0 for missing cells."""
    some = next(_pieces(rows))[:_CORRUPTED]
    return np.nan_to_num(some - _known_mean(some))


def _factors(model: Model, rows: Rows) -> Start:
    """Return the start by factor analysis, whose posterior is exact: the ELBO equals the log-likelihood."""
    k = model.recipe.latent.n_latent
    if rows.training.n_features > _MOST_COLUMNS:
        return Start(model)
    mean, covariance = _moments(rows)
    d = len(mean)
    floor = np.full(d, 1e-6)
    if isinstance(model.recipe.likelihood, LearnedGaussian):
        floor = np.square(np.asarray(model.weights.likelihood["floor"].value, np.float64))
    loadings, noise = factor_analysis(covariance, number_of_factors(_centred_sample(rows), min(k, d), floor), floor)
    if k >= d and noise.sum() > _MOSTLY_NOISE * np.diag(covariance).sum():
        loadings, noise = informative(loadings, noise, floor)
    if isinstance(model.recipe.likelihood, Gaussian):
        noise = np.full(d, model.recipe.likelihood.sigma**2)
        values, axes = linalg.eigh(covariance)
        order = slice(None, -min(k, d) - 1, -1)
        loadings = (axes[:, order] * np.sqrt(np.maximum(values[order] - noise[0], 0))).T
    loadings = np.pad(loadings, ((0, k - len(loadings)), (0, 0)))
    precision = 1 + (loadings**2 / noise).sum(axis=1)  # diagonal: loadings are orthogonal in the noise's units
    coded = (loadings / noise / precision[:, None]).T
    scale = np.sqrt(1 / precision) - 1e-6
    spread = scale + np.log(-np.expm1(-np.maximum(scale, 1e-6)))
    weight = np.hstack([coded, np.zeros((d, k))])
    bias = np.concatenate([-mean @ coded, spread])
    likelihood = _spread(model, np.sqrt(noise)) if isinstance(model.recipe.likelihood, LearnedGaussian) else None
    return Start(placed(model, dense(weight, bias), dense(loadings, mean), likelihood), True)
