"""Arguments that several commands share, and the conversion of texts into values."""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ..errors import DiaboloError, UnseenColumnsWarning, UsageError, suggest

if TYPE_CHECKING:
    import pyarrow as pa

    from ..data.types import Name
    from ..estimators.trainable import Saveable

__all__ = [
    "MADE_FOR",
    "MODELS",
    "SYNONYMS",
    "Data",
    "Force",
    "Keep",
    "Key",
    "Options",
    "Out",
    "Run",
    "aware_of",
    "make_estimator",
    "model_name",
    "one_line",
    "open_series",
    "parse_cells",
    "parse_setting",
    "parse_shape",
    "read_config",
    "read_toml",
    "require_known",
    "split_names",
    "takes_file_options",
]


Options: TypeAlias = dict[str, Any]
"""Options of a command by name."""

MODELS = {
    "basic": "BasicAutoencoder",
    "stacked": "StackedAutoencoder",
    "sparse": "SparseAutoencoder",
    "denoising": "DenoisingAutoencoder",
    "variational": "VariationalAutoencoder",
    "autoencoder": "Autoencoder",
    "anomaly": "AnomalyDetector",
    "series": "SeriesDetector",
    "imputer": "AutoencoderImputer",
    "generator": "AutoencoderGenerator",
}


SYNONYMS = {
    "ae": "basic",
    "pca": "basic",
    "linear": "basic",
    "deep": "stacked",
    "dae": "denoising",
    "denoiser": "denoising",
    "vae": "variational",
    "detector": "anomaly",
    "anomalies": "anomaly",
    "timeseries": "series",
    "impute": "imputer",
    "generate": "generator",
}
"""Other names of models that users type. Class names are understood as well."""


MADE_FOR = {
    "AnomalyDetector": "detect",
    "SeriesDetector": "detect",
    "AutoencoderImputer": "impute",
    "AutoencoderGenerator": "sample",
}
"""The only command that an estimator supports, if it is not an autoencoder."""


CONFIG: dict[str, tuple[type, str]] = {
    **dict.fromkeys(("data", "model", "out", "key", "time"), (str, "a text")),
    **dict.fromkeys(("columns", "exclude", "condition"), (list, "a list of names")),
    **dict.fromkeys(("schema", "parameters"), (dict, "a table")),
    "seed": (int, "a whole number"),
}
"""The options that a config file may hold, with their types."""


Run = Annotated[
    Path, typer.Argument(metavar="RUN", help="A model: a folder written by `diabolo fit`.", show_default=False)
]


MaybeRun = Annotated[
    Path | None, typer.Argument(metavar="RUN", help="A model: a folder written by `diabolo fit`.", show_default=False)
]


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A .csv, .tsv, .txt, .jsonl, .xlsx, .parquet, .npy or .npz file (text files also as .gz), a folder or "
        "glob of such files, a folder of images of one size, an SQL query over files or databases; -: standard input.",
        show_default=False,
    ),
]


Out = Annotated[
    str | None,
    typer.Option(
        "-o",
        "--output",
        metavar="OUT",
        help="The .parquet, .csv or .npy file to write, or a folder for images; default: CSV to standard output.",
    ),
]


Force = Annotated[bool, typer.Option("-f", "--force", help="Replace OUT if it is an existing file, but never DATA.")]


Keep = Annotated[
    str | None,
    typer.Option("--keep", metavar="A,B,…", help="Columns of DATA to copy to the output, e.g. an id; they come first."),
]


Key = Annotated[
    str | None,
    typer.Option("--key", metavar="NAME", help="The array in an .npz file; series: the columns that tell them apart."),
]


_FILE_OPTIONS = {
    "delimiter": ("--delimiter", "C", "The sign between the cells of a text file, e.g. ';', tab or blank."),
    "decimal": ("--decimal", ".|,", "The decimal sign of numbers in a text file."),
    "thousands": ("--thousands", "C", "The thousands sign of numbers in a text file."),
    "encoding": ("--encoding", "NAME", "The encoding of a text file, e.g. cp1252 or cp949."),
    "missing": ("--missing", "A,B,…", "Texts that mark missing cells, e.g. '-,?'."),
    "header": ("--header/--no-header", None, "Whether the first line of a text file holds the column names."),
    "date_format": ("--date-format", "FORMAT", "The format of dates in a text file, e.g. %d/%m/%Y."),
}
"""Options of text files. An option that is not given is detected from the file."""
_SIGNS = {"tab": "\t", "\\t": "\t", "blank": " ", "space": " ", "comma": ",", "semicolon": ";", "none": ""}


