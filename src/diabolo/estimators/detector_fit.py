"""The fit of a detector: folds of the rows, networks and views of each fold, tails, calibration scores.

The networks of a fold learn from most of the rows. The held-out ones show how often each deviance is reached, and
calibrate the threshold. The distances are to all rows but the row itself. If the user asks for one split, the
false-alarm rate shall be exact: distances are then to training rows only, and a few others of them, unseen, show how
often each deviance is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..core.corruptions import GaussianNoise
from ..errors import InvalidData
from . import scores
from .autoencoders import DenoisingAutoencoder
from .base import BaseAutoencoder
from .ensemble import Given, known_range
from .input import Opened
from .predictor import Predictor
from .views import Tail, Views, units_of, usual_rows

__all__ = ["NOISE_LEVELS", "SHARE", "Fold", "Judge", "Scorer", "folds_of", "learned_of", "members_of"]

NOISE_LEVELS: dict[str, tuple[float, ...]] = {"ensemble": (0.1, 0.4), "single": (0.25,)}
"""σ of the denoising autoencoders, in standard deviations of a column."""
_NORMAL: tuple[float, ...] = (1.0, 1.0, 0.05, 0.05, 0.05, 0.05, 0.05)
_MIXED: tuple[float, ...] = (1.0, 0.3, 1.0, 1.0, 1.0, 1.0, 0.1)
"""The weights of `views.VIEWS` if all training rows are normal, and if some may be anomalies.

Rows cannot tell whether a small separate group of them is normal. If all are, the nearest training row is the best
reference; if some may be anomalies, few random ones are, since they seldom hold another row of the group.
"""
_ONE_UNIT, _N_IN_UNITS = (None, "global", "range"), 4
"""Scalings that leave all columns in one unit. The views after the first four measure each column by its own spread, so
they are then left out."""
_UNSEEN, _LEAST_UNSEEN, _MOST_UNSEEN = 8, 50, 1024
"""One training row in 8 is held out from the networks and the views to estimate tails: at least 50 rows, unless that is
more than a third, and at most 1024."""
_BATCH, _STEPS = 128, 300
SHARE, _FOLDS = 0.2, 3
"""The fraction of held-out rows if it is enough, otherwise the number of folds."""
_WIDTHS = (16, 64, 256, 512, 1024)
_JUDGED = 4096
"""Number of training rows used to estimate the column scales of a network."""
_TIE = 1 + 1e-6
"""Factor on the calibration scores: a row equal to a held-out row must not score higher because of rounding."""
_TINY = float(np.finfo(np.float32).tiny)
"""Smallest unit of deviances and scores. Products of two are numbers of 64 bits, but not of 32."""
_FLOOR = 0.01
"""Added to each column's scale: this fraction of the mean over all columns."""


class Fold(NamedTuple):
    """Positions of rows."""

    core: np.ndarray
    """The rows that distances are to."""
    usual: np.ndarray
    """Those of them that the networks and the covariance learn from."""
    unseen: np.ndarray
    """The rows used for the tails; if empty, the held-out ones are."""
    held_out: np.ndarray
    """The rows that calibrate the threshold."""


