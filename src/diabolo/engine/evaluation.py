"""Evaluation of a trained autoencoder: whether training improved on the start, and the explained variance."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

import numpy as np
from scipy.special import logsumexp

from ..core.corruptions import NoCorruption
from ..core.latents import VectorQuantized
from ..core.model import Model
from ..errors import PoorFitWarning, PosteriorCollapseWarning, TrainingWarning
from ..metrics import active_units
from . import closed_form, inference, moments
from .batches import EVAL_BATCH
from .jobs import Outcome, TrainingJob
from .sharding import current
from .splits import Rows
from .trainer import TrainResult, final_beta

__all__ = ["Evaluation", "evaluate", "losses_at_best", "settle", "settle_classifier"]

_N_ERRORS, _FEW_HELD_OUT = 2.0, 1024
_EVALUATED, _ENOUGH_TO_JUDGE, _IN_MEMORY, _BEHIND = 1024, 20, 2048, 0.02


class Evaluation(TypedDict):
    """Explained variance of the reconstruction on validation rows, or on training rows if there are none."""

    rows: str
    n_rows: int
    explained_variance: float
    pca_explained_variance: float | None


def settle(outcome: Outcome) -> TrainResult:
    """Choose between the trained model and the start, and apply the closed-form final step.

    With few validation rows, the start is chosen unless the trained model is significantly better: the mean gain, or
    the fraction of rows that gain, must be two standard errors above the value expected by chance.
    """
    trained, job = _choose(outcome), outcome.job
    if job.plan.frozen:
        return trained  # what follows changes encoder and decoder
    return replace(trained, model=closed_form.finish(trained.model, job.rows))


def _choose(outcome: Outcome) -> TrainResult:
    job, trained = outcome.job, outcome.trained
    held_out = job.rows.held_out
    if not (job.plan.keep_start and trained.best_epoch and held_out is not None and held_out.n_rows <= _FEW_HELD_OUT):
        return trained
    chunk, beta = next(held_out.chunks()), float(final_beta(job.model.recipe, job.plan))
    rows = np.asarray(chunk.rows)[: chunk.n_rows]
    before, after = (inference.map_rows(inference.losses, one, rows, beta) for one in (job.model, trained.model))
    gain = before.astype(np.float64) - after
    gain = gain if held_out.weights is None else gain * held_out.weights
    error = 1 / np.sqrt(len(gain))
    if gain.mean() > _N_ERRORS * gain.std() * error or (gain > 0).mean() > 0.5 + _N_ERRORS * 0.5 * error:
        return trained
    return replace(trained, model=job.model, best_epoch=0)


def settle_classifier(outcome: Outcome) -> TrainResult:
    """Choose between a fine-tuned classifier and its start.

    Fine-tuning must lower the mean cross-entropy of the validation rows by one standard error (Breiman et al. 1984,
    "Classification and Regression Trees", section 3.4.3). It must lower the sum also if there were one more row, which
    is predicted wrongly with the mean confidence, as in Laplace's rule of succession: few rows, all predicted rightly,
    do not show the price of too much confidence.
    """
    job, trained = outcome.job, outcome.trained
    if not (trained.best_epoch and job.rows.held_out is not None):
        return trained
    chunk, n_targets = next(job.rows.held_out.chunks()), job.model.recipe.n_targets
    rows = np.asarray(chunk.rows)[: chunk.n_rows]
    (before, wrong_before), (after, wrong_after) = (
        _cross_entropies(model, rows[:, :-n_targets], rows[:, -n_targets:]) for model in (job.model, trained.model)
    )
    gain = before - after
    if gain.mean() > gain.std() / np.sqrt(len(gain)) and gain.sum() > wrong_after - wrong_before:
        return trained
    return replace(trained, model=job.model, best_epoch=0)


def _cross_entropies(model: Model, x: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the cross-entropy of each row, and the mean of what it would be if the predicted class were wrong."""
    log_p = inference.map_rows(inference.log_probabilities, model, x).astype(np.float64)
    log_p -= logsumexp(log_p, axis=1, keepdims=True)
    others = np.sort(log_p, axis=1)[:, :-1]
    wrong = logsumexp(others, axis=1) if others.shape[1] else np.zeros(len(x))
    return -(targets * log_p).sum(axis=1), -float(wrong.mean())


