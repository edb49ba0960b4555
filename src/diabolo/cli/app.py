"""The command line: `diabolo fit`, and what one does with the outcome.

Exit status: 0 done; 2 wrong usage or unusable data, with one line on stderr and nothing written; 130 interrupted, 143
terminated, each with one line, and a training that is under way kept for `--resume`.
Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..errors import DiaboloError, UsageError, meant

__all__ = ["app", "main"]

MODELS = {
    "basic": "BasicAutoencoder",
    "stacked": "StackedAutoencoder",
    "sparse": "SparseAutoencoder",
    "denoising": "DenoisingAutoencoder",
    "variational": "VariationalAutoencoder",
    "autoencoder": "Autoencoder",
    "anomaly": "AnomalyDetector",
    "imputer": "AutoencoderImputer",
    "generator": "AutoencoderGenerator",
}
_MADE_FOR = {"AnomalyDetector": "detect", "AutoencoderImputer": "impute", "AutoencoderGenerator": "sample"}
"""The one command that a model is made for, if it is no autoencoder."""
_CONFIG: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("data", "model", "out", "key"), (str, "a text")),
    **dict.fromkeys(("columns", "exclude"), (list, "a list of names")),
    **dict.fromkeys(("schema", "parameters"), (dict, "a table")),
    "seed": (int, "a whole number"),
}
"""What a config file may hold."""

app = typer.Typer(
    help="Autoencoders for tables, arrays and images: train one, then compress, reconstruct, score or generate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain lines, as other commands give them
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first run:  diabolo fit measurements.csv --model variational --out run  then  diabolo score run new.csv",
)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `diabolo fit` wrote.", show_default=False)]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A .csv, .parquet, .npy or .npz file, a folder or glob of them, a folder of images of one size, or an SQL "
        "query over files or databases.",
        show_default=False,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="A .parquet, .csv or .npy file, or a folder for images; CSV to standard output if left out.",
    ),
]
Key = Annotated[str | None, typer.Option("--key", metavar="NAME", help="Which array of an .npz file.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"diabolo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


# -- commands ---------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the page goes.")] = Path("diabolo-demo"),
    seed: Annotated[int, typer.Option("--seed", help="Fixes everything that is random.")] = 0,
) -> None:
    """Train all five systems on handwritten digits.

    A page of pictures and a table, in about a minute.
    """
    from ..demo import run

    run(out, seed)


@app.command()
def fit(
    data: Annotated[str | None, typer.Argument(metavar="DATA", help="What to learn from.", show_default=False)] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="MODEL", help=f"One of {', '.join(MODELS)}.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="RUN", help="The folder to write.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("-s", "--set", metavar="NAME=VALUE", help="A parameter of the model; may be given several times."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", metavar="TOML", help="A file with any of these options in it.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B,…", help="Learn from these columns only.")
    ] = None,
    exclude: Annotated[str | None, typer.Option("--exclude", metavar="A,B,…", help="Leave these columns out.")] = None,
    key: Key = None,
    schema: Annotated[
        Path | None,
        typer.Option("--schema", metavar="TOML", help="Columns that are not what is inferred."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Fixes everything random.  [0]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    checkpoint_every: Annotated[
        float, typer.Option("--checkpoint-every", metavar="S", min=0, help="Seconds between two kept states.")
    ] = 30.0,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Train together with the other processes of this job.")
    ] = False,
    log: Annotated[
        str | None,
        typer.Option("--log", metavar="tensorboard", help="Write each epoch's losses to RUN.tensorboard as well."),
    ] = None,
    force: Annotated[bool, typer.Option("-f", "--force", help="Replace an older RUN.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Train an autoencoder on DATA and save it as RUN.

    DATA is a .csv, .parquet, .npy or .npz file, a folder or glob of them, a folder of images of one size, or an SQL
    query such as "SELECT * FROM 'orders/*.parquet' WHERE paid"; what is larger than memory is read in chunks.

    A table may hold numbers, dates, booleans, counts, texts and empty cells: what each column is, is inferred, shown
    and saved; a --schema file says otherwise, in lines like  visits = "count"  or  id = "ignore". Columns are scaled as
    the model needs it: all that comes out later is in your units.

    Parameters are those of the Python class, e.g. -s n_latent=8 -s hidden_layer_sizes=64,32 -s beta=linear. While the
    training runs its state is kept in RUN.partial.
    """
    if distributed:
        from ..engine.sharding import connect

        connect()
    from ..data.blocks import open_store
    from ..engine import checkpoints
    from ..engine.sharding import current
    from ..persistence.files import require_ours

    options = _options_from(config) | {
        name: value
        for name, value in {
            "data": data, "model": model, "out": out, "columns": _names(columns), "exclude": _names(exclude),
            "key": key, "schema": None if schema is None else _toml(schema), "seed": seed,
        }.items()
        if value is not None
    }  # fmt: skip
    for needed, how in (("data", "DATA"), ("model", f"--model ({', '.join(MODELS)})"), ("out", "--out RUN")):
        if needed not in options:
            raise UsageError(f"fit needs {how}.")
    run = Path(options["out"])
    if run.exists() or run.is_symlink():
        if not force:
            raise UsageError(f"{run} exists already. Choose another name, or replace it with --force.")
        require_ours(run)

    parameters = options.get("parameters", {}) | dict(_setting(text) for text in settings or ())
    given = {"random_state": options.get("seed", 0), "schema": options.get("schema", "auto")}
    estimator = _make(options["model"], given | parameters)
    estimator.set_params(verbose=int(not quiet))
    can_resume = MODELS[options["model"]] not in _MADE_FOR
    if resume and not can_resume:
        raise UsageError(f"--model {options['model']} keeps no state to go on from.")
    _check_log(log, options["model"])
    rows = open_store(
        options["data"], options.get("columns", ()), options.get("exclude", ()), options.get("key"), estimator.schema
    )
    if not quiet and current().is_leader and (found := getattr(rows, "schema", None)) is not None:
        typer.echo(f"{found}\n")
    partial, started = run.with_name(f"{run.name}.partial"), time.perf_counter()
    if force and not resume:
        checkpoints.remove(partial)
    with _one_line(), _stoppable(partial), _nothing_left(partial):
        if can_resume:
            with _logged(log, run) as callback:
                estimator.fit(
                    rows, checkpoint_dir=partial, checkpoint_every=checkpoint_every, resume=resume, callback=callback
                )
        else:
            estimator.fit(rows)
        estimator.set_params(verbose=0)
        if current().is_leader:
            estimator.save(run, **({"probe": rows} if can_resume else {}))
            checkpoints.remove(partial)
    if not quiet and current().is_leader:
        _summary(estimator, rows, options, time.perf_counter() - started)


