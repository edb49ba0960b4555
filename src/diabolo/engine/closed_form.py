r"""The start of a training: the best linear model, in closed form.

The optimum of a linear system is known: PCA for reconstruction, a linear regression of clean rows on corrupted rows for
denoising, factor analysis for a density. Networks with a linear path (`parts.SkipMLP`, or an `MLP` without hidden
layers) are initialised with it before the first step, so that training learns the nonlinear remainder only. If training
learns nothing, the start is the result.

Baldi & Hornik (1989) for PCA; Tipping & Bishop (1999) and Lucas et al. (2019), "Don't Blame the ELBO!", for the linear
variational model; Chen et al. (2012), "Marginalized Denoising Autoencoders", for denoising.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import linalg
from scipy.special import expit

from ..core.corruptions import NoCorruption
from ..core.latents import Deterministic, DiagonalGaussian
from ..core.layers import Dense, Filter, MLPModule, Neighbors, Skip
from ..core.likelihoods import Gaussian, GeneCounts, LearnedGaussian
from ..core.model import Model
from ..core.networks import Identity
from ..core.objectives import ELBO, Reconstruction
from ..core.penalties import SparsityConstraint
from ..core.tied import TransposedModule
from . import inference
from .count_start import counts_start
from .linear_density import explained, linear_density, links
from .linear_paths import blocks_of, bounded, dense, path, paths, placed, resolved, spread, within
from .moments import MOST_COLUMNS, known_mean, leading, pad_axes, principal, times, weighted
from .splits import Rows

__all__ = ["Start", "finish", "prepared", "start"]

_CORRUPTED = 1 << 14
"""Number of corrupted rows for a regression, with at least one copy of each row used."""
_COPIES, _MANY_COLUMNS = 40, 1024
_RIDGE = 1e-3
"""Ridge of the regression on corrupted rows, as a fraction of the mean variance."""
_SOLVED_ROWS, _HALVINGS = 1 << 16, 40
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
    is_tangent : bool
        Whether counts or categories are taken for normal, so that training takes as long as from random weights.
    """

    model: Model
    is_linear: bool = False
    is_optimum: bool = False
    is_tangent: bool = False


def start(model: Model, rows: Rows, seed: int) -> Start:
    """Set the model's linear path to the best linear model of all rows, including held-out rows."""
    model = prepared(model, rows)
    recipe = model.recipe
    if paths(model) is None or recipe.n_targets or not _is_transposable(model):
        return Start(model)
    if isinstance(recipe.latent, DiagonalGaussian):
        return _density(model, rows, seed)
    is_clean, d = isinstance(recipe.corruption, NoCorruption), rows.training.n_features
    if recipe.condition:
        is_known = is_clean and d <= MOST_COLUMNS and links(recipe, d) == "identity"
    else:
        is_known = isinstance(recipe.likelihood, Gaussian | LearnedGaussian)
    if is_known and recipe.latent.in_unit_interval and not recipe.condition:
        return _inactive(model, rows)
    if (
        not is_known
        or not isinstance(recipe.objective, Reconstruction)
        or recipe.latent != Deterministic(recipe.latent.n_latent)
        or (is_clean and recipe.missing == "mask")  # a regression on clean rows has no missing cells
    ):
        return Start(model)
    return _components(model, rows) if is_clean else _restoring(model, rows, seed)


def _is_transposable(model: Model) -> bool:
    """Return whether the best linear decoder is the transposed encoder, if it must be: for PCA it is."""
    recipe = model.recipe
    is_plain = isinstance(recipe.corruption, NoCorruption) and recipe.latent == Deterministic(recipe.latent.n_latent)
    return is_plain or not isinstance(model.weights.decoder, TransposedModule)


def prepared(model: Model, rows: Rows, frozen: tuple[str, ...] = ()) -> Model:
    """Return the model with the bounds and the resolution of each column, but in parts that are frozen."""
    model = model if "encoder" in frozen else bounded(model, rows)
    return model if "likelihood" in frozen else resolved(model, rows)


