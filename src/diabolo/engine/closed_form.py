r"""The start of a training: the best linear model, in closed form.

The optimum of a linear system is known: PCA for reconstruction, a linear regression of clean rows on corrupted rows for
denoising, factor analysis for a density. Networks with a linear path (`parts.SkipMLP`, or an `MLP` without hidden
layers) are initialised with it before the first step, so that training learns the nonlinear remainder only. If training
learns nothing, the start is the result.

Baldi & Hornik (1989) for PCA; Tipping & Bishop (1999) and Lucas et al. (2019), "Don't Blame the ELBO!", for the linear
variational model; Chen et al. (2012), "Marginalized Denoising Autoencoders", for denoising.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from scipy import linalg
from scipy.special import expit

from ..core.corruptions import NoCorruption
from ..core.latents import Deterministic, DiagonalGaussian
from ..core.layers import Dense, Filter, Fixed, MLPModule, Neighbors, Skip
from ..core.likelihoods import Gaussian, LearnedGaussian
from ..core.model import Model
from ..core.networks import Identity
from ..core.objectives import ELBO, Reconstruction
from ..core.penalties import SparsityConstraint
from ..core.tied import TransposedModule
from . import inference
from .factor_analysis import factor_analysis, informative, number_of_factors
from .moments import MOST_COLUMNS, clipped, known_mean, leading, moments, pad_axes, principal, times, weighted
from .splits import Rows

__all__ = ["Start", "finish", "prepared", "resolutions", "start"]

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
    recipe, paths = model.recipe, _paths(model)
    if (
        paths is None
        or recipe.n_targets
        or recipe.condition
        or not isinstance(recipe.likelihood, Gaussian | LearnedGaussian)
        or not _is_transposable(model)
    ):
        return Start(model)
    is_clean = isinstance(recipe.corruption, NoCorruption)
    if isinstance(recipe.latent, DiagonalGaussian):
        is_known = is_clean and recipe.missing != "mask" and isinstance(recipe.objective, ELBO)
        return _factors(model, rows) if is_known else Start(model)
    if recipe.latent.in_unit_interval:
        return _inactive(model, rows)
    if not (isinstance(recipe.objective, Reconstruction) and recipe.latent == Deterministic(recipe.latent.n_latent)):
        return Start(model)
    if is_clean and recipe.missing == "mask":  # a regression on clean rows has no missing cells
        return Start(model)
    return _components(model, rows) if is_clean else _restoring(model, rows, seed)


def _is_transposable(model: Model) -> bool:
    """Return whether the best linear decoder is the transposed encoder, if it must be: for PCA it is."""
    recipe = model.recipe
    is_plain = isinstance(recipe.corruption, NoCorruption) and recipe.latent == Deterministic(recipe.latent.n_latent)
    return is_plain or not isinstance(model.weights.decoder, TransposedModule)


def prepared(model: Model, rows: Rows, frozen: tuple[str, ...] = ()) -> Model:
    """Return the model with the bounds and the resolution of each column, but in parts that are frozen."""
    model = model if "encoder" in frozen else _bounded(model, rows)
    return model if "likelihood" in frozen else _resolved(model, rows)


# -- a model's linear paths -------------------------------------------------------------------------------------------


def _path(module: PyTree) -> PyTree:
    """Return the linear map of a network; None if it has none."""
    if isinstance(module, Skip):
        return module.linear
    if isinstance(module, Filter):
        return module.neighbors
    if isinstance(module, MLPModule) and len(module.layers) == 1 and module.output_activation == "identity":
        return module.layers[0]
    if isinstance(module, TransposedModule) and len(module.biases) == 1:
        return Dense(jax.device_put(np.zeros((module.n_in, module.biases[0].size), np.float32)), module.biases[0])
    return None


def _paths(model: Model) -> tuple[PyTree, PyTree] | None:
    """Return the linear maps of encoder and decoder; None if one of them has none. An `Identity` needs no map."""
    encoder = _path(model.weights.encoder)
    decoder = model.recipe.decoder if isinstance(model.recipe.decoder, Identity) else _path(model.weights.decoder)
    if encoder is None or decoder is None or not isinstance(model.recipe.latent, Deterministic | DiagonalGaussian):
        return None
    return encoder, decoder


def _with_path(module: PyTree, linear: PyTree) -> PyTree:
    if isinstance(module, Skip):
        return eqx.tree_at(lambda m: m.linear, module, linear)
    if isinstance(module, Filter):
        return eqx.tree_at(lambda m: m.neighbors, module, linear)
    if isinstance(module, TransposedModule):
        return eqx.tree_at(lambda m: m.biases[0], module, linear.bias)
    return eqx.tree_at(lambda m: m.layers[0], module, linear)


def _dense(weight: np.ndarray, bias: np.ndarray) -> Dense:
    return Dense(*(jax.device_put(np.ascontiguousarray(array, np.float32)) for array in (weight, bias)))


def _placed(model: Model, encoder: Any, decoder: Any, likelihood: Any = None) -> Model:
    """Return the model with other linear maps; None leaves a map unchanged.

    Decoder outputs other than the mean of each column are set to 0.
    """
    weights = model.weights
    if encoder is not None:
        weights = eqx.tree_at(lambda w: w.encoder, weights, _with_path(weights.encoder, encoder))
    if decoder is not None:
        beyond = len(_path(weights.decoder).bias) - len(decoder.bias)
        decoder = _dense(np.pad(decoder.weight, ((0, 0), (0, beyond))), np.pad(decoder.bias, (0, beyond)))
        weights = eqx.tree_at(lambda w: w.decoder, weights, _with_path(weights.decoder, decoder))
    if likelihood is not None:
        weights = eqx.tree_at(lambda w: w.likelihood, weights, likelihood)
    return Model(model.recipe, weights)


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


# -- the best linear models -------------------------------------------------------------------------------------------


def _components(model: Model, rows: Rows) -> Start:
    """Return the start by PCA."""
    k = model.recipe.latent.n_latent
    mean, axes, variances = principal(rows, k)
    axes, variances = pad_axes(axes, variances, k)
    is_all = isinstance(model.weights.encoder, MLPModule) and isinstance(
        model.weights.decoder, MLPModule | TransposedModule
    )
    unit = np.ones(k) if is_all else np.sqrt(np.maximum(variances, 1e-6 * max(variances.max(), 1e-12)))
    placed = _placed(model, _dense(axes.T / unit, -mean @ axes.T / unit), _dense(axes * unit[:, None], mean))
    likelihood = model.recipe.likelihood
    if not is_all or not isinstance(likelihood, Gaussian) or model.recipe.penalties:
        return Start(_with_sigma(placed, rows, mean, axes), is_linear=True)
    return Start(placed, is_linear=True, is_optimum=True)


def _with_sigma(model: Model, rows: Rows, mean: np.ndarray, axes: np.ndarray) -> Model:
    """Return the model with a learned σ set to the error of the linear reconstruction."""
    if not isinstance(model.recipe.likelihood, LearnedGaussian):
        return model
    total, n = 0.0, 0.0
    for piece, weight in weighted(rows):
        centred = piece - mean
        total = total + times(np.square(centred - centred @ axes.T @ axes), weight).sum(axis=0)
        n += len(piece) if weight is None else weight.sum()
    return _placed(model, None, None, _spread(model, np.sqrt(total / n)))


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
    some = next(clipped(rows))
    some = some[:: max(1, len(some) // _COMPARED_VALUES)]
    std, steps = np.nan_to_num(some - known_mean(some)).std(axis=0), resolutions(some)
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
    clean, weight = _sample(rows, _CORRUPTED)
    if weight is not None:  # each row as often as its weight says, on average
        order = np.random.default_rng(seed).permutation(len(clean))
        share = np.cumsum(weight[order]) / weight.sum()
        clean = clean[order[np.searchsorted(share, (np.arange(len(clean)) + 0.5) / len(clean))]]
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
    clean = np.where(known, clean, known_mean(clean)).astype(np.float64)
    encoder = _path(model.weights.encoder)
    if isinstance(encoder, Neighbors):
        found = _neighbors(clean, read, encoder)
        if len(clean) <= _FEW_TO_RESTORE:
            found = found.towards_identity(1 - _share_that_holds(clean, read, encoder))
        return Start(_placed(model, found, None), True)
    inner, cross, shift, mean = _regression(clean, read)
    weight = linalg.solve(inner, cross, assume_a="pos")
    if isinstance(recipe.decoder, Identity):
        return Start(_placed(model, _dense(weight, mean - shift @ weight), None), True)
    axes, variances = pad_axes(*leading(weight.T @ inner @ weight, recipe.latent.n_latent), recipe.latent.n_latent)
    unit = np.sqrt(np.maximum(variances, 1e-6 * max(variances.max(), 1e-12)))
    coded = weight @ axes.T / unit
    return Start(_placed(model, _dense(coded, -shift @ coded), _dense(axes * unit[:, None], mean)), True)


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
    encoder, decoder = _path(model.weights.encoder), _path(model.weights.decoder)
    if not targets or model.recipe.missing == "mask":
        return Start(model)
    piece, of_row = next(weighted(rows))
    mean = np.average(piece, axis=0, weights=of_row)
    weight, rho = np.asarray(encoder.weight, np.float64), float(targets[0])
    bias = np.log(rho / (1 - rho)) - mean @ weight
    back = np.asarray(decoder.weight, np.float64)
    return Start(_placed(model, _dense(weight, bias), _dense(back, mean - rho * back.sum(axis=0))))


def finish(model: Model, rows: Rows) -> Model:
    """Solve for the encoder's biases after training, so that every mean activation is ρ of a `SparsityConstraint`.

    Training with the multiplier has brought the mean activations close to ρ. Other models are returned unchanged.
    """
    recipe = model.recipe
    constraints = [penalty for penalty in recipe.penalties if isinstance(penalty, SparsityConstraint)]
    encoder, decoder = _path(model.weights.encoder), _path(model.weights.decoder)
    if not constraints or not (isinstance(encoder, Dense) and isinstance(decoder, Dense)) or recipe.missing == "mask":
        return model
    rho, weight = float(constraints[0].rho), np.asarray(encoder.weight, np.float64)
    some, of_row = _sample(rows, _SOLVED_ROWS)
    before = some @ weight + np.asarray(encoder.bias, np.float64)
    low, high = np.full(before.shape[1], -30.0), np.full(before.shape[1], 30.0)
    for _ in range(_HALVINGS):
        shift = (low + high) / 2
        above = np.average(expit(before + shift), axis=0, weights=of_row) > rho
        low, high = np.where(above, low, shift), np.where(above, shift, high)
    shift = (low + high) / 2
    moved = np.average(expit(before + shift) - expit(before), axis=0, weights=of_row)
    back = np.asarray(decoder.weight, np.float64)
    bias = np.asarray(decoder.bias, np.float64) - moved @ back[: len(moved)]  # a condition's weights follow
    return _placed(model, _dense(weight, np.asarray(encoder.bias, np.float64) + shift), _dense(back, bias))


def _sample(rows: Rows, most: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all rows and their weights; if there are more than ``most``, those of the first piece."""
    some, weights = zip(*(weighted(rows) if rows.training.n_rows <= most else [next(weighted(rows))]), strict=True)
    return np.concatenate(some), None if weights[0] is None else np.concatenate(weights)


def _centred_sample(rows: Rows) -> np.ndarray:
    """Return rows of the first piece, centred, with 0 for missing cells."""
    some = next(clipped(rows))[:_CORRUPTED]
    return np.nan_to_num(some - known_mean(some))


def _factors(model: Model, rows: Rows) -> Start:
    """Return the start by factor analysis, whose posterior is exact: the ELBO equals the log-likelihood."""
    k = model.recipe.latent.n_latent
    if rows.training.n_features > MOST_COLUMNS:
        return Start(model)
    mean, covariance = moments(rows)
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
    return Start(_placed(model, _dense(weight, bias), _dense(loadings, mean), likelihood), True)
