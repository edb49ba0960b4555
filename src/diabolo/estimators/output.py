"""Containers of results that scikit-learn's `set_output` and the library of the input choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator
from sklearn.utils._set_output import _get_output_config

from ..data.containers import Container, text_of
from ..data.frames import collected, to_arrow
from ..data.types import Frame, RowsLike

__all__ = ["as_configured", "output_library", "table_like"]


def output_library(estimator: BaseEstimator) -> str | None:
    """Return the library that `set_output`, or scikit-learn's configuration, chooses for tables; None: the input's."""
    dense: str = _get_output_config("transform", estimator)["dense"]
    return None if dense == "default" else dense


def table_like(X: RowsLike, rows: np.ndarray, labels: Sequence[Any]) -> Frame:
    """Return rows of numbers in the library of ``X``, with these labels and its index; an array, if X is no table."""
    form = Container.of(X)
    if form is None:
        return rows
    levels = form.levels if len(form.levels) == 1 or all(isinstance(label, tuple) for label in labels) else (None,)
    like = Container(form.library, tuple(labels), (None,) * len(labels), levels, form.is_lazy)
    columns = {text_of(label): cells for label, cells in zip(labels, rows.T, strict=True)}
    return like.build(pa.table(columns), X)


def as_configured(estimator: BaseEstimator, rows: Frame, X: RowsLike) -> Frame:
    """Return a table in the library that `set_output` chooses, so that scikit-learn only has to name its columns."""
    library = output_library(estimator)
    if library is None or (given := Container.of(rows := collected(rows))) is None or given.library == library:
        return rows
    table = to_arrow(rows)
    assert table is not None
    return Container(library, given.names, (None,) * len(given.names)).build(table, X)
