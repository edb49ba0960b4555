"""The command `diabolo datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["datasets"]


def datasets(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The data set to write.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FOLDER", help="The folder to create.  [NAME]")
    ] = None,
) -> None:
    """List the data sets that come with diabolo, or write one as files to try the other commands on."""
    from ..datasets import describe, write

    if name is None:
        texts = describe()
        width = max(map(len, texts))
        for one, text in texts.items():
            typer.echo(f"{one:<{width}}  {text}")
        typer.echo("\ndiabolo datasets NAME  writes the files of one into a new folder.")
        return
    for path in write(name, Path(name) if output is None else output):
        typer.echo(str(path))
