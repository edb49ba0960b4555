"""The commands that train: `diabolo fit` and `diabolo demo`."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .options import (
    MADE_FOR,
    MODELS,
    Key,
    Options,
    make_estimator,
    model_name,
    one_line,
    open_series,
    parse_setting,
    read_config,
    read_toml,
    require_known,
    split_names,
    takes_file_options,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from ..callbacks import TensorBoard
    from ..data.blocks import BlockReader
    from ..data.tables import SchemaSpec, Table
    from ..estimators.series_detector import SeriesDetector

__all__ = ["demo", "fit"]


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")] = Path("diabolo-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random numbers.")] = 0,
) -> None:
    """Train all five systems on handwritten digits.

    The result is a page with pictures and a table, after about a minute.
    """
    from ..demo import run

    run(out, seed)


@takes_file_options
def fit(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Rows to train on; see above.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="MODEL", help=f"One of {', '.join(MODELS)}; see `diabolo models`."),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="RUN", help="The folder to write.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("-s", "--set", metavar="NAME=VALUE", help="A parameter of the model; repeatable."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="TOML", help="A file with any of these options.")
    ] = None,
    columns: Annotated[str | None, typer.Option("--columns", metavar="A,B,…", help="Use only these columns.")] = None,
    exclude: Annotated[str | None, typer.Option("--exclude", metavar="A,B,…", help="Do not use these columns.")] = None,
    key: Key = None,
    condition: Annotated[
        str | None,
        typer.Option("--condition", metavar="A,B,…", help="Columns that are a condition: the model is of the others."),
    ] = None,
    time_column: Annotated[
        str | None, typer.Option("--time", metavar="NAME", help="The column of times of a table of series.")
    ] = None,
    schema: Annotated[
        Path | None,
        typer.Option("--schema", metavar="TOML", help="Kinds of columns, where the inferred kind is wrong."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of the random numbers.  [0]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was stopped.")] = False,
    checkpoint_every: Annotated[
        float, typer.Option("--checkpoint-every", metavar="S", min=0, help="Seconds between two checkpoints.")
    ] = 30.0,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Train jointly with the other processes of this job.")
    ] = False,
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="tensorboard", help="Also write the losses of each epoch to RUN.tensorboard."),
    ] = None,
    force: Annotated[bool, typer.Option("-f", "--force", help="Replace RUN if it is an existing model.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    *,
    file_options: Options,
) -> None:
    """Train an autoencoder on DATA and save it as RUN.

    DATA is a .csv, .tsv, .txt, .jsonl, .xlsx, .parquet, .npy or .npz file, a folder or glob of such files, a folder of
    images of one size, standard input (-), or an SQL query, e.g. "SELECT * FROM 'orders/*.parquet' WHERE paid". Data
    larger than memory is read in chunks. The format of a text file is detected and reported; the options below set it.

    A table may hold numbers, dates, booleans, counts, texts and empty cells. The kind of each column is inferred,
    printed and saved; a --schema file corrects it, with lines like  visits = "count"  or  id = "ignore". Columns are
    scaled internally: all results are in the units of the data.

    Parameters are those of the Python class, e.g. -s n_latent=8 -s hidden_layer_sizes=64,32 -s beta=linear;
    `diabolo models MODEL` lists them. During training, checkpoints are kept in RUN.partial.
    """
    if distributed:
        from ..engine.sharding import connect

        connect()
    from ..data.schema import Schema
    from ..engine import checkpoints
    from ..engine.sharding import current
    from ..persistence.files import check_is_model_dir

    options = _complete(read_config(config) | {
        name: value
        for name, value in {
            "data": data, "model": model, "out": out, "columns": split_names(columns), "exclude": split_names(exclude),
            "key": key, "condition": split_names(condition), "time": time_column, "seed": seed,
            "schema": None if schema is None else read_toml(schema),
        }.items()
        if value is not None
    })  # fmt: skip
    run = Path(options["out"])
    if run.exists() or run.is_symlink():
        if not force:
            raise UsageError(f"{run} exists already. Choose another name, or replace it with --force.")
        check_is_model_dir(run)

    parameters = options.get("parameters", {}) | dict(parse_setting(text) for text in settings or ())
    given = {"random_state": options.get("seed", 0), **_columns_of(options, file_options)}
    estimator = make_estimator(options["model"], given | parameters)
    estimator.set_params(verbose=int(not quiet))
    can_resume = MODELS[options["model"]] not in MADE_FOR
    if resume and not can_resume:
        raise UsageError(f"--model {options['model']} keeps no checkpoints, so it cannot --resume. Omit the option.")
    _check_log(log, options["model"])
    rows = _opened(options, getattr(estimator, "schema", None), file_options)
    if not quiet and current().is_main_process and isinstance(found := getattr(rows, "schema", None), Schema):
        typer.echo(f"{found}\n")
    partial, started = run.with_name(f"{run.name}.partial"), time.perf_counter()
    if force and not resume:
        checkpoints.remove(partial)
    with one_line(), _stop_in_one_line(partial), _clean_up(partial):
        if can_resume:
            with _open_log(log, run) as callback:
                estimator.fit(
                    rows, checkpoint_dir=partial, checkpoint_every=checkpoint_every, resume=resume, callback=callback
                )
        else:
            estimator.fit(rows)
        estimator.set_params(verbose=0)
        if current().is_main_process:
            estimator.save(run, **({"reference_data": rows} if can_resume else {}))
            checkpoints.remove(partial)
    if not quiet and current().is_main_process:
        _print_summary(estimator, rows, options, time.perf_counter() - started)


def _complete(options: Options) -> Options:
    """Return the options with the model's name, after a check that none is missing."""
    for needed, how in (("data", "DATA"), ("model", f"--model ({', '.join(MODELS)})"), ("out", "--out RUN")):
        if needed not in options:
            raise UsageError(f"fit needs {how}. Add it to the command, or to the --config file.")
    return options | {"model": model_name(options["model"])}


