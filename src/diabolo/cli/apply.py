"""The commands that map rows to rows, and `diabolo sample`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ..errors import UsageError
from .options import (
    MADE_FOR,
    Data,
    Force,
    Keep,
    Key,
    Out,
    Run,
    aware_of,
    one_line,
    open_series,
    parse_cells,
    require_known,
    split_names,
    takes_file_options,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from ..data.tables import Table
    from ..estimators.anomaly_detector import AnomalyDetector
    from ..estimators.base import BaseAutoencoder
    from ..estimators.imputer import AutoencoderImputer
    from ..estimators.series_detector import SeriesDetector

    Rows: TypeAlias = Table | pa.Table

__all__ = ["denoise", "detect", "impute", "reconstruct", "sample", "score", "transform"]


@takes_file_options
def transform(
    run: Run,
    data: Data,
    output: Out = None,
    force: Force = False,
    key: Key = None,
    keep: Keep = None,
    *,
    file_options: dict[str, object],
) -> None:
    """Compress rows: write the code of each row."""
    from ..estimators.predictions import predict_codes

    _map_rows(run, data, output, force, key, predict_codes, file_options, keep, rebuilds=False)


@takes_file_options
def reconstruct(
    run: Run,
    data: Data,
    output: Out = None,
    force: Force = False,
    key: Key = None,
    keep: Keep = None,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="COLUMN=VALUE", help="Another value of the condition, for all rows; repeatable."),
    ] = None,
    *,
    file_options: dict[str, object],
) -> None:
    """Reconstruct each row from its code. Images are written as images, with the same names."""
    from ..estimators.predictions import predict_reconstructions

    def rebuilt(model: BaseAutoencoder, rows: Table) -> Rows:
        with one_line():
            return predict_reconstructions(model, rows, parse_cells(to, model) if to else None)

    _map_rows(run, data, output, force, key, rebuilt, file_options, keep)


@takes_file_options
def denoise(
    run: Run,
    data: Data,
    output: Out = None,
    force: Force = False,
    key: Key = None,
    keep: Keep = None,
    *,
    file_options: dict[str, object],
) -> None:
    """Remove the noise from each row.

    RUN must be a denoising model, e.g. from  diabolo fit CLEAN --model denoising -s corruption=gaussian -s
    noise_level=0.2. Images are written as images, with the same names.
    """
    from ..estimators.predictions import as_table

    def cleaned(model: BaseAutoencoder, rows: Table) -> Rows:
        if not hasattr(model, "denoise"):
            raise UsageError(f"{run} was trained without noise, so it cannot denoise. Fit it with --model denoising.")
        return as_table(model, model.denoise(rows))

    _map_rows(run, data, output, force, key, cleaned, file_options, keep)


@takes_file_options
def impute(
    run: Run,
    data: Data,
    output: Out = None,
    force: Force = False,
    key: Key = None,
    keep: Keep = None,
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            metavar="P",
            help="Add the columns NAME_low and NAME_high: the bounds of a prediction interval of probability P.",
        ),
    ] = None,
    *,
    file_options: dict[str, object],
) -> None:
    """Fill the empty cells of each row.

    An empty cell gets its most likely value, given the other cells of the row. Cells that are not empty are copied, and
    so are columns that the model does not use; those that were not in the table of the fit come last. RUN is an
    imputer, from  diabolo fit DATA --model imputer,  or an autoencoder that was fitted to rows with empty cells.
    """
    from ..estimators import predictions

    if interval is not None and not 0 < interval < 1:
        raise UsageError(f"--interval must lie between 0 and 1; got {interval:g}.")

    def filled(model: BaseAutoencoder | AutoencoderImputer, rows: Table) -> Rows:
        whole = _append_unseen(predictions.predict_imputed(model, rows), rows.given)
        if interval is None:
            return whole
        if not hasattr(model, "prediction_intervals"):
            raise UsageError(f"{run} holds a {type(model).__name__}, which has no intervals. Fit with --model imputer.")
        ends = [predictions.as_table(model, some) for some in model.prediction_intervals(rows, interval)]
        return _append_bounds(model, whole, *ends)

    _map_rows(
        run,
        data,
        output,
        force,
        key,
        filled,
        file_options,
        keep,
        rebuilds=interval is None,
        whole=True,
        command="impute",
    )


@takes_file_options
def score(
    run: Run,
    data: Data,
    output: Out = None,
    force: Force = False,
    key: Key = None,
    keep: Keep = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="local|ray",
            help="Where to compute. ray: on a cluster; OUT is then a folder of Parquet files.",
        ),
    ] = "local",
    *,
    file_options: dict[str, object],
) -> None:
    """Write the log-density of each row: the lower, the more unusual the row.

    The log-density is in nats, in the units of the data.
    """
    require_known([engine], ("local", "ray"), "engine")
    if engine == "ray":
        from ..serving.ray import score_with_ray

        if output is None:
            raise UsageError("score --engine ray needs an output folder. Name it with -o OUT.")
        if keep is not None:
            raise UsageError("score --engine ray writes scores only, in the order of the rows. Omit --keep.")
        score_with_ray(run, data, output)
        return

    from ..estimators.predictions import predict_log_density

    _map_rows(run, data, output, force, key, predict_log_density, file_options, keep, rebuilds=False)


@takes_file_options
def detect(
    run: Run,
    data: Data,
    output: Out = None,
    force: Force = False,
    key: Key = None,
    keep: Keep = None,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            "--false-alarm-rate", metavar="A", help="Expected share of normal rows that are flagged.  [RUN's own: 0.01]"
        ),
    ] = None,
    only_flagged: Annotated[bool, typer.Option("--only-flagged", help="Write only the flagged rows.")] = False,
    *,
    file_options: dict[str, object],
) -> None:
    """Find anomalies: rows that differ from the rows RUN was trained on.

    RUN is an anomaly detector, from  diabolo fit NORMAL --model anomaly  or  --model series. Of rows, the output has
    one line for each row: its number; its anomaly score, in nats (about one normal row in exp(score) has at least
    this); its p-value, the probability that a normal row scores at least as high; whether it is flagged; and the three
    columns that contribute most to the score. Of series, it has one line for each alarm: its start, end and peak, as
    times or numbers of rows; its score; its p-value, the probability that normal data has a score as high in a window's
    time; and the channel that contributes most.
    """
    import numpy as np

    from ..estimators.predictions import predict_alarms, predict_anomaly_scores

    if false_alarm_rate is not None and not 0 < false_alarm_rate < 1:
        raise UsageError(f"--false-alarm-rate must lie between 0 and 1; got {false_alarm_rate:g}.")

    def found(model: AnomalyDetector | SeriesDetector, rows: Table) -> pa.Table:
        if hasattr(model, "alarms"):
            return predict_alarms(model, rows, false_alarm_rate)
        table = predict_anomaly_scores(model, rows, false_alarm_rate)
        return table.add_column(0, "row", [rows.first + np.arange(1, len(table) + 1)])

    def chosen(table: pa.Table) -> pa.Table:
        return table.filter(table["flagged"])

    _map_rows(
        run, data, output, force, key, found, file_options, keep, rebuilds=False, command="detect",
        select=chosen if only_flagged else None,
    )  # fmt: skip


def sample(
    run: Run,
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Number of rows.")] = 1,
    output: Out = None,
    force: Force = False,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the random numbers.")] = 0,
    means: Annotated[
        bool, typer.Option("--means", help="Write the mean E[x|z] instead of a draw from p(x|z).")
    ] = False,
    given: Annotated[
        list[str] | None,
        typer.Option("-g", "--given", metavar="COLUMN=VALUE", help="A value that all rows have; repeatable."),
    ] = None,
) -> None:
    """Generate new rows with a variational model or a generator."""
    from ..data import writers
    from ..data.readers import Images
    from ..estimators.loading import load
    from ..estimators.predictions import as_table

    model = load(run)
    if not hasattr(model, "sample"):
        raise UsageError(
            f"{run} holds a {type(model).__name__}, which cannot sample. Use a variational model or a generator."
        )
    shape = model.image_shape_
    images = None if shape is None else Images(tuple(Path(f"{i:0{len(str(n))}}.png") for i in range(1, n + 1)), shape)
    writers.check_output(output, images=images is not None, force=force)
    known = parse_cells(given or (), model)
    with one_line():
        rows = model.sample(n, given=known, noise=not means, random_state=seed)
    writers.write(output, as_table(model, rows), images, force=force)


def _map_rows(
    run: Path,
    data: str,
    output: str | None,
    force: bool,
    key: str | None,
    op: Callable[[Any, Any], Rows],
    file_options: dict[str, object],
    keep: str | None,
    *,
    rebuilds: bool = True,
    whole: bool = False,
    command: str = "",
    select: Callable[[pa.Table], pa.Table] | None = None,
) -> None:
    """Read rows, apply ``op``, put the columns of ``keep`` before the result, and write it, a chunk at a time.

    ``select``, if any, chooses the rows to write. Results that are no images get the names of images that were read.
    """
    from ..data import writers
    from ..data.blocks import BlockReader
    from ..data.file_options import FileOptions
    from ..data.readers import input_files
    from ..engine.progress import Bar
    from ..estimators.loading import load

    model = load(run)
    name = type(model).__name__
    if (made_for := MADE_FOR.get(name, command)) != command:
        from ..serving.openapi import with_article

        raise UsageError(f"{run} holds {with_article(name)}. Use it with  diabolo {made_for}.")
    if command == "detect" and name not in MADE_FOR:
        raise UsageError(f"{run} holds a {name}, which has no false-alarm rate. Fit with --model anomaly or series.")
    inputs, kept = input_files(data) if force else (), split_names(keep) or ()
    writers.check_output(output, images=rebuilds and model.image_shape_ is not None, force=force, inputs=inputs)
    if hasattr(model, "alarms"):
        if kept:
            raise UsageError("--keep copies cells of rows, but an alarm of a series is a stretch of time. Omit --keep.")
        with one_line():
            writers.write(output, op(model, open_series(data, (), (), (), file_options)), force=force)
        return
    whole = whole or bool(kept)
    with aware_of(kept):
        opened = model.input_.source(data, key, FileOptions.of(file_options), whole=whole)
    if kept and opened.images is not None:
        raise UsageError("--keep names columns of a table, but DATA are images.")
    is_large, images = isinstance(opened, BlockReader), opened.images if rebuilds else None
    files = None if rebuilds or (output or "").endswith(".npy") else opened.images
    n_rows = opened.n_rows if is_large else len(opened.rows)
    sink = writers.open_sink(output, images, force=force, inputs=inputs)
    with one_line(), sink as writer, Bar("rows", n_rows, True) as bar:
        for piece in opened.tables(whole=whole) if is_large else (opened,):
            found = op(model, piece)
            if kept:
                found = _with_kept(found, piece, kept, command)
            elif files is not None:
                names = [str(name) for name in files.names[piece.first : piece.first + len(piece.rows)]]
                found = _as_arrow(found).add_column(0, "file", [names])
            writer.add(found if select is None else select(found))
            bar.show(piece.first + len(piece.rows))


def _as_arrow(rows: Rows) -> pa.Table:
    return rows if hasattr(rows, "append_column") else rows.as_arrow()


def _with_kept(found: Rows, piece: Table, kept: Sequence[str], command: str) -> pa.Table:
    """Return a result with columns of its rows as they were given, in front."""
    from ..data.readers import require_columns

    table = _as_arrow(found)
    given = piece.given if piece.given is not None else piece.as_arrow()
    require_columns(kept, given.column_names)
    for name in reversed(kept):
        if command == "impute":  # whose output has all columns, with their empty cells filled
            table = table.select([name, *(other for other in table.column_names if other != name)])
        elif name in table.column_names:
            raise UsageError(f"--keep {name}: the output has a column of this name already. Rename it in DATA.")
        else:
            table = table.add_column(0, given.schema.field(name).with_metadata(None), given[name])
    return table


def _append_unseen(filled: Rows, given: pa.Table | None) -> Rows:
    """Return the filled table with the columns of DATA that were not in the table of the fit, unchanged."""
    if given is None:
        return filled
    filled = _as_arrow(filled)
    for name in given.column_names:
        if name not in filled.column_names:
            filled = filled.append_column(name, given[name])
    return filled


def _append_bounds(model: AutoencoderImputer, whole: Rows, low: Rows, high: Rows) -> pa.Table:
    """Return the table with two more columns, the bounds, for each column that has an order."""
    import pyarrow as pa

    table, low, high = map(_as_arrow, (whole, low, high))
    names = low.column_names if model.schema_ is None else [c.name for c in model.schema_.used if c.has_order]
    for name in names:
        for end, cells in (("low", low[name]), ("high", high[name])):
            if f"{name}_{end}" in table.column_names:
                raise UsageError(f"DATA has a column {name}_{end} already. Rename it, or omit --interval.")
            is_date = pa.types.is_temporal(cells.type)
            table = table.append_column(f"{name}_{end}", cells if is_date else cells.cast(pa.float64()))
    return table