@dataclass(frozen=True, eq=False)
class Judge:
    """One network of a detector, with its column scales and the scale of its scores."""

    predictor: Predictor
    span: np.ndarray
    """(2, d), the minimum and the maximum of each column in the training rows."""
    column_scale: np.ndarray
    """(d,), the typical deviance of each column."""
    scale: float = 1.0
    """The unit of the scores."""

    def deviances(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected rows in the user's units, and the deviance of each cell from them; both (n, d).

        The deviance is in units of the column's typical deviance.

        Raises
        ------
        InvalidData
            If the network has a condition, and a row has none, or a category that the network does not know.
        """
        self.predictor.condition.require(rows)  # the network sees rows within the span, without unknown categories
        mean, deviance = self.predictor.deviances(scores.seen_by(np, rows, self.span), rows)
        return mean, scores.relative_deviance(np, deviance, self.column_scale)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean deviance of each row's cells, (n,), in units of its median on training rows."""
        found: np.ndarray = scores.network_scores(np, self.deviances(rows)[1], rows, self.scale)
        return found


@dataclass(frozen=True, eq=False)
class Scorer:
    """What computes the scores of rows."""

    judges: tuple[Judge, ...]
    views: tuple[Views, ...]
    """The views of each fold besides the networks; empty if there are none."""
    tails: tuple[Tail, ...] = ()
    """The tail of each view. Empty for models saved before 0.2: the score is then the mean score of the networks."""
    weights: tuple[float, ...] = ()

    def strangeness(self, rows: np.ndarray) -> np.ndarray:
        """Return the logarithm of the deviance of each row in each view, (n, views), the mean over the folds."""
        return self._strangeness(rows, scores.mean_score([judge.scores(rows) for judge in self.judges]))

    def _strangeness(self, rows: np.ndarray, of_networks: np.ndarray) -> np.ndarray:
        networks = scores.log_score(np, of_networks)
        if not self.views:
            return np.asarray(networks)[:, None]
        return np.column_stack([networks, scores.mean_score([view.strangeness(rows) for view in self.views])])

    def surprises(self, strangeness: np.ndarray) -> list[np.ndarray]:
        """Return −log of how often each deviance is reached, for each view (n,), in nats."""
        return [scores.surprise(np, strangeness[:, i], tail) for i, tail in enumerate(self.tails)]

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """Return the anomaly score of each row, (n,)."""
        if not self.tails:
            return np.asarray(scores.mean_score([judge.scores(rows) for judge in self.judges]))
        return np.asarray(scores.combined(np, self.surprises(self.strangeness(rows)), self.weights))

    def explained(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the contribution of each cell to the score, and the expected rows in the user's units; both (n, d).

        Each view contributes the share of the score that it has in the sum of the inverse frequencies.
        """
        expected, shares = np.zeros(rows.shape), np.zeros(rows.shape)
        of_networks = np.zeros(len(rows))
        for judge in self.judges:
            mean, relative = judge.deviances(rows)
            total = np.maximum(relative.sum(axis=1), np.finfo(np.float64).tiny)
            score = scores.network_scores(np, relative, rows, judge.scale)
            shares += (score / total)[:, None] * relative
            of_networks += score
            expected += mean
        expected /= len(self.judges)
        if not self.tails:
            return shares / len(self.judges), expected
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        surprises = self.surprises(self._strangeness(rows, of_networks / len(self.judges)))
        score = scores.combined(np, surprises, self.weights)
        logs = np.stack(surprises)
        parts = np.asarray(self.weights)[:, None] * np.exp(logs - logs.max(axis=0))
        parts *= score / np.maximum(parts.sum(axis=0), np.finfo(np.float64).tiny)
        found = parts[0][:, None] * shares
        if self.views:
            others = scores.mean_score([view.shares(rows) for view in self.views])
            found = found + np.einsum("vn,vnd->nd", parts[1:], others)
        return found, expected


def folds_of(
    given: Given, calibration: float | None, scaling: str | None, *, enough: bool, contaminated: bool
) -> list[Fold]:
    """Split the rows; ``enough`` is whether one fifth of them suffices for the threshold.

    Raises
    ------
    InvalidData
        If there are too few rows.
    """
    from sklearn.model_selection import KFold, ShuffleSplit  # a fitted detector does without

    n_rows, seed = len(given.rows), given.seed
    enough = enough and SHARE * n_rows >= _LEAST_UNSEEN
    wanted = (SHARE if enough else _FOLDS) if calibration is None else calibration
    several = KFold(int(wanted), shuffle=True, random_state=seed) if wanted >= 1 else None
    try:
        pairs = list((several or ShuffleSplit(1, test_size=wanted, random_state=seed)).split(np.empty((n_rows, 0))))
    except ValueError as error:
        raise InvalidData(f"{n_rows} rows are too few for calibration={wanted!r}: {error} Give more rows.") from error
    found = []
    for i, (training, held_out) in enumerate(pairs):
        core, usual, unseen = np.arange(n_rows), training, training[:0]
        if calibration is not None and len(pairs) == 1:
            order = np.random.default_rng([seed, 9]).permutation(len(training))
            n_unseen = min(max(len(training) // _UNSEEN, min(_LEAST_UNSEEN, len(training) // 3)), _MOST_UNSEEN)
            unseen, core = training[order[:n_unseen]], training[np.sort(order[n_unseen:])]
            usual = core
        elif calibration is not None:
            core = training
        if contaminated:
            rows = given.rows[usual]
            units = units_of(rows, scaling, given.input.schema)
            usual = usual[usual_rows(rows, units, np.random.default_rng([seed, 10, i]))]
        found.append(Fold(core, usual, unseen, held_out))
    return found


def members_of(
    given: Given, fold: Fold, number: int, estimator: str | BaseAutoencoder, scaling: str | None
) -> list[tuple[BaseAutoencoder, Opened]]:
    """Return the unfitted networks of a fold, each with its training rows."""
    known = given.rows[fold.usual]
    if (own := given.own(estimator, number)) is not None:
        return [(own, given.handed(known))]
    rng = np.random.default_rng([given.seed, 7, number])
    rounds = -(-_BATCH * _STEPS // len(known))
    drawn = np.concatenate([rng.permutation(len(known)) for _ in range(rounds)])[: _BATCH * _STEPS]
    rows = given.handed((known if given.input.schema is not None else _padded(known))[drawn])
    levels = NOISE_LEVELS[str(estimator)]
    seeds = range(given.seed + number * len(levels), given.seed + (number + 1) * len(levels))
    kind = "standard" if scaling == "auto" else scaling
    return [(_denoiser(sigma, kind, seed), rows) for sigma, seed in zip(levels, seeds, strict=True)]


def learned_of(
    given: Given,
    folds: Sequence[Fold],
    members: Sequence[Sequence[BaseAutoencoder]],
    scaling: str | None,
    *,
    with_views: bool,
    contaminated: bool,
) -> dict[str, object]:
    """Return the fitted attributes of a detector, besides the networks.

    Each network's scales are estimated from training rows, the tails from unseen rows.
    """
    rows = given.rows
    scorers = [
        Scorer(_judges_of(given, fold, some), _views_of(given, fold, i, scaling) if with_views else ())
        for i, (fold, some) in enumerate(zip(folds, members, strict=True))
    ]
    pairs = list(zip(scorers, folds, strict=True))
    held_out = np.concatenate([one.strangeness(rows[fold.held_out]) for one, fold in pairs])
    of_unseen = [one.strangeness(rows[fold.unseen]) for one, fold in pairs if len(fold.unseen)]
    unseen = of_unseen[0] if of_unseen else held_out
    tails = tuple(Tail.fit(values, contaminated=contaminated) for values in unseen.T)
    views = tuple(view for one in scorers for view in one.views)
    weights = (_MIXED if contaminated else _NORMAL) if with_views else (1.0,)
    if given.input.schema is None and scaling in _ONE_UNIT:
        weights = weights[:_N_IN_UNITS] + (0.0,) * len(weights[_N_IN_UNITS:])
    whole = Scorer((), views, tails, weights)
    calibration = scores.combined(np, whole.surprises(held_out), weights)
    judges = [judge for one in scorers for judge in one.judges]
    return {
        "calibration_scores_": np.sort(calibration) * _TIE,
        "_ranges": np.stack([one.judges[0].span for one in scorers]),
        "_usual": np.stack([judge.column_scale for judge in judges]),
        "_typical": np.array([judge.scale for judge in judges]),
        "views_": views,
        "tails_": tails,
        "weights_": weights,
    }


def _judges_of(given: Given, fold: Fold, members: Iterable[BaseAutoencoder]) -> tuple[Judge, ...]:
    rows = given.rows[fold.usual]
    span, found = known_range(rows), []
    known = rows[np.linspace(0, len(rows) - 1, min(_JUDGED, len(rows))).astype(int)]
    for member in members:
        deviance = Judge(member.predictor_, span, np.ones(rows.shape[1])).deviances(known)[1]
        mean = deviance.sum(axis=0) / np.maximum(1, (~np.isnan(known)).sum(axis=0))
        if given.input.schema is None and member.scaler_.kind in ("none", "range", "global"):  # columns of one unit
            mean = np.full_like(mean, mean.mean())
        usual = mean + _FLOOR * mean.mean() + _TINY
        typical = max(float(np.median(scores.anomaly_scores(np, deviance / usual, known))), _TINY)
        found.append(Judge(member.predictor_, span, usual, typical))
    return tuple(found)


def _views_of(given: Given, fold: Fold, number: int, scaling: str | None) -> tuple[Views, ...]:
    rows = given.rows[fold.core]
    units = units_of(rows, scaling, given.input.schema)
    rng = np.random.default_rng([given.seed, 11, number])
    return (Views.fit(rows, np.isin(fold.core, fold.usual), units, rng),)


def _padded(rows: np.ndarray) -> np.ndarray:
    """Append columns of zeros, so that tables of similar width share compiled programs."""
    width = next((width for width in _WIDTHS if width >= rows.shape[1]), rows.shape[1])
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _denoiser(sigma: float, scaling: str | None, seed: int) -> DenoisingAutoencoder:
    return DenoisingAutoencoder(
        n_latent=64,
        hidden_layer_sizes=(128,),
        skip=False,
        corruption=GaussianNoise(sigma, features="varying"),
        max_epochs=1,
        batch_size=_BATCH,
        learning_rate=1e-2,
        validation_fraction=None,
        scaling=scaling,
        random_state=seed,
    )