def _opened(options: Options, schema: SchemaSpec, file_options: Options) -> pa.Table | str | BlockReader | Table | None:
    """Open DATA with the selected columns."""
    from ..data.blocks import open_store

    selected = (options.get("columns", ()), options.get("exclude", ()))
    if options["model"] == "series":
        return open_series(options["data"], *selected, (options.get("time"), *_keys(options)), file_options)
    return open_store(options["data"], *selected, options.get("key"), schema)


def _keys(options: Options) -> tuple[str, ...]:
    return split_names(options.get("key")) or ()


def _columns_of(options: Options, file_options: Options) -> Options:
    """Return the parameters of the estimator that describe the columns of DATA."""
    if "condition" in options and MODELS[options["model"]] in MADE_FOR:
        raise UsageError(f"--condition is for autoencoders; --model {options['model']} has none.")
    if options["model"] != "series":
        if "time" in options:
            raise UsageError(f"--time is for --model series; --model {options['model']} finds dates by itself.")
        condition = {"condition": list(options["condition"])} if "condition" in options else {}
        return {"schema": _with_file_options(options.get("schema", "auto"), file_options), **condition}
    if "schema" in options:
        raise UsageError("--model series has no --schema: its columns are numbers. Select them with --columns.")
    return {"time": options.get("time"), "key": _keys(options) or None}


def _with_file_options(schema: Mapping[str, object] | str, options: Options) -> Mapping[str, object] | str:
    """Return the schema with the file options; an option of the command overrides one in the schema."""
    if not options:
        return schema
    columns = {} if isinstance(schema, str) else dict(schema)
    section = columns.get("file", {})
    return columns | {"file": (section if isinstance(section, dict) else {}) | options}


class _Terminated(SystemExit):
    """The exit after SIGTERM."""


@contextmanager
def _open_log(log: str | None, run: Path) -> Iterator[TensorBoard | None]:
    """Open the logger of each epoch's losses; None, without a log."""
    if log is None:
        yield None
        return
    from ..callbacks import TensorBoard

    with TensorBoard(run.with_name(f"{run.name}.tensorboard")) as callback:
        yield callback


def _check_log(log: str | None, model: str) -> None:
    if log is None:
        return
    require_known([log], ("tensorboard",), "--log")
    if MODELS[model] in MADE_FOR:
        raise UsageError(f"--model {model} trains several networks and writes no log. Omit --log.")


def _terminate(*_: object) -> None:
    raise _Terminated(143)


