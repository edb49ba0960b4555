"""The commands that deploy a model: `diabolo export` and `diabolo serve`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UnsupportedOperationError, UsageError
from .options import Run

__all__ = ["export", "serve"]


def export(
    run: Run,
    onnx: Annotated[Path, typer.Option("--onnx", metavar="DIR", help="The folder to write.", show_default=False)],
    check: Annotated[
        str | None,
        typer.Option(
            "--check",
            metavar="DATA",
            help="Rows on which to compare ONNX Runtime with Python.  [rows drawn like RUN's training data]",
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            metavar="TYPE",
            help="Type of inputs and outputs: float32, float64, or auto: by the digits.",
        ),
    ] = "auto",
    force: Annotated[bool, typer.Option("-f", "--force", help="Replace DIR if it is an existing export.")] = False,
) -> None:
    """Write RUN as ONNX files, which run without Python: encoder, decoder, reconstruct and score.

    The files take any number of rows, in the units of the data; export.json describes them. Before they are written,
    the results of ONNX Runtime and Python are compared on 1,000 rows; the largest difference is printed, relative to
    the largest number.
    """
    from ..estimators.loading import load
    from ..export.onnx import export_onnx

    model = load(run)
    if hasattr(model, "alarms"):
        raise UnsupportedOperationError(f"{run} holds a {type(model).__name__}, which cannot be written as ONNX.")
    typer.echo(str(export_onnx(model, onnx, check, dtype=dtype, force=force)))
    typer.echo(f"written to {onnx}")


def serve(
    run: Run,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen on; any but a loopback address needs a token."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port to listen on; 0: any free port.")
    ] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", help="File with the token that clients must send.  [$DIABOLO_TOKEN]"
        ),
    ] = None,
    max_body: Annotated[float, typer.Option("--max-body", metavar="MB", help="Largest body of a request.")] = 16.0,
    max_rows: Annotated[
        int, typer.Option("--max-rows", metavar="N", min=1, help="Largest number of rows in a request.")
    ] = 100_000,
    max_requests: Annotated[
        int,
        typer.Option(
            "--max-requests", metavar="N", min=1, help="Largest number of requests at once; others get status 503."
        ),
    ] = 64,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="S", help="Seconds in which a request must arrive, and an answer be read."),
    ] = 30.0,
) -> None:
    """Serve RUN over HTTP, until stopped.

    POST rows to /transform, /reconstruct or /score (detector: /score; imputer: /impute; classifier: /classify), as
    JSON, {"rows": [{"age": 31, ...}, ...]}, or as an Arrow stream. GET /docs is a page to try the requests,
    /openapi.json describes them, /healthz gives the server's status. Waiting requests are computed in one batch.
    """
    from ..estimators.loading import load
    from ..serving import Limits
    from ..serving import serve as served
    from ..serving.openapi import with_article

    if not 0 < max_body <= 4096:
        raise UsageError(f"--max-body must be between 0 and 4096 MB; got {max_body:g}.")
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
    """Return the token that clients must send, from the file or $DIABOLO_TOKEN; None, if there is neither."""
    try:
        token = os.environ.get("DIABOLO_TOKEN") if file is None else file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', error)}.") from error
    if token is not None and not (token and token.isascii() and token.isprintable()):
        where = "$DIABOLO_TOKEN" if file is None else file
        raise UsageError(f"{where} must hold a token of printable ASCII characters.")
    return token
