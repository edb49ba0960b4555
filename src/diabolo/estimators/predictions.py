"""Predictions of a fitted model as tables, for the command line and the server.

`questions` returns the kinds of prediction that a model supports. Each kind is a function of the model and rows from
any source; it returns one result row per row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..data.frames import to_arrow
from ..data.readers import Table
from ..data.scaler import MAX_ABS_SCALED
from ..data.schema import Column, Schema
from ..data.types import Frame, Name, RowsLike
from ..errors import UnsupportedOperationError
from .base import BaseAutoencoder
from .classifier import AutoencoderClassifier
from .ensemble import Ensemble
from .predictor import Predictor
from .trainable import ESTIMATOR_REGISTRY, Learned, Saveable
from .validation import flattened

if TYPE_CHECKING:
    from .anomaly_detector import AnomalyDetector
    from .imputer import AutoencoderImputer
    from .series_detector import SeriesDetector

__all__ = [
    "Answer",
    "as_table",
    "counts_only",
    "in_order",
    "like_those_seen",
    "named",
    "predict_alarms",
    "predict_anomaly_scores",
    "predict_classes",
    "predict_codes",
    "predict_imputed",
    "predict_log_density",
    "predict_reconstructions",
    "questions",
    "valid_input_range",
]

Told: TypeAlias = Table | pa.Table
Answer = Callable[[Any, RowsLike], Told]
"""A function of a fitted model and rows that returns a `Table` or an Arrow table with one row per row."""


def predict_codes(model: BaseAutoencoder, rows: RowsLike) -> Told:
    """Return the code of each row."""
    found = model.transform(rows)
    return found if isinstance(found, pa.Table) else Table(np.asarray(found), tuple(model.get_feature_names_out()))


def predict_reconstructions(model: BaseAutoencoder, rows: RowsLike, to: Mapping[Name, object] | None = None) -> Told:
    """Return the reconstruction of each row, under the condition ``to`` if it is given."""
    return as_table(model, model.reconstruct(rows, to=to))


def predict_log_density(model: BaseAutoencoder, rows: RowsLike) -> Told:
    """Return the log-density of each row, in nats."""
    return Table(model.score_samples(rows)[:, None], ("log_density",))


def predict_imputed(model: BaseAutoencoder | AutoencoderImputer, rows: RowsLike) -> Told:
    """Return the rows with their missing cells filled."""
    return as_table(model, model.impute(rows) if isinstance(model, BaseAutoencoder) else model.transform(rows))


def predict_anomaly_scores(model: AnomalyDetector, rows: RowsLike, false_alarm_rate: float | None = None) -> pa.Table:
    """Return for each row the anomaly score, its p-value, whether it is flagged, and its three leading columns."""
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


def predict_alarms(model: SeriesDetector, rows: RowsLike, false_alarm_rate: float | None = None) -> pa.Table:
    """Return the alarms of series; without a column of times, rows are counted from 1, and so are series."""
    asked = {} if false_alarm_rate is None else {"false_alarm_rate": false_alarm_rate}
    before = model.false_alarm_rate
    try:
        table = to_arrow(model.set_params(**asked).alarms(rows))
    finally:
        model.set_params(false_alarm_rate=before)
    assert table is not None
    for name in ("series", "start", "end", "peak"):
        if name in table.column_names and pa.types.is_integer(table[name].type) and model.time is None:
            table = table.set_column(table.column_names.index(name), name, pc.add(table[name], 1))
        elif name in table.column_names and pa.types.is_timestamp(kind := table[name].type):
            with suppress(pa.ArrowInvalid):  # fractions of a second
                cells = table[name].cast(pa.timestamp("s", kind.tz))
                table = table.set_column(table.column_names.index(name), name, cells)
    return table


def predict_classes(model: AutoencoderClassifier, rows: RowsLike) -> pa.Table:
    """Return the most probable label of each row, and the probability of each label."""
    shares, labels = model.predict_proba(rows), model.classes_
    best = labels[shares.argmax(axis=1)]
    return pa.table({"label": best.tolist(), **{f"p_{label}": shares[:, i] for i, label in enumerate(labels)}})


def questions(model: Saveable) -> dict[str, Answer]:
    """Return the kinds of prediction that a fitted model supports, by name; none for a generator."""
    if isinstance(model, BaseAutoencoder):
        asked = {"transform": predict_codes, "reconstruct": predict_reconstructions, "score": predict_log_density}
        return asked | ({"impute": predict_imputed} if model.input_.allow_missing else {})
    if _is_detector(model):
        return {"score": predict_anomaly_scores}
    if _is_imputer(model):
        return {"impute": predict_imputed}
    return {"classify": predict_classes} if isinstance(model, AutoencoderClassifier) else {}


def as_table(model: Saveable, rows: Frame) -> Told:
    """Return rows of the model's features as a table with column names; a data frame becomes an Arrow table."""
    if (table := to_arrow(rows)) is not None:
        return table
    columns = model.input_
    names = [f"x{i}" for i in columns.labels] if columns.names is None else map(str, columns.names)
    if _is_imputer(model):
        names = map(str, model.get_feature_names_out()[: np.shape(rows)[1]])  # without indicators for intervals
    return Table(flattened(rows)[0], tuple(names))


