"""The command line: `diabolo fit`, and the commands that use the saved model.

Exit status: 0, success; 2, wrong usage or unusable data, with one line on stderr and nothing written; 130, interrupted;
143, terminated. The last two print one line, and keep the state of a running training for `--resume`.
Heavy modules are imported only when a command needs them.
"""

from __future__ import annotations

import gc
import sys
import warnings
from typing import Annotated

import typer

from .. import __version__
from ..errors import DiaboloError
from . import apply, compare, datasets, deploy, fit, inspect

__all__ = ["app", "main"]

_FEW_COLLECTIONS = 200_000
"""New objects before garbage is searched for: imports create hundreds of thousands, and none of them is garbage."""

app = typer.Typer(
    help="Autoencoders for tables, arrays and images: train one, then compress, reconstruct, score or generate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain lines, like other commands
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first run:  diabolo fit measurements.csv --model variational --out run  then  diabolo score run new.csv",
)

for _command in (
    *(fit.demo, datasets.datasets, fit.fit),
    *(apply.transform, apply.reconstruct, apply.denoise, apply.impute, apply.score, apply.detect),
    *(inspect.report, compare.compare, apply.sample, deploy.export, deploy.serve, inspect.info, inspect.models),
):
    app.command()(_command)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"diabolo {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    print(f"diabolo: {message}", file=sys.stderr)


def main() -> None:
    """Run the command; print each warning and each expected error as one line, and exit with a status."""
    gc.set_threshold(_FEW_COLLECTIONS)
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