def takes_file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of text files to a command, which receives them as the dict ``file_options``."""
    parameters = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                (bool if name == "header" else str) | None,
                typer.Option(flag, metavar=metavar, help=text, rich_help_panel="Text files"),
            ],
        )
        for name, (flag, metavar, text) in _FILE_OPTIONS.items()
    ]
    own = signature(command, eval_str=True)

    @wraps(command)
    def wrapped(**given: Any) -> None:
        options = {name: value for name in _FILE_OPTIONS if (value := given.pop(name)) is not None}
        for name in ("delimiter", "thousands"):
            if name in options:
                options[name] = _SIGNS.get(options[name].lower(), options[name])
        if "missing" in options:
            options["missing"] = [text.strip() for text in options["missing"].split(",")]
        command(**given, file_options=options)

    kept = [parameter for name, parameter in own.parameters.items() if name != "file_options"]
    keyword_only = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in kept]
    wrapped.__signature__ = own.replace(parameters=[*keyword_only, *parameters])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in (*kept, *parameters)}
    return wrapped


def open_series(
    data: str, columns: Sequence[str], exclude: Sequence[str], special: Sequence[str | None], options: Options
) -> pa.Table | str:
    """Read DATA as a table with the selected columns and those of times and keys; the path of a file of an array."""
    from ..data.file_options import FileOptions
    from ..data.series import read_table

    table = read_table(data, FileOptions.of(options))
    if table is None or not (columns or exclude):
        return data if table is None else table
    require_known([*columns, *exclude], table.column_names, "column")
    wanted = set(columns or table.column_names) - set(exclude) | {name for name in special if name}
    return table.select([name for name in table.column_names if name in wanted])


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Split a comma-separated list of column names."""
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def read_toml(file: Path) -> Options:
    """Read a TOML file.

    Raises
    ------
    UsageError
        If the file is missing, unreadable or not TOML.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{file}: no such file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not TOML: {error}.") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error


def read_config(config: Path | None) -> Options:
    """Read the options of a config file; without a file, return an empty dict.

    Raises
    ------
    UsageError
        If an option is unknown or has a wrong type.
    """
    if config is None:
        return {}
    options = read_toml(config)
    require_known(options, tuple(CONFIG), f"{config}: option")
    for name in ("columns", "exclude", "condition"):
        if isinstance(options.get(name), str):
            options[name] = list(split_names(options[name]) or ())
    for name, value in options.items():
        kind, what = CONFIG[name]
        fits = isinstance(value, kind) or (name == "schema" and value == "auto")
        if not fits or (kind is list and not all(isinstance(item, str) for item in value)):
            raise UsageError(f"{config}: {name} must be {what}; got {value!r}.")
    if "parameters" in options:
        options["parameters"] = {name: plain_value(value) for name, value in options["parameters"].items()}
    return options


def parse_setting(text: str) -> tuple[str, object]:
    """Parse NAME=VALUE: a value that is JSON as JSON, a value with commas as a tuple, any other as text."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise UsageError(f"--set {text} is not of the form NAME=VALUE, for example --set n_latent=8.")
    return name.strip(), plain_value(parse_value(value.strip()))


def parse_shape(text: str) -> tuple[int, ...]:
    """Parse an image shape, HxW or HxWx3."""
    sizes = text.lower().split("x")
    if len(sizes) not in (2, 3) or not all(size.isdigit() for size in sizes):
        raise UsageError(f"--image-shape {text} is not of the form HEIGHTxWIDTH, for example --image-shape 28x28.")
    return tuple(map(int, sizes))


def parse_value(text: str) -> object:
    """Parse a value: none, true or false, JSON, a comma-separated list, or else a text."""
    if text.lower() in ("none", "true", "false"):
        return {"none": None, "true": True, "false": False}[text.lower()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        if "," in text and not text.startswith(("{", "[")):
            return [parse_value(item.strip()) for item in text.split(",") if item.strip()]
        return text


def parse_cells(texts: Sequence[str], model: Saveable) -> dict[Name, object]:
    """Parse COLUMN=VALUE; the value stays a text where the column holds categories or dates."""
    kinds = {} if model.schema_ is None else {column.name: column.kind for column in model.schema_.used}
    found: dict[Name, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--given {text} is not of the form COLUMN=VALUE, for example --given age=40.")
        is_number = not hasattr(model, "feature_names_in_") and name.isdigit()
        is_text = kinds.get(name) in ("category", "date")
        found[int(name) if is_number else name] = value if is_text else parse_value(value)
    return found


def plain_value(value: object) -> object:
    """Convert a dict that names a part into the part, and lists into tuples."""
    if not isinstance(value, dict | list):
        return value
    from .. import parts  # noqa: F401  the import registers the parts
    from ..core.component import from_json

    return from_json(value)


def require_known(given: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raise a `UsageError` for an unknown name, and suggest a known one."""
    for name in given:
        if name not in known:
            raise UsageError(f"{what} {name!r} is unknown. {suggest(name, known)}")


def model_name(text: str) -> str:
    """Return the command-line name of a model, from any name that is understood.

    Raises
    ------
    UsageError
        If the name is unknown.
    """
    name = text.strip().lower()
    classes = {kind.lower(): short for short, kind in MODELS.items()}
    name = SYNONYMS.get(name) or classes.get(name) or name
    require_known([name], tuple(MODELS), "model")
    return name


def make_estimator(model: str, parameters: Options) -> Any:
    """Create the estimator with this command-line name and these parameters."""
    import diabolo

    kind = MODELS[model_name(model)]
    estimator = getattr(diabolo, kind)()
    known = sorted(estimator.get_params())
    require_known([name for name in parameters if "__" not in name], known, f"{kind}: parameter")
    with one_line():
        return estimator.set_params(**parameters)


@contextmanager
def aware_of(kept: Sequence[str]) -> Iterator[None]:
    """Leave out the warning of columns that the model does not use, if all of them are kept."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for one in caught:
        if not (isinstance(one.message, UnseenColumnsWarning) and set(one.message.columns) <= set(kept)):
            warnings.warn(one.message, stacklevel=3)


@contextmanager
def one_line() -> Iterator[None]:
    """Convert an error about a user's value, also one of scikit-learn, into a `UsageError`."""
    try:
        yield
    except DiaboloError:
        raise
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
