"""Fit one estimator with many settings, trained together where their shapes allow it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from ..data.blocks import open_store
from ..data.readers import SchemaSpec
from ..data.types import RowsLike
from ..engine.progress import Bar
from ..errors import (
    DiaboloError,
    FailedSettingWarning,
    InvalidData,
    InvalidParameter,
    TrainingInterrupted,
)
from ..former_names import warn_of_former
from .base import BaseAutoencoder, fit_together
from .input import InputSpec, Opened

__all__ = ["Grid", "Sweep", "opened_for", "sweep"]

Grid = Mapping[str, Sequence[object]] | Sequence[Mapping[str, Sequence[object]]]


@dataclass(frozen=True)
class Sweep:
    """Result of a `sweep`."""

    table: list[dict[str, Any]]
    """One dict per setting: its parameters, ``loss`` and ``validation_loss`` at the best epoch, ``best_epoch``,
    ``n_epochs`` and, if `sweep` got ``X_val``, ``score``. A setting that failed has ``error``, the reason, instead of
    what it lacks."""
    estimators_: list[BaseAutoencoder]
    """The estimators, in the order of the table: fitted, unless the training of the setting failed."""
    best_index_: int
    """Position of the best setting in the table."""

    @property
    def best_estimator_(self) -> BaseAutoencoder:
        """The estimator with the highest score; without ``X_val``, with the lowest validation loss.

        If no setting has validation rows, the training loss decides. Settings that failed, have a score that is NaN, or
        lack the deciding number are never the best.
        """
        return self.estimators_[self.best_index_]

    @property
    def best_params_(self) -> dict[str, Any]:
        """The parameters of the best setting."""
        named = ("loss", "validation_loss", "best_epoch", "n_epochs", "score", "error")
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
    result equals ``clone(estimator).set_params(**setting).fit(X)`` except for rounding. A setting whose training
    diverges, or whose model cannot score ``X_val``, fails alone, with a `FailedSettingWarning`.

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
        rows, or on training rows if no setting has validation rows. These losses are comparable only between settings
        with the same likelihood and scaling.
    X_valid : the same, or None, default=None
        Former name of ``X_val``; deprecated.

    Returns
    -------
    Sweep
        The fitted estimators and a table of results.

    Raises
    ------
    ValueError, InvalidPart, InvalidData
        As `fit`, if a setting or the rows are invalid, before any training; or if no setting has a score.
    TrainingDiverged
        If the training of every setting diverges.
    TrainingInterrupted
        On Ctrl-C after the first epoch of a setting. It is a `KeyboardInterrupt`; its ``result`` is a `Sweep` of what
        was trained so far, in which settings without a complete epoch failed.

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
        warn_of_former("sweep", "X_valid", "X_val")
        X_val = X_valid
    unfitted = [clone(estimator).set_params(**setting) for setting in settings]
    with Bar("sweep", 1.0, bool(estimator.verbose), "compiling") as bar:
        given = opened_for(unfitted, X)
        found = fit_together(list(zip(unfitted, given, strict=True)), bar.show, judged=True)
    errors: list[BaseException | None] = [
        error or (None if hasattr(one, "model_") else KeyboardInterrupt("interrupted before the first epoch ended"))
        for one, error in zip(unfitted, found.errors, strict=True)
    ]
    table = [_row(*some) for some in zip(settings, unfitted, found.losses, errors, strict=True)]
    if X_val is not None:
        _add_scores(table, unfitted, errors, X_val)
    if found.interrupted and all(errors):
        raise KeyboardInterrupt
    result = Sweep(table, unfitted, _best(table, errors))
    for row, reason in zip(table, errors, strict=True):
        if isinstance(reason, DiaboloError):
            warnings.warn(f"The setting {_text_of(row, settings[0])} failed: {reason}", FailedSettingWarning, 2)
    if found.interrupted:
        raise TrainingInterrupted(
            "The sweep was interrupted. `result` of this exception is a Sweep of what was trained so far.", result
        )
    return result


def opened_for(estimators: Sequence[BaseAutoencoder], X: RowsLike) -> list[Opened]:
    """Open the rows for each estimator; once for all estimators with the same schema."""
    known: list[tuple[SchemaSpec, Opened]] = []
    n_schemas = sum(all(one.schema != other.schema for other in estimators[:i]) for i, one in enumerate(estimators))
    X = _readable_again(X) if n_schemas > 1 else X
    found = []
    for one in estimators:
        opened = next((opened for wanted, opened in known if wanted == one.schema), None)
        if opened is None:
            opened = InputSpec.learn(type(one).__name__, X, one.schema, any_shape=True)
            known.append((one.schema, opened))
        found.append(opened)
    return found


def _readable_again(rows: RowsLike) -> RowsLike:
    """Return rows that can be opened several times: copy an iterator, and reject standard input."""
    if isinstance(rows, str) and rows == "-":
        raise InvalidData("Standard input can be read once, but the settings have several schemas. Give a file.")
    if not isinstance(rows, Iterator):
        return rows
    copied = open_store(rows)
    return rows if copied is None else copied


def _row(
    setting: Mapping[str, object], one: BaseAutoencoder, losses: Mapping[str, float], error: BaseException | None
) -> dict[str, Any]:
    if error is not None:
        return {**setting, "error": str(error)}
    return {**setting, **losses, "best_epoch": one.best_epoch_, "n_epochs": one.n_epochs_}


def _add_scores(
    table: list[dict[str, Any]],
    estimators: Sequence[BaseAutoencoder],
    errors: list[BaseException | None],
    X_val: RowsLike,
) -> None:
    """Add the score of each fitted estimator to its row, or the error to row and ``errors``."""
    X_val = _readable_again(X_val)
    opened: dict[int, Any] = {}
    for i, (row, one) in enumerate(zip(table, estimators, strict=True)):
        if errors[i] is not None:
            continue
        columns = one.input_
        try:
            if (key := id(columns.schema)) not in opened:
                by_name = isinstance(X_val, str | os.PathLike) and columns.schema is None
                found = open_store(X_val, columns.names or () if by_name else (), wanted=columns.schema)
                opened[key] = X_val if found is None else found
            row["score"] = one.score(opened[key])
            if np.isnan(row["score"]):
                raise InvalidData("The score of X_val is NaN.")
        except DiaboloError as error:
            errors[i], row["error"] = error, str(error)


def _best(table: Sequence[Mapping[str, Any]], errors: Sequence[BaseException | None]) -> int:
    """Return the position of the best setting.

    Raises
    ------
    BaseException
        The first error, if there is no best setting.
    """
    name = next((name for name in ("score", "validation_loss", "loss") if any(name in row for row in table)), "loss")
    sign = -1.0 if name == "score" else 1.0
    badness = [
        sign * float(row[name]) if error is None and name in row else np.nan
        for row, error in zip(table, errors, strict=True)
    ]
    if np.isnan(badness).all():
        raise next((error for error in errors if error is not None), InvalidData(f"No setting has a {name}."))
    return int(np.nanargmin(badness))


def _text_of(row: Mapping[str, object], setting: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={row[name]!r}" for name in setting)