def named(model: Saveable, rows: Frame) -> Frame:
    """Return rows as the model reads them: an Arrow table if the model was fitted with column names."""
    if model.input_.names is None or isinstance(rows, pa.Table):
        return rows
    return Table(rows, tuple(map(str, model.input_.names))).as_arrow()


def predictors(model: Saveable) -> list[Predictor]:
    """Return the predictors of a fitted estimator: its own, or the predictors of its networks."""
    if isinstance(model, Ensemble):
        return [member.predictor_ for group in model.estimators_ for member in group]
    return [model.predictor_] if isinstance(model, Learned) else []


def in_order(schema: Schema) -> Iterator[tuple[Column, slice]]:
    """Return the columns in the order of encoded rows, each with its slice."""
    by_name = {column.name: column for column in schema.used}
    return ((by_name[name], place) for name, place in schema.column_slices.items())


def valid_input_range(model: Saveable) -> tuple[np.ndarray, np.ndarray]:
    """Return the minimum and the maximum of each feature for which the model gives finite results.

    The limits are far from the data (see `data.scaler.check_output_range`). The limits of a detector, which clips the
    input of its networks, are the 32-bit limits.
    """
    most = np.full(model.input_.width, float(np.finfo(np.float32).max))
    low, high = -most, most
    if _is_detector(model):
        return low, high
    for predictor in predictors(model):
        scaler = predictor.scaler
        low = np.maximum(low, scaler.offset - 0.9 * MAX_ABS_SCALED * scaler.scale)
        high = np.minimum(high, scaler.offset + 0.9 * MAX_ABS_SCALED * scaler.scale)
        supports = predictor.natural_supports
        low = np.where(supports == "real", low, 0.0)
        high = np.where(supports == "unit", 1.0, high)
    return low, high


def counts_only(model: Saveable) -> np.ndarray:
    """Return for each feature whether the model gives results for whole numbers only."""
    found = np.zeros(model.input_.width, bool)
    for predictor in () if _is_detector(model) else predictors(model):
        found |= predictor.natural_supports == "count"
    return found


def like_those_seen(model: Saveable, n_rows: int) -> Frame:
    """Return random rows with the scaling and the schema of the training rows and independent columns.

    The result is an array, or an Arrow table if there is a schema.
    """
    schema, rng, known = model.input_.schema, np.random.default_rng(0), predictors(model)
    if _is_of_series(model):
        raise UnsupportedOperationError(
            "A SeriesDetector scores windows of a series, not single rows, so it cannot be served. Score rows as they "
            "come with its stream()."
        )
    if _is_imputer(model) and not known:
        spread = np.sqrt(model.blend_.variance)
        rows = model.blend_.mean + spread * rng.normal(size=(n_rows, len(spread)))
    else:
        rows = _drawn(known[0], n_rows, rng)[:, : model.input_.width]
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
        hidden = (rng.random((n_rows, column_of_feature.max() + 1)) < 0.2)[:, column_of_feature]
        hidden[:, [at for one in known[:1] for at in one.recipe.condition]] = False
        rows[hidden] = np.nan
    return rows if schema is None else schema.decode(rows)


def _drawn(predictor: Predictor, n_rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return random rows with the scaling of a model and the support of its likelihood."""
    recipe, width = predictor.recipe, predictor.scaler.offset.size
    supports = np.broadcast_to(recipe.likelihood.supports(width) if not recipe.n_targets else "real", width)
    unit = {"real": rng.normal(size=(n_rows, width)), "unit": rng.random((n_rows, width)),
            "count": rng.poisson(2.0, (n_rows, width)).astype(float),
            "positive": rng.uniform(0.5, 2.0, (n_rows, width))}  # fmt: skip
    drawn = np.choose([list(unit).index(s) for s in supports], list(unit.values()))
    if predictor.scaler.kind in ("minmax", "range"):
        drawn = np.where(np.isin(supports, ("count", "positive")), drawn, unit["unit"])
    return predictor.scaler.invert(drawn)


# -- classes whose modules need not be imported ------------------------------------------------------------------------


def _is_detector(model: object) -> TypeGuard[AnomalyDetector]:
    return _is_a("AnomalyDetector", model)


def _is_imputer(model: object) -> TypeGuard[AutoencoderImputer]:
    return _is_a("AutoencoderImputer", model)


def _is_of_series(model: object) -> TypeGuard[SeriesDetector]:
    return _is_a("SeriesDetector", model)


def _is_a(name: str, model: object) -> bool:
    """Return whether a model is of a class that is known by name only: if its module is not imported, it is not."""
    return name in ESTIMATOR_REGISTRY and isinstance(model, ESTIMATOR_REGISTRY[name])
