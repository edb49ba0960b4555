"""The command `diabolo compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .options import Data, Key, one_line, takes_file_options

__all__ = ["compare"]


@takes_file_options
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A model.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another model.", show_default=False)],
    data: Data,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    key: Key = None,
    *,
    file_options: dict[str, object],
) -> None:
    """Compare two autoencoders on the same rows, preferably rows that neither was trained on.

    Printed for each: the share of variance that its reconstructions lose, in all and by column, and its mean
    log-density in nats; for the difference, its standard error over rows. If there are more than 5,000 rows, 5,000 of
    them are drawn at random.
    """
    from ..data.file_options import FileOptions
    from ..estimators.loading import load
    from ..report.compare import compare as compared

    models = (load(first), load(second))
    for run, model in zip((first, second), models, strict=True):
        if not hasattr(model, "reconstruct"):
            raise UsageError(f"{run} holds an {type(model).__name__}. Only autoencoders are compared.")
    options = FileOptions.of(file_options)
    with one_line():
        rows = tuple(model.input_.source(data, key, options) for model in models)
        found = compared(models, rows, (str(first), str(second)))
    typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False) if as_json else str(found))
