"""What a fitted model says of rows, as a table: the command writes it to files, the server to whoever asks.

`questions` are those that a model can be asked. Each takes the model and rows, whatever may stand for them, and gives
as many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from ..data.readers import Table
from ..data.scaler import MAX_ABS_SCALED
from ..data.schema import Column, Schema
from ..data.types import Frame, RowsLike
from .anomaly_detector import AnomalyDetector
from .base import BaseAutoencoder
from .classifier import AutoencoderClassifier
from .ensemble import Ensemble
from .imputer import AutoencoderImputer
from .predictor import Predictor
from .trainable import Learned, Saveable

__all__ = [
    "Answer",
    "anomaly_scores",
    "as_table",
    "classes",
    "codes",
    "densities",
    "filled",
    "in_order",
    "like_those_seen",
    "named",
    "questions",
    "reach",
    "rebuilt",
]

Told: TypeAlias = Table | pa.Table
Answer = Callable[[Any, RowsLike], Told]
"""From a fitted model and rows to a `Table` or an Arrow table of as many rows."""


def codes(model: BaseAutoencoder, rows: RowsLike) -> Told:
    """The code of each row."""
    return Table(model.transform(rows), tuple(model.get_feature_names_out()))


def rebuilt(model: BaseAutoencoder, rows: RowsLike) -> Told:
    """Each row, told from its code."""
    return as_table(model, model.reconstruct(rows))


def densities(model: BaseAutoencoder, rows: RowsLike) -> Told:
    """The log-density of each row, in nats."""
    return Table(model.score_samples(rows)[:, None], ("log_density",))


def filled(model: BaseAutoencoder | AutoencoderImputer, rows: RowsLike) -> Told:
    """Each row with its missing cells filled."""
    return as_table(model, model.impute(rows) if isinstance(model, BaseAutoencoder) else model.transform(rows))


def anomaly_scores(model: AnomalyDetector, rows: RowsLike, false_alarm_rate: float | None = None) -> pa.Table:
    """How strange each row is, how often an ordinary one would be as strange, whether it is flagged, and why."""
    why = model.explain(rows)
    p_values = model.p_values_from_scores(why.scores)
    leading = [[name if isinstance(name, str) else f"x{name}" for name in names] for names in why.top_features(3).T]
    return pa.table(
        {
            "score": why.scores,
            "p_value": p_values,
            "flagged": p_values <= (model.false_alarm_rate if false_alarm_rate is None else false_alarm_rate),
            **{f"column_{i}": names for i, names in enumerate(leading, start=1)},
        }
    )


def classes(model: AutoencoderClassifier, rows: RowsLike) -> pa.Table:
    """The likeliest label of each row, and each label's probability."""
    shares, labels = model.predict_proba(rows), model.classes_
    best = labels[shares.argmax(axis=1)]
    return pa.table({"label": best.tolist(), **{f"p_{label}": shares[:, i] for i, label in enumerate(labels)}})


def questions(model: Saveable) -> dict[str, Answer]:
    """What a fitted model can be asked of rows, by name; nothing, if it only draws."""
    if isinstance(model, BaseAutoencoder):
        asked = {"transform": codes, "reconstruct": rebuilt, "score": densities}
        return asked | ({"impute": filled} if model.input_.allow_missing else {})
    if isinstance(model, AnomalyDetector):
        return {"score": anomaly_scores}
    if isinstance(model, AutoencoderImputer):
        return {"impute": filled}
    return {"classify": classes} if isinstance(model, AutoencoderClassifier) else {}


def as_table(model: Saveable, rows: Frame) -> Told:
    """Rows of the model's features under their names; a table as it is."""
    columns = model.input_
    names = [f"x{i}" for i in columns.labels] if columns.names is None else map(str, columns.names)
    return Table(rows, tuple(names)) if columns.schema is None else rows


def named(model: Saveable, rows: Frame) -> Frame:
    """Rows as the model takes them: an Arrow table with the names that it was fitted with, if there were any."""
    if model.input_.names is None or isinstance(rows, pa.Table):
        return rows
    return Table(rows, tuple(map(str, model.input_.names))).as_arrow()


def predictors(model: Saveable) -> list[Predictor]:
    """Return those of a fitted estimator: its own, or those of its networks."""
    if isinstance(model, Ensemble):
        return [member.predictor_ for group in model.estimators_ for member in group]
    return [model.predictor_] if isinstance(model, Learned) else []


def in_order(schema: Schema) -> Iterator[tuple[Column, slice]]:
    """The columns as they lie in encoded rows."""
    by_name = {column.name: column for column in schema.used}
    return ((by_name[name], place) for name, place in schema.column_slices.items())


def reach(model: Saveable) -> tuple[np.ndarray, np.ndarray]:
    """Between what each number of a row must lie for the model to say a number of it: the least and the greatest.

    They are far out (see `data.scaler.check_output_range`). A detector clips what its networks read: its limits are of
    32 bits.
    """
    most = np.full(model.input_.width, float(np.finfo(np.float32).max))
    low, high = -most, most
    if isinstance(model, AnomalyDetector):
        return low, high
    for predictor in predictors(model):
        scaler = predictor.scaler
        low = np.maximum(low, scaler.offset - 0.9 * MAX_ABS_SCALED * scaler.scale)
        high = np.minimum(high, scaler.offset + 0.9 * MAX_ABS_SCALED * scaler.scale)
    return low, high


def like_those_seen(model: Saveable, n_rows: int) -> Frame:
    """Rows made up as the scaling and the schema have seen them, columns independent: an array, or an Arrow table."""
    schema, inner, rng = model.input_.schema, predictors(model)[0], np.random.default_rng(0)
    recipe, width = inner.recipe, inner.scaler.offset.size
    supports = np.broadcast_to(recipe.likelihood.supports(width) if not recipe.n_targets else "real", width)
    unit = {"real": rng.normal(size=(n_rows, width)), "unit": rng.random((n_rows, width)),
            "count": rng.poisson(2.0, (n_rows, width)).astype(float)}  # fmt: skip
    drawn = np.choose([("real", "unit", "count").index(s) for s in supports], list(unit.values()))
    if inner.scaler.kind in ("minmax", "range"):
        drawn = np.where(supports == "count", drawn, unit["unit"])
    rows = inner.scaler.invert(drawn)[:, : model.input_.width]
    if schema is not None:
        for column, place in in_order(schema):
            if column.kind == "category":
                rows[:, place] = np.eye(column.width)[rng.integers(len(column.categories), size=n_rows)]
            elif column.kind == "boolean":
                rows[:, place] = rng.integers(2, size=(n_rows, 1))
    if model.input_.allow_missing:
        column_of_feature = np.array(
            range(rows.shape[1]) if schema is None else [schema.names.index(o) for o in schema.column_of_feature]
        )
        rows[(rng.random((n_rows, column_of_feature.max() + 1)) < 0.2)[:, column_of_feature]] = np.nan
    return rows if schema is None else schema.decode(rows)