@app.command()
def transform(run: Run, data: Data, output: Out = None, key: Key = None) -> None:
    """Compress: the code of each row."""
    from ..estimators.predictions import codes

    _apply(run, data, output, key, codes, rebuilds=False)


@app.command()
def reconstruct(run: Run, data: Data, output: Out = None, key: Key = None) -> None:
    """Rebuild each row from its code. Images come back as images, under the same names."""
    from ..estimators.predictions import rebuilt

    _apply(run, data, output, key, rebuilt)


@app.command()
def denoise(run: Run, data: Data, output: Out = None, key: Key = None) -> None:
    """Take the noise out of each row.

    RUN must be a model that has learned to, e.g. from  diabolo fit CLEAN --model denoising -s corruption=gaussian -s
    noise_level=0.2. Images come back as images, under the same names.
    """
    from ..estimators.predictions import as_table

    def cleaned(model: Any, rows: Any) -> Any:
        if not hasattr(model, "denoise"):
            raise UsageError(
                f"{run} has learned from clean rows: fit with --model denoising to learn to take noise out."
            )
        return as_table(model, model.denoise(rows))

    _apply(run, data, output, key, cleaned)


@app.command()
def impute(
    run: Run,
    data: Data,
    output: Out = None,
    key: Key = None,
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            metavar="P",
            help="Write NAME_low and NAME_high for each column of numbers: between them lie P of all missing cells.",
        ),
    ] = None,
) -> None:
    """Fill the empty cells of each row.

    With what is likeliest, given the other cells. Cells that are not empty, and columns that the model does not use,
    stay as they are. RUN comes from  diabolo fit DATA --model imputer,  or is an autoencoder that was fitted to rows
    with empty cells.
    """
    from ..estimators import predictions

    if interval is not None and not 0 < interval < 1:
        raise UsageError(f"--interval must lie between 0 and 1; got {interval:g}.")

    def filled(model: Any, rows: Any) -> Any:
        whole = predictions.filled(model, rows)
        if interval is None:
            return whole
        if not hasattr(model, "intervals"):
            raise UsageError(f"{run} holds a {type(model).__name__}: intervals are told by  fit --model imputer.")
        ends = [predictions.as_table(model, some) for some in model.intervals(rows, interval)]
        return _with_ends(model, whole, *ends)

    _apply(run, data, output, key, filled, rebuilds=interval is None, whole=True, command="impute")