@contextmanager
def _stop_in_one_line(partial: Path) -> Iterator[None]:
    """Print one line when the training is stopped: where its checkpoint is, and how to continue."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, _Terminated) as stop:
        terminated = isinstance(stop, _Terminated)
        kept = any(partial.glob("*.checkpoint"))
        where = f"; a checkpoint is in {partial}: continue with the same command and --resume" if kept else ""
        print(f"diabolo: {'terminated' if terminated else 'interrupted'}{where}", file=sys.stderr)
        sys.exit(143 if terminated else 130)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _clean_up(partial: Path) -> Iterator[None]:
    """Remove the folder of checkpoints after an error, if it holds none."""
    try:
        yield
    except BaseException:
        if not any(partial.glob("*.checkpoint")):
            from ..engine import checkpoints

            checkpoints.remove(partial)
        raise


def _print_summary(estimator: Any, rows: Any, options: Options, seconds: float) -> None:
    from ..estimators.base import chosen_by
    from ..metrics import explained_variance

    if not hasattr(estimator, "history_"):
        what = _describe_series(estimator, rows, options, seconds) if options["model"] == "series" else None
        typer.echo(f"{what or _describe_job(estimator, options, seconds)}\nsaved as {options['out']}")
        return
    history, best = estimator.history_, estimator.best_epoch_
    which = "held-out" if "validation_loss" in history else "training"
    curve = history.get("validation_loss", history.get("loss"))
    loss = "the initial weights were kept"
    if curve and best:
        loss = f"{which} loss {curve[best - 1]:.4g} nats in scaled units"
    sample, scaler = rows.first_chunk(), estimator.scaler_
    rebuilt = estimator.predictor_.reconstructions(sample.rows)
    kept = explained_variance(scaler.apply(sample.rows), scaler.apply(rebuilt))
    chosen = f"  chosen: {text}\n" if (text := chosen_by(estimator)) else ""
    some = "" if len(sample.rows) == estimator.n_samples_ else f" (of the first {len(sample.rows):,} rows)"
    typer.echo(
        f"{options['model']} autoencoder on {options['data']}: "
        f"{estimator.n_samples_:,} rows × {estimator.n_features_in_:,} columns\n"
        f"  {estimator.n_epochs_} epochs in {seconds:.1f} s; best epoch {best}, {loss}\n"
        f"{chosen}"
        f"  variance explained by the reconstruction{some}: {kept:.1%}\n"
        f"saved as {options['out']}"
    )


def _describe_job(model: Any, options: Options, seconds: float) -> str:
    n_networks = sum(map(len, model.estimators_))
    if options["model"] == "anomaly":
        what, n_judged = "anomaly detector", len(model.calibration_scores_)
        threshold = f"threshold {-model.offset_:.4g}" if model.can_flag_ else "too few to flag any row"
        rows = f"held-out rows used for calibration: {threshold}, expected false-alarm rate {model.false_alarm_rate:g}"
    elif options["model"] == "generator":
        what, n_judged = "generator", len(model.weights_)
        rows = "groups of rows in the mixture"
    else:
        what, n_judged = "imputer", len(model.conformal_scores_)
        rows = "held-out cells used to calibrate the intervals"
    return (
        f"{what} on {options['data']}: {model.n_samples_:,} rows × {model.n_features_in_:,} columns\n"
        f"  {n_networks or 'no'} network{'s' * (n_networks != 1)} in {seconds:.1f} s\n"
        f"  {n_judged:,} {rows}"
    )


def _describe_series(model: SeriesDetector, rows: pa.Table | str, options: Options, seconds: float) -> str:
    import pyarrow as pa

    n_channels, step = model.n_features_in_, ""
    if (time_column := options.get("time")) is not None and not isinstance(rows, str):
        unit = "" if pa.types.is_integer(kind := rows[time_column].type) or pa.types.is_floating(kind) else " s"
        step = f" of {model.step_:g}{unit}"
    return (
        f"series detector on {options['data']}: {model.n_samples_:,} rows × {n_channels:,} "
        f"channel{'s' * (n_channels != 1)} in {seconds:.1f} s\n"
        f"  windows of {model.window_} steps{step}\n"
        f"  {len(model.calibration_maxima_):,} held-out blocks of a window's length used for calibration: threshold "
        f"{-model.offset_:.4g}, expected share of such blocks with a false alarm {model.false_alarm_rate:g}"
    )
