r"""The start of a model of gene counts: a linear model of their logarithms, with one offset per gene and batch.

With y = log(1 + x/s), the model is y = o_b + W·z + noise, where z is from a mixture of clusters that all batches share.
The mean of a batch is not its offset o_b where batches hold different shares of the clusters. Therefore the offsets are
estimated together with the clusters, by turns: principal components of y − o_b (Tipping & Bishop 1999), a Gaussian
mixture of them, and a regression of y on batch and cluster. Without clusters, o_b is the mean of the batch.

The decoder is then a negative binomial regression of the counts on the codes (Townes et al. 2019, "GLM-PCA").
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

from ..core.likelihoods import GeneCounts
from ..core.model import Model
from .count_regression import regress_counts
from .linear_paths import dense, inverse_softplus, placed
from .moments import pieces
from .splits import Rows
from .threads import one_thread

__all__ = ["counts_start"]

_MOST_CELLS = 1 << 23
"""Maximum number of counts, as cells times genes, that the start is computed from."""
_TURNS, _CLUSTERS, _DIRECTIONS = 4, (1, 2, 4, 8, 16), 30
_FEW_PER_CLUSTER = 20
"""A number of clusters is considered if it has at least this many cells per cluster."""
_FEW_COLUMNS = 256
_FEW_ZEROS = -4.0
"""The logit of a further zero at the start."""
_RIDGE = 1e-3


class _Linear(NamedTuple):
    """y = batch @ offsets + mean + z·loadings + noise, and z = (y − batch @ offsets − mean) @ coded."""

    offsets: np.ndarray
    mean: np.ndarray
    coded: np.ndarray
    scale: np.ndarray
    """The standard deviation of the posterior of each coordinate."""


def counts_start(model: Model, rows: Rows, seed: int) -> Model:
    """Return the model with its linear paths, and its concentrations, set to those of the linear model."""
    recipe, likelihood = model.recipe, model.recipe.likelihood
    assert isinstance(likelihood, GeneCounts)
    cells = _sampled(rows)
    n_genes, k = likelihood.n_genes(cells.shape[1]), recipe.latent.n_latent
    read = np.asarray(likelihood.transform_input(jnp.asarray(cells)), np.float64)
    batch = read[:, n_genes : n_genes + likelihood.n_batches]
    size = np.exp(read[:, -1:]) if likelihood.size_factor == "last" else np.ones((len(cells), 1))
    found = _fitted(read[:, :n_genes], batch, min(k, n_genes - 1, len(cells) - 1), seed)
    z = (read[:, :n_genes] - batch @ found.offsets - found.mean) @ found.coded
    loadings, offsets, r = regress_counts(cells[:, :n_genes].astype(np.float64), z, batch, size)

    beyond = k - z.shape[1]  # coordinates without a component: no gene reads them
    weight, coded = np.zeros((cells.shape[1], 2 * k)), np.pad(found.coded, ((0, 0), (0, beyond)))
    weight[:n_genes, :k] = coded
    weight[n_genes : n_genes + likelihood.n_batches, :k] = -found.offsets @ coded
    scale = np.pad(found.scale, (0, beyond), constant_values=1)
    encoder = dense(weight, np.concatenate([-found.mean @ coded, inverse_softplus(scale)]))

    share = batch.mean(axis=0) if likelihood.n_batches else np.ones(1)
    mean = share @ offsets
    effects = offsets - mean if likelihood.n_batches else np.zeros((0, n_genes))
    maps = np.vstack([np.pad(loadings, ((0, beyond), (0, 0))), effects])
    if likelihood.family == "zinb":
        maps, mean = np.pad(maps, ((0, 0), (0, n_genes))), np.pad(mean, (0, n_genes), constant_values=_FEW_ZEROS)
    own = model.weights.likelihood["concentration"]
    spread = np.broadcast_to(inverse_softplus(np.maximum(r - likelihood.floor, 1e-3)), own.shape)
    concentration = jax.device_put(np.ascontiguousarray(spread, np.float32))
    return placed(model, encoder, dense(maps, mean), {"concentration": concentration})


def _sampled(rows: Rows) -> np.ndarray:
    """Return the training rows, or every m-th of them if they are many.

    Validation rows are left out: with as many weights as genes, the start fits its rows better than others, and
    training would seem to make it worse.
    """
    step = -(-rows.training.n_rows * rows.training.n_features // _MOST_CELLS)
    return np.concatenate([np.array(piece[::step]) for piece in pieces(replace(rows, held_out=None))])


def _fitted(y: np.ndarray, batch: np.ndarray, k: int, seed: int) -> _Linear:
    """Fit the linear model to logarithms (n, G), given the batch (n, B)."""
    cluster = _clusters(y, batch, k, seed) if batch.shape[1] > 1 else batch[:, :0]
    offsets = _offsets(y, batch, cluster)
    left = y - batch @ offsets
    mean = left.mean(axis=0)
    axes, variance, noise = _components(left - mean, k)
    loadings = np.sqrt(np.maximum(variance - noise, 1e-3 * noise))[:, None] * axes
    precision = 1 + np.square(loadings).sum(axis=1) / noise
    return _Linear(offsets, mean, (loadings / noise / precision[:, None]).T, np.sqrt(1 / precision))


def _offsets(y: np.ndarray, batch: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Return the coefficients (B, G) of the batch in a regression of y on batch and cluster."""
    design = np.hstack([batch, cluster])
    inner = design.T @ design + _RIDGE * len(y) / max(1, design.shape[1]) * np.eye(design.shape[1])
    found: np.ndarray = np.linalg.solve(inner, design.T @ y)[: batch.shape[1]]
    return found