@app.command()
def score(
    run: Run,
    data: Data,
    output: Out = None,
    key: Key = None,
    engine: Annotated[
        str, typer.Option("--engine", metavar="local|ray", help="ray: on a cluster; OUT is then a folder of Parquet.")
    ] = "local",
) -> None:
    """The log-density of each row: the lower, the stranger.

    In nats and in the units of the data.
    """
    _require_known([engine], ("local", "ray"), "engine")
    if engine == "ray":
        from ..serving.ray import score_with_ray

        if output is None:
            raise UsageError("score --engine ray needs -o OUT, the folder to write.")
        score_with_ray(run, data, output)
        return

    from ..estimators.predictions import densities

    _apply(run, data, output, key, densities, rebuilds=False)


@app.command()
def detect(
    run: Run,
    data: Data,
    output: Out = None,
    key: Key = None,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            "--false-alarm-rate", metavar="A", help="How many ordinary rows may be flagged.  [as RUN has it: 0.01]"
        ),
    ] = None,
    only_flagged: Annotated[bool, typer.Option("--only-flagged", help="Write the rows that are flagged only.")] = False,
) -> None:
    """Find the rows that are unlike those RUN has learned from.

    RUN must come from  diabolo fit ORDINARY --model anomaly. For each row: its number, its score (the higher, the
    stranger; 1 is the median of ordinary rows), its p-value (how often an ordinary row would score as high), whether it
    is flagged, and the three columns that did most to it.
    """
    import numpy as np

    from ..estimators.predictions import strangeness

    if false_alarm_rate is not None and not 0 < false_alarm_rate < 1:
        raise UsageError(f"--false-alarm-rate must lie between 0 and 1; got {false_alarm_rate:g}.")

    def found(model: Any, rows: Any) -> Any:
        table = strangeness(model, rows, false_alarm_rate)
        table = table.add_column(0, "row", [rows.first + np.arange(1, len(table) + 1)])
        return table.filter(table["flagged"]) if only_flagged else table

    _apply(run, data, output, key, found, rebuilds=False, command="detect")


@app.command()
def report(
    run: Run,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA",
            help="Rows to show the model at work on, best such as it was not fitted to; as for the other commands.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="The page to write.")] = Path(
        "report.html"
    ),
    color: Annotated[
        str | None, typer.Option("--color", metavar="COLUMN", help="A column of DATA to colour the latent map by.")
    ] = None,
    image_shape: Annotated[
        str | None,
        typer.Option("--image-shape", metavar="HxW[x3]", help="Rows are images of this height and width."),
    ] = None,
    key: Key = None,
) -> None:
    """One page about RUN: did it learn, what did it learn, can it be trusted?

    Learning curves, reconstructions, a map of the latent space, samples, a decoder that runs in the page, and what is
    amiss, which is printed as well. The page is one file and needs no network.
    """
    from ..data import writers
    from ..data.blocks import open_store
    from ..data.readers import labels
    from ..estimators.trainable import load
    from ..report import reported

    model = load(run)
    if not hasattr(model, "report"):
        raise UsageError(f"{run} holds an {type(model).__name__}; a report is made of an autoencoder.")
    if color is not None and data is None:
        raise UsageError("--color needs DATA, whose column it is.")
    shape = None if image_shape is None else _shape(image_shape)
    rows = told = None
    if data is not None:
        told = None if color is None else labels(data, color)
        known = tuple(getattr(model, "feature_names_in_", ())) if model.schema_ is None else ()
        rows = open_store(data, columns=known, key=key, wanted=model.schema_)
    with _one_line():
        page, findings = reported(model, rows, told, image_shape=shape, title=run.name)
    writers.write_page(output, page)
    for finding in findings:
        typer.echo(f"{finding.what}: {finding.figure}\n  {finding.remedy}")
    typer.echo(f"{'nothing amiss; ' if not findings else ''}the report is {output}")