# -- the best linear models -------------------------------------------------------------------------------------------


def _density(model: Model, rows: Rows, seed: int) -> Start:
    """Return the start by factor analysis, whose posterior is exact for numbers: the ELBO equals the log-likelihood."""
    recipe, known = model.recipe, links(model.recipe, rows.training.n_features)
    is_clean = isinstance(recipe.corruption, NoCorruption) and recipe.missing != "mask"
    if not (is_clean and isinstance(recipe.objective, ELBO)):
        return Start(model)
    if isinstance(recipe.likelihood, GeneCounts):
        return Start(counts_start(model, rows, seed), is_linear=True)
    found = linear_density(model, rows) if known != "unknown" else None
    return Start(model) if found is None else Start(found, is_linear=True, is_tangent=known == "tangent")


def _components(model: Model, rows: Rows) -> Start:
    """Return the start by PCA, or with a condition by PCA of what it does not explain."""
    recipe, k = model.recipe, model.recipe.latent.n_latent
    if recipe.condition:
        found = explained(recipe, rows)
        mean, (axes, variances) = found.mean, leading(found.covariance, k)
    else:
        mean, axes, variances = principal(rows, k)
    axes, variances = pad_axes(axes, variances, k)
    is_all = isinstance(model.weights.encoder, MLPModule) and isinstance(
        model.weights.decoder, MLPModule | TransposedModule
    )
    unit = np.ones(k) if is_all else np.sqrt(np.maximum(variances, 1e-6 * max(variances.max(), 1e-12)))
    if recipe.condition:
        coded = dense(*found.encoder(axes.T / unit))
        back = dense(*found.decoder(axes * unit[:, None], np.ones(len(found.rest)), mean[found.rest]))
        left = np.ones(len(mean))
        left[found.rest] = np.maximum(np.diag(found.covariance) - variances @ axes**2, 0)
        new = placed(model, coded, back, spread(model, np.sqrt(left)))
    else:
        new = placed(model, dense(axes.T / unit, -mean @ axes.T / unit), dense(axes * unit[:, None], mean))
        new = _with_sigma(new, rows, mean, axes)
    is_learned = any(isinstance(block.likelihood, LearnedGaussian) for block in blocks_of(recipe.likelihood, len(mean)))
    is_optimum = is_all and not is_learned and not recipe.penalties
    return Start(new, is_linear=True, is_optimum=is_optimum)


def _with_sigma(model: Model, rows: Rows, mean: np.ndarray, axes: np.ndarray) -> Model:
    """Return the model with a learned σ set to the error of the linear reconstruction."""
    if not isinstance(model.recipe.likelihood, LearnedGaussian):
        return model
    total, n = 0.0, 0.0
    for piece, weight in weighted(rows):
        centred = piece - mean
        total = total + times(np.square(centred - centred @ axes.T @ axes), weight).sum(axis=0)
        n += len(piece) if weight is None else weight.sum()
    return placed(model, None, None, spread(model, np.sqrt(total / n)))


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
        model = within(
            model, np.min([r.min(axis=0) for r in read], axis=0), np.max([r.max(axis=0) for r in read], axis=0)
        )
    known = ~np.isnan(clean)
    clean = np.where(known, clean, known_mean(clean)).astype(np.float64)
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
    axes, variances = pad_axes(*leading(weight.T @ inner @ weight, recipe.latent.n_latent), recipe.latent.n_latent)
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
    piece, of_row = next(weighted(rows))
    mean = np.average(piece, axis=0, weights=of_row)
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
    return placed(model, dense(weight, np.asarray(encoder.bias, np.float64) + shift), dense(back, bias))


def _sample(rows: Rows, most: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return all rows and their weights; if there are more than ``most``, those of the first piece."""
    some, weights = zip(*(weighted(rows) if rows.training.n_rows <= most else [next(weighted(rows))]), strict=True)
    return np.concatenate(some), None if weights[0] is None else np.concatenate(weights)