def _components(centred: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the first k axes (k, d), the variance along each, and the mean variance along all others."""
    from scipy.sparse.linalg import svds

    n, d = centred.shape
    if d <= _FEW_COLUMNS:
        variance, axes = linalg.eigh(centred.T @ centred / n, subset_by_index=(d - k, d - 1))
        axes = axes.T
    else:
        _, values, axes = svds(centred, k=k, v0=np.ones(min(n, d)))
        variance = np.square(values) / n
    return axes, variance, max((np.square(centred).sum() / n - variance.sum()) / (d - k), 1e-6)


# -- clusters that all batches share ----------------------------------------------------------------------------------


def _clusters(y: np.ndarray, batch: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the responsibilities (n, m) of clusters that all batches share.

    The number of clusters, and the start of the offsets, are those of the model with the best BIC: the means of the
    batches, or the means of as many clusters within each batch, of equal weight.
    """
    means = _offsets(y, batch, batch[:, :0])
    axes, *_ = _components(y - batch @ means, min(_DIRECTIONS, *(size - 1 for size in y.shape)))
    span = np.linalg.qr(np.vstack([axes, means - means.mean(axis=0)]).T)[0]
    low = (y - y.mean(axis=0)) @ span  # offsets and clusters differ along few directions only
    centre, tried = _offsets(low, batch, batch[:, :0]), []
    with one_thread():
        for m in (m for m in _CLUSTERS if m * _FEW_PER_CLUSTER <= len(y)):
            starts = [centre] if m == 1 else [centre, _balanced(low, batch, m, seed)]
            tried += [_by_turns(low, batch, min(k, low.shape[1] - 1), m, start, seed) for start in starts]
    return min(tried, key=lambda each: each[0])[1]


def _balanced(y: np.ndarray, batch: np.ndarray, m: int, seed: int) -> np.ndarray:
    """Return for each batch the mean of the means of m clusters within it, (B, d)."""
    from sklearn.cluster import KMeans  # here and below: only models of cells need it

    found = []
    for of_batch in batch.T > 0:
        here = y[of_batch] if of_batch.any() else y
        found.append(KMeans(min(m, len(here)), n_init=2, random_state=seed).fit(here).cluster_centers_.mean(axis=0))
    return np.array(found)


def _by_turns(
    y: np.ndarray, batch: np.ndarray, k: int, m: int, offsets: np.ndarray, seed: int
) -> tuple[float, np.ndarray]:
    """Fit offsets and m clusters by turns, from given offsets; return the BIC and the responsibilities."""
    from sklearn.mixture import GaussianMixture

    cluster = batch[:, :0]
    for turn in range(_TURNS):
        if turn:
            offsets = _offsets(y, batch, cluster)
        left = y - batch @ offsets
        axes, _, noise = _components(left - left.mean(axis=0), k)
        along = left @ axes.T
        with warnings.catch_warnings(action="ignore"):  # a mixture that has not converged is good enough
            mixture = GaussianMixture(m, covariance_type="diag", random_state=seed).fit(along)
        cluster = mixture.predict_proba(along)
    return float(mixture.bic(along) + len(y) * (y.shape[1] - k) * np.log(noise)), cluster