@app.command()
def sample(
    run: Run,
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many rows.")] = 1,
    output: Out = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Fixes the draw.")] = 0,
    means: Annotated[bool, typer.Option("--means", help="E[x|z] in place of a draw from p(x|z).")] = False,
    given: Annotated[
        list[str] | None,
        typer.Option("-g", "--given", metavar="COLUMN=VALUE", help="What all rows have; may be given several times."),
    ] = None,
) -> None:
    """Generate new rows with a variational model, or a generator."""
    from ..data import writers
    from ..data.readers import Images
    from ..estimators.predictions import as_table
    from ..estimators.trainable import load

    model: Any = load(run)
    if not hasattr(model, "sample"):
        raise UsageError(f"{run} holds a {type(model).__name__}: only variational models and generators make rows.")
    shape = model.image_shape_
    images = None if shape is None else Images(tuple(Path(f"{i:0{len(str(n))}}.png") for i in range(1, n + 1)), shape)
    writers.check_output(output, images=images is not None)
    known = _given(given or (), model)
    with _one_line():
        rows = model.sample(n, given=known, noise=not means, random_state=seed)
    writers.write(output, as_table(model, rows), images)


@app.command()
def export(
    run: Run,
    onnx: Annotated[Path, typer.Option("--onnx", metavar="DIR", help="The folder to write.", show_default=False)],
    check: Annotated[
        str | None,
        typer.Option("--check", metavar="DATA", help="Rows to compare with Python on.  [drawn as RUN has seen them]"),
    ] = None,
    force: Annotated[bool, typer.Option("-f", "--force", help="Replace an older DIR.")] = False,
) -> None:
    """Write RUN as ONNX files, which need no Python: encoder, decoder, reconstruct and score.

    They take rows in the units of the data, any number of them; export.json says what is what. Before they are written,
    ONNX Runtime is compared with Python on 1,000 rows: how far they differ is shown, relative to the largest number.
    """
    from ..estimators.trainable import load
    from ..export.onnx import export_onnx

    typer.echo(str(export_onnx(load(run), onnx, check, force=force)))
    typer.echo(f"written to {onnx}")


@app.command()
def serve(
    run: Run,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; beyond this machine a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="What whoever asks must know.  [$DIABOLO_TOKEN]"),
    ] = None,
    max_body: Annotated[float, typer.Option("--max-body", metavar="MB", help="Of one request.")] = 16.0,
    max_rows: Annotated[int, typer.Option("--max-rows", metavar="N", min=1, help="Of one request.")] = 100_000,
    max_requests: Annotated[
        int,
        typer.Option("--max-requests", metavar="N", min=1, help="Under way at once; others are told to come again."),
    ] = 64,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", help="Seconds for a request to arrive and an answer to be taken.")
    ] = 30.0,
) -> None:
    """Answer about rows over HTTP, until stopped.

    POST /transform, /reconstruct and /score (of a detector /score, of an imputer /impute, of a classifier /classify):
    rows as JSON, {"rows": [{"age": 31, ...}, ...]}, or as a stream of Arrow. GET /docs is a page to try them on,
    /openapi.json says the same to programs, /healthz whether all is well. Rows that wait are answered together.
    """
    from ..estimators.trainable import load
    from ..serving import Limits
    from ..serving import serve as served
    from ..serving.openapi import with_article

    if not 0 < max_body <= 4096:
        raise UsageError(f"--max-body must lie between 0 and 4096 MB; got {max_body:g}.")
    if not timeout > 0:
        raise UsageError(f"--timeout must be more than 0; got {timeout:g}.")
    limits = Limits(int(max_body * 2**20), max_rows, max_requests, timeout)
    token = _token(token_file)
    model = load(run)
    kind = with_article(type(model).__name__)

    def ready(address: str) -> None:
        typer.echo(f"{run}, {kind}, answers on {address}; stop it with Ctrl-C")

    served(model, host, port, limits, token=token, name=run.resolve().name, ready=ready)


