"""What a fitted model says of rows, as a table: the command writes it to files, the server to whoever asks.

`questions` are those that a model can be asked. Each takes the model and rows, whatever may stand for them, and gives
as many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ..data.readers import Table
from ..data.scaler import FAR
from ..data.schema import Column, Schema
from .anomaly_detector import AnomalyDetector
from .base import BaseAutoencoder
from .classifier import AutoencoderClassifier
from .imputer import AutoencoderImputer

__all__ = [
    "Answer",
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
    "strangeness",
]

Answer = Callable[[Any, Any], Any]
"""From a fitted model and rows to a `Table` or an Arrow table of as many rows."""


def codes(model: Any, rows: Any) -> Any:
    """The code of each row."""
    return Table(model.transform(rows), tuple(model.get_feature_names_out()))


def rebuilt(model: Any, rows: Any) -> Any:
    """Each row, told from its code."""
    return as_table(model, model.reconstruct(rows))


def densities(model: Any, rows: Any) -> Any:
    """The log-density of each row, in nats."""
    return Table(model.score_samples(rows)[:, None], ("log_density",))


def filled(model: Any, rows: Any) -> Any:
    """Each row with its missing cells filled."""
    return as_table(model, model.impute(rows) if hasattr(model, "impute") else model.transform(rows))


def strangeness(model: Any, rows: Any, false_alarm_rate: float | None = None) -> Any:
    """How strange each row is, how often an ordinary one would be as strange, whether it is flagged, and why."""
    why = model.explain(rows)
    p_values = model.p_values_of(why.scores)
    leading = [[name if isinstance(name, str) else f"x{name}" for name in names] for names in why.leading(3).T]
    return pa.table(
        {
            "score": why.scores,
            "p_value": p_values,
            "flagged": p_values <= (model.false_alarm_rate if false_alarm_rate is None else false_alarm_rate),
            **{f"column_{i}": names for i, names in enumerate(leading, start=1)},
        }
    )


def classes(model: Any, rows: Any) -> Any:
    """The likeliest label of each row, and each label's probability."""
    shares, labels = model.predict_proba(rows), model.classes_
    best = labels[shares.argmax(axis=1)]
    return pa.table({"label": best.tolist(), **{f"p_{label}": shares[:, i] for i, label in enumerate(labels)}})


def questions(model: Any) -> dict[str, Answer]:
    """What a fitted model can be asked of rows, by name; nothing, if it only draws."""
    if isinstance(model, BaseAutoencoder):
        asked = {"transform": codes, "reconstruct": rebuilt, "score": densities}
        return asked | ({"impute": filled} if model.input_.allow_missing else {})
    if isinstance(model, AnomalyDetector):
        return {"score": strangeness}
    if isinstance(model, AutoencoderImputer):
        return {"impute": filled}
    return {"classify": classes} if isinstance(model, AutoencoderClassifier) else {}


def as_table(model: Any, rows: Any) -> Any:
    """Rows of the model's features under their names; a table as it is."""
    names: Sequence[Any] = getattr(model, "feature_names_in_", [f"x{i}" for i in range(model.n_features_in_)])
    return Table(rows, tuple(names)) if getattr(model, "schema_", None) is None else rows


def named(model: Any, rows: Any) -> Any:
    """Rows as the model takes them: an Arrow table with the names that it was fitted with, if there were any."""
    if not hasattr(model, "feature_names_in_") or isinstance(rows, pa.Table):
        return rows
    return Table(rows, tuple(map(str, model.feature_names_in_))).as_arrow()


def in_order(schema: Schema) -> Iterator[tuple[Column, slice]]:
    """The columns as they lie in encoded rows."""
    by_name = {column.name: column for column in schema.used}
    return ((by_name[name], place) for name, place in schema.places.items())


def reach(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Between what each number of a row must lie for the model to say a number of it: the least and the greatest.

    They are far out (see `data.scaler.refuse_far`). A detector clips what its networks read: its limits are of 32 bits.
    """
    most = np.full(model.input_.width, float(np.finfo(np.float32).max))
    low, high = -most, most
    if isinstance(model, AnomalyDetector):
        return low, high
    for member in (one for group in getattr(model, "estimators_", [[model]]) for one in group):
        scaler = member.scaler_
        low = np.maximum(low, scaler.offset - 0.9 * FAR * scaler.scale)
        high = np.minimum(high, scaler.offset + 0.9 * FAR * scaler.scale)
    return low, high


def like_those_seen(model: Any, n_rows: int) -> Any:
    """Rows made up as the scaling and the schema have seen them, columns independent: an array, or an Arrow table."""
    schema = getattr(model, "schema_", None)
    rng = np.random.default_rng(0)
    inner = next(member for group in getattr(model, "estimators_", [[model]]) for member in group)
    width = inner.scaler_.offset.size
    recipe = inner.model_.recipe
    supports = np.broadcast_to(recipe.likelihood.supports(width) if not recipe.n_targets else "real", width)
    unit = {"real": rng.normal(size=(n_rows, width)), "unit": rng.random((n_rows, width)),
            "count": rng.poisson(2.0, (n_rows, width)).astype(float)}  # fmt: skip
    drawn = np.choose([("real", "unit", "count").index(s) for s in supports], list(unit.values()))
    if inner.scaler_.kind in ("minmax", "range"):
        drawn = np.where(supports == "count", drawn, unit["unit"])
    rows = inner.scaler_.invert(drawn)[:, : model.input_.width]
    if schema is not None:
        for column, place in in_order(schema):
            if column.kind == "category":
                rows[:, place] = np.eye(column.width)[rng.integers(len(column.categories), size=n_rows)]
            elif column.kind == "boolean":
                rows[:, place] = rng.integers(2, size=(n_rows, 1))
    if model.input_.allow_missing:
        owners = np.array(range(rows.shape[1]) if schema is None else [schema.names.index(o) for o in schema.owners])
        rows[(rng.random((n_rows, owners.max() + 1)) < 0.2)[:, owners]] = np.nan
    return rows if schema is None else schema.decode(rows)
