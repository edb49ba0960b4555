"""Fit one estimator with many settings, trained together where their shapes allow it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from ..data.blocks import open_store
from ..data.readers import SchemaSpec
from ..data.types import RowsLike
from ..engine.progress import Bar
from ..errors import InvalidParameter
from .base import BaseAutoencoder, fit_together
from .input import InputSpec, Opened

__all__ = ["Sweep", "sweep"]

Grid = Mapping[str, Sequence[object]] | Sequence[Mapping[str, Sequence[object]]]


@dataclass(frozen=True)
class Sweep:
    """Result of a `sweep`."""

    table: list[dict[str, Any]]
    """One dict per setting: its parameters, ``loss`` and ``validation_loss`` at the best epoch, ``best_epoch``,
    ``n_epochs`` and, if `sweep` got ``X_val``, ``score``."""
    estimators_: list[BaseAutoencoder]
    """The fitted estimators, in the order of the table."""
    best_index_: int
    """Position of the best setting in the table."""

    @property
    def best_estimator_(self) -> BaseAutoencoder:
        """The estimator with the highest score; without ``X_val``, with the lowest validation or training loss."""
        return self.estimators_[self.best_index_]

    @property
    def best_params_(self) -> dict[str, Any]:
        """The parameters of the best setting."""
        named = ("loss", "validation_loss", "best_epoch", "n_epochs", "score")
        return {name: value for name, value in self.table[self.best_index_].items() if name not in named}


def sweep(
    estimator: BaseAutoencoder,
    grid: Grid,
    X: RowsLike,
    X_val: RowsLike | None = None,
    *,
    X_valid: RowsLike | None = None,
) -> Sweep:
    """Fit an estimator with every setting of a grid to the same rows, many settings at a time.

    Settings that change only numbers (seeds, learning rates, noise levels, weights of penalties) keep all array shapes
    and are trained together. Settings that change shapes, for example the width of a layer, are trained in groups. Each
    result equals ``clone(estimator).set_params(**setting).fit(X)`` except for rounding.

    Parameters
    ----------
    estimator : BaseAutoencoder
        The estimator to clone; it is not changed.
    grid : dict of str to sequence, or sequence of such dicts
        Parameters and the values to try: all combinations, as in `sklearn.model_selection.ParameterGrid`. ``a__b``
        sets the field ``b`` of the component in ``a``.
    X : array-like of shape (n, d), or a larger source of rows
        Training rows, as for `fit`.
    X_val : the same, or None, default=None
        Rows to choose the best setting with, by `score`. None: choose by the loss on each estimator's own validation
        rows. These losses are comparable only between settings with the same likelihood and scaling.
    X_valid : the same, or None, default=None
        Former name of ``X_val``; deprecated.

    Returns
    -------
    Sweep
        The fitted estimators and a table of results.

    Raises
    ------
    ValueError, InvalidPart, InvalidData, TrainingDiverged
        As `fit`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from diabolo import BasicAutoencoder, sweep
    >>> estimator = BasicAutoencoder(max_epochs=5, init="random", random_state=0)
    >>> sweep(estimator, {"learning_rate": [1e-3, 1e-2]}, load_iris().data).best_params_
    {'learning_rate': 0.01}
    """
    if not isinstance(estimator, BaseAutoencoder):
        raise InvalidParameter(f"estimator must be an autoencoder of diabolo; got {estimator!r}.")
    try:
        settings = list(ParameterGrid(grid))
    except (TypeError, ValueError) as error:
        raise InvalidParameter(str(error)) from error
    if not settings:
        raise InvalidParameter("The grid has no setting. Give a dict of parameters, each with the values to try.")
    if X_valid is not None:
        if X_val is not None:
            raise InvalidParameter("X_val and X_valid are both given. X_valid is the former name of X_val: give X_val.")
        warnings.warn("X_valid is deprecated and will be removed in the next release: use X_val.", FutureWarning, 2)
        X_val = X_valid
    X = _opened_once(X, estimator.schema)
    if X_val is not None:
        X_val = _opened_once(X_val, getattr(X, "schema", None))
    with Bar("sweep", 1.0, bool(estimator.verbose), "compiling") as bar:
        unfitted = [clone(estimator).set_params(**setting) for setting in settings]
        given = _opened_for(unfitted, X)
        fitted = fit_together(list(zip(unfitted, given, strict=True)), bar.show, judged=True)
    table = [_row(setting, one, X_val) for setting, one in zip(settings, fitted, strict=True)]
    return Sweep(table, fitted, int(np.argmin([_badness(row) for row in table])))


def _opened_for(estimators: Sequence[BaseAutoencoder], X: RowsLike) -> list[Opened]:
    """Open the rows for each estimator; once for all estimators with the same schema."""
    known: list[tuple[SchemaSpec, Opened]] = []
    found = []
    for one in estimators:
        opened = next((opened for wanted, opened in known if wanted == one.schema), None)
        if opened is None:
            opened = InputSpec.learn(type(one).__name__, X, one.schema)
            known.append((one.schema, opened))
        found.append(opened)
    return found


def _opened_once(rows: RowsLike, wanted: SchemaSpec) -> RowsLike:
    """Open files and copy sources that can be read only once, so that every setting can read the rows."""
    opened = open_store(rows, wanted=wanted)
    return rows if opened is None else opened


def _row(setting: Mapping[str, object], fitted: BaseAutoencoder, X_val: RowsLike | None) -> dict[str, Any]:
    best, history = max(fitted.best_epoch_, 1) - 1, fitted.history_
    row: dict[str, Any] = dict(setting)
    row |= {name: history[name][best] for name in ("loss", "validation_loss") if name in history}
    row |= {"best_epoch": fitted.best_epoch_, "n_epochs": fitted.n_epochs_}
    return row if X_val is None else row | {"score": fitted.score(X_val)}


def _badness(row: dict[str, Any]) -> float:
    badness: float = -row["score"] if "score" in row else row.get("validation_loss", row.get("loss", np.inf))
    return badness