@app.command()
def info(
    run: Run,
    as_json: Annotated[bool, typer.Option("--json", help="All that is saved, as JSON.")] = False,
    history: Annotated[bool, typer.Option("--history", help="The learning curves, as CSV.")] = False,
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify", metavar="DATA", help="The rows that RUN was fitted to: does this machine give the stored bits?"
        ),
    ] = None,
    key: Key = None,
) -> None:
    """What a RUN is, and how it was trained.

    With --verify: whether this machine gives the very bits that were stored with RUN; exit status 1, if it does not.
    """
    from ..persistence.files import read_manifest

    manifest = read_manifest(run)
    if verify is not None:
        if threads := manifest.get("probe", {}).get("threads"):  # the sums are divided as they were, on any machine
            os.environ.setdefault("DIABOLO_THREADS", str(threads))
        _verify(run, verify, key)
        return
    if history:
        curves = manifest["fitted"].get("history_")
        if not curves:
            raise UsageError(f"{run} holds an {manifest['estimator']}, which keeps no learning curves.")
        typer.echo(",".join(("epoch", *curves)))
        for epoch, values in enumerate(zip(*curves.values(), strict=True), start=1):
            typer.echo(",".join((str(epoch), *map(repr, values))))
        return
    typer.echo(json.dumps(manifest, indent=1, ensure_ascii=False) if as_json else _described(manifest))


# -- helpers ----------------------------------------------------------------------------------------------------------


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}.") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error


