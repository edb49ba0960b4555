"""The commands that take a RUN elsewhere: `diabolo export` and `diabolo serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .options import Run

__all__ = ["export", "serve"]


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
