"""The start of a classifier: a linear probe, the logistic regression of the labels on the codes of the encoder.

Fine-tuning from a probe distorts what the encoder has learned less than from a random class layer (Kumar et al. 2022,
"Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution").
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax, logsumexp
from sklearn.exceptions import ConvergenceWarning

from ..core.model import Model
from ..engine import inference
from ..engine.batches import Source
from ..engine.linear_paths import dense, placed
from ..engine.splits import Rows
from ..engine.threads import one_thread

__all__ = ["probed"]

_STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""C, the inverse strengths of the ridge penalty."""
_MOST_ROWS, _MOST_CELLS, _STEPS = 5_000, 1 << 20, 100
_FOLDS, _ENOUGH_HELD_OUT, _FEW_WEIGHTS = 5, 1024, 128


class Probe(NamedTuple):
    """A class layer."""

    weight: np.ndarray
    """(k, c)"""
    bias: np.ndarray
    """(c,)"""


class _Rows(NamedTuple):
    """Rows with their codes."""

    x: np.ndarray
    codes: np.ndarray
    targets: np.ndarray
    """(n, c): weighted one-hot classes."""

    def at(self, chosen: np.ndarray) -> _Rows:
        return _Rows(*(array[chosen] for array in self))

    def cross_entropy(self, probe: Probe) -> float:
        """Return the sum of −log p(y | z) with the weights of the targets."""
        return -float((log_softmax(self.codes @ probe.weight + probe.bias, axis=1) * self.targets).sum())


def probed(model: Model, rows: Rows, seed: int) -> Model:
    """Return the model with a linear probe as its class layer.

    The strength of the ridge penalty is chosen by the cross-entropy of the validation rows and, if they are few, of the
    training rows by cross-validation. The frequencies of the classes alone are a candidate as well; they are the result
    for codes that overflow, and the mean probability of a class without training rows.

    Parameters
    ----------
    model : Model
        A model with targets, whose decoder is one linear layer.
    rows : Rows
        Rows with weighted one-hot targets. At most 5,000 training rows are used, drawn at random.
    seed : int
    """
    rng = np.random.default_rng([seed, 14])
    training = _with_codes(model, rows.training, rng)
    totals = training.targets.sum(axis=0) + 0.5
    best = Probe(np.zeros((training.codes.shape[1], len(totals))), np.log(totals / totals.sum()))
    training = training.at(np.flatnonzero(training.targets.any(axis=1)))
    if len(training.x) and np.isfinite(training.codes).all():
        trials = [] if rows.held_out is None else [(training, _with_codes(model, rows.held_out, rng))]
        if rows.held_out is None or rows.held_out.n_rows < _ENOUGH_HELD_OUT:
            fold = _folds(training.targets.argmax(axis=1), rng)
            trials += [(training.at(fold != i), training.at(fold == i)) for i in range(_FOLDS)]
        losses = [
            [other.cross_entropy(one) for one in (best, *_ridge(some, best, _STRENGTHS))] for some, other in trials
        ]
        chosen = int(np.sum(losses, axis=0).argmin())
        if chosen:
            (best,) = _ridge(training, best, _STRENGTHS[chosen - 1 : chosen])
    return placed(model, None, dense(*best))


def _with_codes(model: Model, source: Source, rng: np.random.Generator) -> _Rows:
    """Return some rows of a source in memory, with their codes."""
    chunk, n_targets = next(source.chunks()), model.recipe.n_targets
    rows = np.asarray(chunk.rows)[: chunk.n_rows]
    most = min(_MOST_ROWS, max(1, _MOST_CELLS // model.recipe.latent.n_latent))
    if len(rows) > most:
        rows = rows[np.sort(rng.choice(len(rows), most, replace=False))]
    x, targets = rows[:, :-n_targets], rows[:, -n_targets:].astype(np.float64)
    return _Rows(x, inference.map_rows(inference.code, model, x).astype(np.float64), targets)


def _folds(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the fold of each row; the rows of a class are spread over all folds."""
    fold = np.empty(len(labels), int)
    fold[np.lexsort([rng.random(len(labels)), labels])] = np.arange(len(labels)) % _FOLDS
    return fold


def _ridge(rows: _Rows, frequencies: Probe, strengths: Sequence[float]) -> Iterator[Probe]:
    """Yield the logistic regression with a ridge penalty of each strength; the frequencies, if there is one class.

    The penalty is that of codes in the units of the rows, whatever the encoder multiplies them by: a direction of the
    rows that varies little needs larger weights, as in a regression on the rows themselves.
    """
    from sklearn.linear_model import LogisticRegression

    labels = rows.targets.argmax(axis=1)
    if len(np.unique(labels)) < 2:
        yield from (frequencies for _ in strengths)
        return
    mean, x = rows.codes.mean(axis=0), np.nan_to_num(rows.x).astype(np.float64)
    centered = rows.codes - mean
    # The standard deviation of the rows that each code explains, per unit of the code.
    units = np.sqrt(np.square(centered.T @ (x - x.mean(axis=0))).sum(axis=1)) / np.maximum(
        np.square(centered).sum(axis=0), 1e-30
    )
    solver = "newton-cholesky" if rows.codes.shape[1] * rows.targets.shape[1] <= _FEW_WEIGHTS else "lbfgs"
    regression = LogisticRegression(solver=solver, max_iter=_STEPS, warm_start=True)
    for strength in strengths:
        # Products of few numbers take longer on several threads.
        with warnings.catch_warnings(), one_thread():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a start need not be the optimum
            regression.set_params(C=strength)
            regression.fit(centered * units, labels, rows.targets.sum(axis=1))
        slopes, heights = regression.coef_.T * units[:, None], regression.intercept_
        if slopes.shape[1] == 1:
            slopes, heights = np.hstack([-slopes, slopes]) / 2, np.concatenate([-heights, heights]) / 2
        # Classes without rows keep their frequency beside those with rows, in the mean.
        level = logsumexp(centered @ slopes + heights, axis=1).mean()
        weight, bias = (array.copy() for array in frequencies)
        weight[:, regression.classes_] = slopes
        bias[regression.classes_] = heights - mean @ slopes - level + logsumexp(frequencies.bias[regression.classes_])
        yield Probe(weight, bias)