def _options_from(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    options = _toml(config)
    _require_known(options, tuple(_CONFIG), f"{config}: option")
    for name in ("columns", "exclude"):
        if isinstance(options.get(name), str):
            options[name] = list(_names(options[name]) or ())
    for name, value in options.items():
        kind, what = _CONFIG[name]
        fits = isinstance(value, kind) or (name == "schema" and value == "auto")
        if not fits or (kind is list and not all(isinstance(item, str) for item in value)):
            raise UsageError(f"{config}: {name} must be {what}; got {value!r}.")
    if "parameters" in options:
        options["parameters"] = {name: _plain(value) for name, value in options["parameters"].items()}
    return options


def _setting(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value as JSON where it is JSON, as a tuple where it has commas, else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--set {text}: NAME=VALUE is needed, for example --set n_latent=8.")
    return name.strip(), _plain(_parsed(value.strip()))


def _shape(text: str) -> tuple[int, ...]:
    """HxW or HxWx3."""
    sizes = text.lower().split("x")
    if len(sizes) not in (2, 3) or not all(size.isdigit() for size in sizes):
        raise UsageError(f"--image-shape {text}: HEIGHTxWIDTH is needed, for example --image-shape 28x28.")
    return tuple(map(int, sizes))


def _parsed(text: str) -> Any:
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if "," in text and not text.startswith(("{", "[")):
            return [_parsed(item.strip()) for item in text.split(",") if item.strip()]
        return text


def _given(texts: Sequence[str], model: Any) -> dict[Any, Any]:
    """COLUMN=VALUE, the value as text where the column holds texts."""
    kinds = {} if model.schema_ is None else {column.name: column.kind for column in model.schema_.used}
    found: dict[Any, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--given {text}: COLUMN=VALUE is needed, for example --given age=40.")
        is_number = not hasattr(model, "feature_names_in_") and name.isdigit()
        is_text = kinds.get(name) in ("category", "date")
        found[int(name) if is_number else name] = value if is_text else _parsed(value)
    return found


def _plain(value: Any) -> Any:
    """A part where a table names one, and tuples for lists."""
    if not isinstance(value, dict | list):
        return value
    from .. import parts  # noqa: F401  parts must be known before they can be named
    from ..core.component import from_json

    return from_json(value)


def _require_known(given: Any, known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise UsageError(f"{what} {name!r} is unknown. {meant(name, known)}")


def _make(model: str, parameters: dict[str, Any]) -> Any:
    _require_known([model], tuple(MODELS), "model")
    import diabolo

    estimator = getattr(diabolo, MODELS[model])()
    known = sorted(estimator.get_params())
    _require_known([name for name in parameters if "__" not in name], known, f"{MODELS[model]}: parameter")
    with _one_line():
        return estimator.set_params(**parameters)


def _token(file: Path | None) -> str | None:
    """What whoever asks a server must know, if anything."""
    try:
        told = os.environ.get("DIABOLO_TOKEN") if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', error)}.") from error
    if told is not None and not (told and told.isascii() and told.isprintable()):
        where = "$DIABOLO_TOKEN" if file is None else file
        raise UsageError(f"{where} must hold a token of ASCII letters, digits and signs.")
    return told


class _Terminated(SystemExit):
    """SIGTERM."""


@contextmanager
def _logged(log: str | None, run: Path) -> Iterator[Any]:
    """Who is told of each epoch, if anyone."""
    if log is None:
        yield None
        return
    from ..callbacks import TensorBoard

    with TensorBoard(run.with_name(f"{run.name}.tensorboard")) as callback:
        yield callback


def _verify(run: Path, data: str, key: str | None) -> None:
    from ..data.blocks import open_store
    from ..estimators.trainable import load

    model = load(run)
    if not hasattr(model, "verify"):
        raise UsageError(f"{run} holds an {type(model).__name__}, with which no rows are kept to verify it by.")
    known = tuple(getattr(model, "feature_names_in_", ())) if model.schema_ is None else ()
    found = model.verify(open_store(data, columns=known, key=key, wanted=model.schema_))
    typer.echo(str(found))
    if not found.same_bits:
        raise typer.Exit(1)


def _check_log(log: str | None, model: str) -> None:
    if log is None:
        return
    _require_known([log], ("tensorboard",), "--log")
    if MODELS[model] in _MADE_FOR:
        raise UsageError(f"--model {model} trains several networks and keeps no log.")


def _terminate(*_: Any) -> None:
    raise _Terminated(143)


@contextmanager
def _stoppable(partial: Path) -> Iterator[None]:
    """Say in one line where a training that is stopped is kept."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, _Terminated) as stop:
        terminated = isinstance(stop, _Terminated)
        kept = any(partial.glob("*.checkpoint"))
        where = f"; the training is kept in {partial}: the same command with --resume goes on" if kept else ""
        print(f"diabolo: {'terminated' if terminated else 'interrupted'}{where}", file=sys.stderr)
        sys.exit(143 if terminated else 130)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _nothing_left(partial: Path) -> Iterator[None]:
    """Remove a folder for checkpoints again, if there came to be none."""
    try:
        yield
    except BaseException:
        if not any(partial.glob("*.checkpoint")):
            from ..engine import checkpoints

            checkpoints.remove(partial)
        raise


@contextmanager
def _one_line() -> Iterator[None]:
    """What scikit-learn says about a user's value is the user's to mend, not a fault of the program."""
    try:
        yield
    except DiaboloError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


def _apply(
    run: Path,
    data: str,
    output: str | None,
    key: str | None,
    op: Callable[[Any, Any], Any],
    *,
    rebuilds: bool = True,
    whole: bool = False,
    command: str = "",
) -> None:
    """Read, compute, write, piece by piece: the shape of every command that maps rows to rows."""
    from ..data import writers
    from ..data.blocks import Store, open_store
    from ..engine.progress import Bar
    from ..estimators.trainable import load

    model = load(run)
    name = type(model).__name__
    if (made_for := _MADE_FOR.get(name, command)) != command:
        raise UsageError(f"{run} holds an {name}: give it to  diabolo {made_for}.")
    if command == "detect" and name not in _MADE_FOR:
        raise UsageError(f"{run} holds a {name}, which knows no false-alarm rate. Fit with --model anomaly.")
    known = tuple(getattr(model, "feature_names_in_", ())) if model.schema_ is None else ()
    writers.check_output(output, images=rebuilds and model.image_shape_ is not None)
    opened: Any = open_store(data, columns=known, key=key, wanted=model.schema_)
    is_large, images = isinstance(opened, Store), opened.images if rebuilds else None
    n_rows = opened.n_rows if is_large else len(opened.rows)
    with _one_line(), writers.open_sink(output, images) as sink, Bar("rows", n_rows, True) as bar:
        for piece in opened.tables(whole=whole) if is_large else (opened,):
            sink.add(op(model, piece))
            bar.show(piece.first + len(piece.rows))


def _with_ends(model: Any, whole: Any, low: Any, high: Any) -> Any:
    """The table with two columns more for each that has an order."""
    table, low, high = (rows if hasattr(rows, "append_column") else rows.as_arrow() for rows in (whole, low, high))
    names = low.column_names if model.schema_ is None else [c.name for c in model.schema_.used if c.has_order]
    for name in names:
        for end, cells in (("low", low), ("high", high)):
            if f"{name}_{end}" in table.column_names:
                raise UsageError(f"There is a column {name}_{end} already: rename it, or leave --interval out.")
            table = table.append_column(f"{name}_{end}", cells[name])
    return table


def _summary(estimator: Any, rows: Any, options: dict[str, Any], seconds: float) -> None:
    from ..estimators.base import chosen_by
    from ..metrics import explained_variance

    if not hasattr(estimator, "history_"):
        typer.echo(f"{_described_job(estimator, options, seconds)}\nsaved as {options['out']}")
        return
    history, best = estimator.history_, estimator.best_epoch_
    which = "held-out" if "validation_loss" in history else "training"
    curve = history.get("validation_loss", history.get("loss"))
    loss = "the weights are those that training began with"
    if curve and best:
        loss = f"{which} loss {curve[best - 1]:.4g} nats in scaled units"
    sample, scaler = rows.head(), estimator.scaler_
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


def _described_job(model: Any, options: dict[str, Any], seconds: float) -> str:
    n_networks = sum(map(len, model.estimators_))
    if options["model"] == "anomaly":
        what, n_judged = "anomaly detector", len(model.calibration_scores_)
        rows = (
            f"rows that they had not seen: flagged are scores above {-model.offset_:.4g}, "
            f"which {model.false_alarm_rate:g} of ordinary rows have"
        )
    elif options["model"] == "generator":
        what, n_judged = "generator", len(model.weights_)
        rows = "normal distributions in the mixture that codes are drawn from"
    else:
        what, n_judged = "imputer", len(model.calibration_errors_)
        rows = "cells that they had not seen say how wrong they may be"
    return (
        f"{what} on {options['data']}: {model.n_samples_:,} rows × {model.n_features_in_:,} columns\n"
        f"  {n_networks} network{'s' * (n_networks > 1)} in {seconds:.1f} s\n"
        f"  {n_judged:,} {rows}"
    )


def _described(manifest: dict[str, Any]) -> str:
    from ..data.schema import Schema

    fitted, names = manifest["fitted"], manifest["feature_names"]
    if "members" in manifest:
        member = manifest["members"][0]
        training = {
            "networks": f"{len(manifest['members'])}, each a {member['estimator']} on rows of scaling "
            f"{member['fitted']['scaling']}",
        }
    else:
        history, best = fitted["history_"], fitted["best_epoch_"]
        curves = [name for name in history if name not in ("beta", "learning_rate")]
        training = {
            "scaling": fitted["scaling"],
            "epochs": f"{fitted['n_epochs_']}, best {best or 'the start'}; {'there' if best else 'in the last'}, "
            "in nats and scaled units:",
            **{f"  {name}": f"{history[name][best - 1]:.6g}" for name in curves},
        }
    features, schema = f"{fitted['n_features_in_']:,}", fitted.get("schema")
    if schema:
        features += "".join(f"\n  {line}" for line in str(Schema.from_json(schema)).splitlines())
    elif names:
        features += f" ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"
    lines = {
        "model": manifest["estimator"],
        "trained on": f"{fitted['n_samples_']:,} rows, fingerprint {fitted['data_fingerprint_']}",
        "features": features,
        **training,
        "parameters": "",
        **{f"  {name}": json.dumps(value, ensure_ascii=False) for name, value in manifest["parameters"].items()},
        "written by": ", ".join(f"{name} {number}" for name, number in manifest["versions"].items()),
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in lines.items())


# -- the door ---------------------------------------------------------------------------------------------------------


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"diabolo: {message}", file=sys.stderr)


def main() -> None:
    """Run the command; turn expected errors, and warnings, into one line, and errors into an exit status."""
    warnings.showwarning = _warn
    try:
        app()
    except DiaboloError as error:
        message = " ".join(str(error).split())
        print(f"diabolo: {message}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("diabolo: interrupted", file=sys.stderr)
        sys.exit(130)