def losses_at_best(
    job: TrainingJob, model: Model, history: dict[str, list[float]], best_epoch: int
) -> dict[str, float]:
    """Return ``loss`` and, with validation rows, ``validation_loss`` of a trained model at its best epoch.

    If the best epoch is the start, which is no epoch of the curves, they are computed from the rows, from at most 2,048
    of each source.
    """
    if best_epoch:
        return {name: history[name][best_epoch - 1] for name in ("loss", "validation_loss") if name in history}
    sources = {"loss": job.rows.training, "validation_loss": job.rows.held_out}
    beta, found = float(final_beta(job.model.recipe, job.plan)), {}
    for name, source in sources.items():
        if source is not None:
            chunk = next(source.chunks())
            rows = np.asarray(chunk.rows[: min(chunk.n_rows, EVAL_BATCH)])
            found[name] = float(inference.map_rows(inference.losses, model, rows, beta).mean(dtype=np.float64))
    return found


def evaluate(owner: str, model: Model, rows: Rows) -> tuple[Evaluation | None, TrainingWarning | None]:
    """Return the explained variance of validation rows, compared with PCA of the training rows, and a warning.

    The warning is None if the fit is good. Both are None if cells are missing, if the recipe has targets, or on several
    devices.
    """
    source = rows.held_out or rows.training
    chunk = next(source.chunks())
    some = np.asarray(chunk.rows)[: min(chunk.n_rows, _EVALUATED)]
    if model.recipe.n_targets or np.isnan(some).any() or current().n_devices > 1:
        return None, None
    codes, reconstructions = inference.map_rows(inference.coded, model, some)
    k, x = codes.shape[1], some.astype(np.float64)
    total = max(float(np.square(x - x.mean(axis=0)).sum()), 1e-30)
    by_pca = None
    # A quantized code is some bits, and PCA has k numbers.
    comparable = k < min(rows.n_samples, x.shape[1]) and not isinstance(model.recipe.latent, VectorQuantized)
    if comparable and (rows.n_samples <= _IN_MEMORY or x.shape[1] <= _IN_MEMORY):
        mean, axes, _ = moments.principal(rows, k)
        by_pca = 1 - float(np.square(x - mean - (x - mean) @ axes.T @ axes).sum()) / total
    found = Evaluation(
        rows="training" if rows.held_out is None else "held-out",
        n_rows=len(x),
        explained_variance=1 - float(np.square(x - reconstructions).sum()) / total,
        pca_explained_variance=by_pca,
    )
    return found, None if len(x) < _ENOUGH_TO_JUDGE else _warning_of(owner, model, found, codes)


def _warning_of(owner: str, model: Model, found: Evaluation, codes: np.ndarray) -> TrainingWarning | None:
    recipe = model.recipe
    if recipe.latent.stochastic and not active_units(codes).any():
        return PosteriorCollapseWarning(
            f"Posterior collapse: none of the {codes.shape[1]} latent units varies with the row. Raise β slowly "
            "(beta='linear'), lower β, train longer, or learn σ (likelihood='learned_gaussian')."
        )
    kept, by_pca = found["explained_variance"], found["pca_explained_variance"]
    if not isinstance(recipe.corruption, NoCorruption) or recipe.latent.stochastic:
        by_pca = None  # denoisers and variational models do not aim at the variance of clean rows
    result = f"the reconstruction explains {kept:.1%} of the variance of {found['rows']} rows"
    if kept < 0:
        text = f"{result}, less than their mean. Lower the learning rate, train longer, or scale the columns."
    elif by_pca is not None and kept < by_pca - _BEHIND:
        mean = " It is close to the mean of all rows." if kept < _BEHIND else ""
        text = f"{result}; PCA with as many components explains {by_pca:.1%}.{mean} Train longer, or use fewer layers."
    else:
        return None
    return PoorFitWarning(f"{owner}: {text}")
