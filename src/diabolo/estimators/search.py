"""A search over settings by cross-validation, in the manner of scikit-learn, whose trainings run together."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring
from sklearn.model_selection import BaseCrossValidator, GridSearchCV, ParameterGrid, check_cv
from sklearn.utils import _safe_indexing

from ..data.types import Frame
from ..engine.progress import Bar
from ..errors import DiaboloError, InvalidParameter
from .base import BaseAutoencoder, fit_together
from .input import InputSpec, Opened
from .sweep import Grid, opened_for

__all__ = ["BatchedSearchCV"]

T = TypeVar("T")
Scorer = Callable[..., float | Mapping[str, float]]
Scoring = str | Callable[..., float] | Iterable[str] | Mapping[str, Callable[..., float]] | None


class BatchedSearchCV(GridSearchCV):  # type: ignore[misc]
    """`GridSearchCV` for autoencoders: the trainings of all settings and folds run together.

    The settings are tried with the same folds, and have the same scores, except for rounding, as with scikit-learn's
    `GridSearchCV`; attributes and methods are the same. Trainings that share a program run in one `vmap` of it (see
    `sweep`): settings that differ in numbers only, such as learning rates, noise levels and weights of penalties, and
    those that differ in the width of hidden layers. Widths are rounded up to powers of 2, at least 32, by units whose
    weights are 0 and stay 0; only the best setting, fitted again to all rows, has the width that it names. Settings
    that differ in the number of layers, the size of the code, the activation or the batch need a program each.

    Parameters
    ----------
    estimator : BaseAutoencoder
        The autoencoder to clone; it is not changed. For detectors, imputers, generators, classifiers and pipelines, use
        `sklearn.model_selection.GridSearchCV`.
    param_grid : dict of str to sequence, or sequence of such dicts
        Parameters and the values to try: all combinations. ``a__b`` sets the field ``b`` of the component in ``a``.
    scoring : str, callable, list, tuple or dict, default=None
        How to score held-out rows, as in scikit-learn; higher is better. None: the estimator's `score`.
    refit : bool, str or callable, default=True
        Whether to fit the best setting to all rows. With several scores, the name of the deciding one. A function gets
        ``cv_results_`` and returns the index of the best setting.
    cv : int, cross-validation generator or iterable, default=None
        The folds; None: five.
    verbose : int, default=0
        Whether to show the progress.
    error_score : "raise" or float, default=nan
        The score of a setting whose training diverges, or for which the scoring of a fold raises an error, with a
        `FitFailedWarning`; "raise": raise the error.
    return_train_score : bool, default=False
        Whether to score the training rows as well.

    Attributes
    ----------
    cv_results_ : dict of str to array
        As in `GridSearchCV`. ``fit_time`` is an equal share of the time that all trainings took together.
    best_estimator_ : BaseAutoencoder
        The best setting, fitted to all rows by `fit`. The methods `transform`, `inverse_transform`, `score_samples`,
        `score` and so on are its own.
    best_params_ : dict
        The parameters of the best setting.
    best_score_ : float
        The mean score of the best setting over the folds.
    best_index_ : int
        Its position in ``cv_results_``.
    scorer_, n_splits_, refit_time_, multimetric_
        As in `GridSearchCV`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import BasicAutoencoder, BatchedSearchCV
    >>> grid = {"learning_rate": [1e-4, 1e-2]}
    >>> search = BatchedSearchCV(BasicAutoencoder(max_epochs=5, init="random", random_state=0), grid, cv=2)
    >>> search.fit(load_iris().data).best_params_
    {'learning_rate': 0.01}
    """

    def __init__(
        self,
        estimator: BaseAutoencoder,
        param_grid: Grid,
        *,
        scoring: Scoring = None,
        refit: bool | str | Callable[..., int] = True,
        cv: int | BaseCrossValidator | Iterable[object] | None = None,
        verbose: int = 0,
        error_score: str | float = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def fit(self, X: Frame, y: ArrayLike | None = None, *, groups: ArrayLike | None = None) -> Self:
        """Train and score all settings in all folds, and fit the best one to all rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n, d)
            Rows in memory, as for the estimator's `fit`.
        y : array-like of shape (n,) or None, default=None
            Labels for ``cv`` and ``scoring``; the training ignores them.
        groups : array-like of shape (n,) or None, default=None
            Groups of rows for ``cv``.

        Returns
        -------
        Self
            The fitted search.

        Raises
        ------
        ValueError, InvalidParameter, InvalidPart, InvalidData
            As the estimator's `fit`, if a setting or the rows are invalid, before any training; if the estimator is no
            autoencoder; if several scores have no deciding one.
        DiaboloError
            With ``error_score="raise"``, if a training diverges, or a model cannot score the rows of a fold. A scorer's
            error is raised as it is.
        """
        self._validate_params()
        if not isinstance(self.estimator, BaseAutoencoder):
            raise InvalidParameter(
                f"estimator must be an autoencoder of diabolo; got {type(self.estimator).__name__}. Use scikit-learn's "
                "GridSearchCV for other estimators."
            )
        if isinstance(X, str | os.PathLike) or not hasattr(X, "__len__"):
            raise InvalidParameter("X must be an array or a table in memory, of which folds can be taken.")
        InputSpec.learn(type(self.estimator).__name__, X, self.estimator.schema)  # refuses rows before any fold does
        settings = list(ParameterGrid(self.param_grid))
        splits = list(check_cv(self.cv, y).split(X, y, groups))
        folds = [tuple(_rows(X, y, part) for part in split) for split in splits]
        scorer = self.scoring if callable(self.scoring) else check_scoring(self.estimator, self.scoring)
        has_several = self._has_several()
        unfitted = [clone(self.estimator).set_params(**setting) for setting in settings for _ in splits]
        trained, seconds = _timed(lambda: self._trained(unfitted, [training for training, _ in folds]))
        tried = []
        for i, (one, error) in enumerate(zip(unfitted, trained, strict=True)):
            rows = dict(zip(("train", "test"), folds[i % len(splits)], strict=True))
            tried.append(self._tried(one, error, scorer, rows) | {"fit": seconds / len(unfitted)})
        self.n_splits_, self.scorer_ = len(splits), scorer
        found = next((list(one["test"]) for one in tried if one["test"]), ["score"])
        names = [*map(str, self.scoring)] if has_several else found
        self.multimetric_ = has_several or names != ["score"]
        self.cv_results_ = _results(settings, tried, names, len(splits), self.error_score)
        if self.refit or not self.multimetric_:
            self._choose(settings)
        if self.refit:
            self.best_estimator_ = clone(self.estimator).set_params(**self.best_params_)
            _, self.refit_time_ = _timed(lambda: self.best_estimator_.fit(X))
            if hasattr(self.best_estimator_, "feature_names_in_"):
                self.feature_names_in_ = self.best_estimator_.feature_names_in_
        return self

    def _has_several(self) -> bool:
        """Return whether ``scoring`` names scores, and check that they have a deciding one.

        Raises
        ------
        InvalidParameter
            If they have none.
        """
        several = self.scoring is not None and not isinstance(self.scoring, str) and not callable(self.scoring)
        if several and self.refit is not False and not callable(self.refit) and self.refit not in self.scoring:
            raise InvalidParameter(
                f"scoring names several scores; refit must be the name of the deciding one, a function, or False. Got "
                f"{self.refit!r}; the names are {', '.join(map(str, self.scoring))}."
            )
        return several

    def _trained(self, unfitted: Sequence[BaseAutoencoder], rows: Sequence[_Rows]) -> list[DiaboloError | None]:
        """Fit the estimators, setting by setting and fold by fold; return the error of each, or None."""
        given: dict[int, Opened] = {}
        for i, training in enumerate(rows):
            of_fold = range(i, len(unfitted), len(rows))
            opened = opened_for([unfitted[j] for j in of_fold], training.X)
            given |= dict(zip(of_fold, opened, strict=True))
        with Bar("search", 1.0, bool(self.verbose), "compiling") as bar:
            pairs = [(one, given[i]) for i, one in enumerate(unfitted)]
            found = fit_together(pairs, bar.show, widened=True)
        if found.interrupted:
            raise KeyboardInterrupt
        return list(found.errors)

    def _tried(
        self, one: BaseAutoencoder, error: DiaboloError | None, scorer: Scorer, rows: Mapping[str, _Rows]
    ) -> dict[str, Any]:
        """Return the scores of a fitted estimator by name, of test rows and of training rows, and the seconds taken.

        Without any name: the training diverged, or the rows cannot be scored.
        """
        started = time.perf_counter()
        found: dict[str, Mapping[str, float]] = {"test": {}, "train": {}}
        try:
            if error is not None:
                raise error
            for which in ("test", "train") if self.return_train_score else ("test",):
                X, y = rows[which]
                score = scorer(one, X) if y is None else scorer(one, X, y)
                found[which] = score if isinstance(score, Mapping) else {"score": float(score)}
        except Exception as reason:  # of the scorer as well: the trainings of the others are not lost
            if self.error_score == "raise":
                raise
            warnings.warn(f"{one} failed, and its score is {self.error_score}: {reason}", FitFailedWarning, 3)
        return {**found, "score": time.perf_counter() - started}

    def _choose(self, settings: Sequence[Mapping[str, object]]) -> None:
        """Set the best setting, by the function or the score that decides.

        Raises
        ------
        InvalidParameter
            If there is no such setting or score.
        """
        if callable(self.refit):
            chosen = self.refit(self.cv_results_)
            if not isinstance(chosen, Integral) or int(chosen) not in range(len(settings)):
                most = len(settings) - 1
                raise InvalidParameter(f"refit returned {chosen!r}. Return the index of a setting, from 0 to {most}.")
            self.best_index_ = int(chosen)
        else:
            name = self.refit if isinstance(self.refit, str) else "score"
            if f"rank_test_{name}" not in self.cv_results_:
                names = [key.removeprefix("rank_test_") for key in self.cv_results_ if key.startswith("rank_test_")]
                raise InvalidParameter(f"refit must be the name of the deciding score: {', '.join(names)}.")
            self.best_index_ = int(self.cv_results_[f"rank_test_{name}"].argmin())
            self.best_score_ = self.cv_results_[f"mean_test_{name}"][self.best_index_]
        self.best_params_ = settings[self.best_index_]


class _Rows(NamedTuple):
    """Some rows, with their labels if there are any."""

    X: Frame
    y: ArrayLike | None


def _rows(X: Frame, y: ArrayLike | None, which: np.ndarray) -> _Rows:
    return _Rows(_safe_indexing(X, which), None if y is None else _safe_indexing(y, which))


def _timed(do: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    return do(), time.perf_counter() - started


def _results(
    settings: Sequence[Mapping[str, object]],
    tried: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    n_splits: int,
    error_score: str | float,
) -> dict[str, Any]:
    """Return `GridSearchCV.cv_results_` of estimators in the order of settings, and folds within them."""
    results: dict[str, Any] = {}
    for what in ("fit", "score"):
        seconds = np.reshape([one[what] for one in tried], (-1, n_splits))
        results |= {f"mean_{what}_time": seconds.mean(axis=1), f"std_{what}_time": seconds.std(axis=1)}
    for name in dict.fromkeys(name for setting in settings for name in setting):
        values = np.ma.MaskedArray(np.empty(len(settings), object), True)
        for i, setting in enumerate(settings):
            if name in setting:
                values[i] = setting[name]
        results[f"param_{name}"] = values
    results["params"] = list(settings)
    for which in ("test", "train") if any(one["train"] for one in tried) else ("test",):
        for name in names:
            scores = np.reshape([float(one[which].get(name, error_score)) for one in tried], (-1, n_splits))
            results |= {f"split{i}_{which}_{name}": scores[:, i] for i in range(n_splits)}
            mean = scores.mean(axis=1)
            results |= {f"mean_{which}_{name}": mean, f"std_{which}_{name}": scores.std(axis=1)}
            if which == "test":
                worst = np.nan_to_num(mean, nan=-np.inf)
                results[f"rank_test_{name}"] = rankdata(-worst, method="min").astype(np.int32)
    return results
