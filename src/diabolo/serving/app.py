"""The ASGI application: routes, limits, authentication and error responses."""

from __future__ import annotations

import asyncio
import base64
import re
import reprlib
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from .. import __version__
from ..data.readers import Table
from ..errors import DiaboloError, ForkError, InvalidData, InvalidParameter, MissingDependencyError, UsageError
from ..estimators.arguments import check_arguments
from ..estimators.predictions import Told, like_those_seen, named, questions
from ..estimators.trainable import Saveable, require_fitted
from .batching import Batches
from .bounds import BodyTooLong, Bounds, gunzip
from .codec import ARROW, JSON, Malformed, Wire
from .openapi import described, page

try:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise MissingDependencyError(f"Serving needs the extra `serve`: pip install 'diabolo[serve]' ({error}).") from error

__all__ = ["Limits", "create_app"]

T = TypeVar("T")

PROBLEM = "application/problem+json"
_SHORT = 1 << 16
_LEAST_CELL = 8
"""A lower bound of the mean number of bytes of a result's cell in JSON."""
_OPEN = ("/healthz",)
"""Paths that need no token: a health check has none."""


@dataclass(frozen=True)
class Limits:
    """Limits of one request, and of the number of concurrent requests.

    Parameters
    ----------
    body_bytes : int, default=16 MiB
        Largest size of a request's body, as sent and as decompressed (`Content-Encoding: gzip`); above it the status is
        413.
    rows : int, default=100,000
        Largest number of rows in a request; above it the status is 422.
    requests : int, default=64
        Largest number of concurrent requests, including waiting ones; above it the status is 503.
    seconds : float, default=30
        Time in which a request must arrive, after it the status is 408; and in which a response must be read.
    numbers : int, default=2²⁴
        Largest number of encoded numbers in a request: rows times the width of an encoded row, in which a category
        takes one number for each of its values. Above it the status is 422. The texts of a request together may have
        four times ``body_bytes``.
    """

    body_bytes: int = 16 << 20
    rows: int = 100_000
    requests: int = 64
    seconds: float = 30.0
    numbers: int = 1 << 24

    def __post_init__(self) -> None:
        for name in ("body_bytes", "rows", "requests", "seconds", "numbers"):
            if not getattr(self, name) > 0:
                raise InvalidParameter(f"Limits.{name} must be more than 0; got {getattr(self, name)!r}.")


def create_app(
    model: Saveable,
    limits: Limits | None = None,
    *,
    token: str | None = None,
    name: str = "",
    hosts: Collection[str] | None = None,
) -> ASGIApp:
    """Create an ASGI application that serves a fitted model.

    ``POST /transform``, ``/reconstruct``, ``/score`` and ``/impute`` of an autoencoder, ``/score`` of a detector,
    ``/impute`` of an imputer, ``/classify`` of a classifier; ``GET /healthz``, ``/openapi.json`` and ``/docs``. The
    application runs under any ASGI server; `serve` runs it under a server that also refuses slow requests.

    Parameters
    ----------
    model : fitted estimator
        Any except a generator, which has no operation on rows.
    limits : Limits or None, default=None
        Limits of one request, and of the number of concurrent requests. None: the defaults of `Limits`.
    token : str or None, default=None
        The token that clients must send, as a bearer token or as the password of basic authentication.
    name : str, default=""
        The model's name in the documentation.
    hosts : collection of str or None, default=None
        The accepted host names, without ports; for any other name the status is 421. None: accept all names. The check
        protects against DNS rebinding, in which a foreign web page makes its own name lead to this machine.

    Returns
    -------
    ASGI application
        For uvicorn, hypercorn or another ASGI server.

    Raises
    ------
    UsageError
        If the model has no operation on rows.
    MissingExtra
        Without the extra ``serve``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from starlette.testclient import TestClient
    >>> from diabolo import BasicAutoencoder
    >>> from diabolo.serving import create_app
    >>> X = load_iris().data
    >>> model = BasicAutoencoder(n_latent=2, max_epochs=1, random_state=0).fit(X)
    >>> client = TestClient(create_app(model))
    >>> answer = client.post("/score", json={"rows": X[:2].tolist()}).json()
    >>> [row["log_density"] for row in answer["rows"]] == model.score_samples(X[:2]).tolist()
    True
    """
    check_arguments(token=token, name=name, hosts=hosts)
    require_fitted(model, "model")
    if not isinstance(limits, Limits | None):
        raise InvalidParameter(f"limits must be diabolo.serving.Limits or None; got {reprlib.repr(limits)}.")
    served = _Served(model, limits or Limits(), name or type(model).__name__)
    app = Starlette(
        routes=served.routes(),
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )
    return _Guard(app, served.limits, token, hosts)


class _Served:
    """A model with its routes."""

    def __init__(self, model: Saveable, limits: Limits, name: str) -> None:
        asked = questions(model)
        if not asked:
            raise UsageError(f"A {type(model).__name__} has no result for single rows, so it cannot be served.")
        self.limits, self._name, self._model = limits, name, model
        self._wire = Wire(model, Bounds(limits.rows, limits.numbers, 4 * limits.body_bytes))
        worker = ThreadPoolExecutor(1, thread_name_prefix="diabolo")
        self._batches = {what: Batches(model, ask, worker) for what, ask in asked.items()}
        example = named(model, like_those_seen(model, 2))
        self._about = described(self._wire, asked, model, example, limits, name)
        self._page = page(self._about)

    def routes(self) -> list[Route]:
        return [
            *(Route(f"/{what}", self._answers(what), methods=["POST"]) for what in self._batches),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/docs", self._docs, methods=["GET"]),
            Route("/", self._home, methods=["GET"], include_in_schema=False),
        ]

    def _answers(self, what: str) -> Callable[[Request], Awaitable[Response]]:
        batches = self._batches[what]
        as_lists = self._wire.as_lists(what)

        async def answer(request: Request) -> Response:
            given, wanted = _given_as(request), _wanted_as(request)
            is_gzip = _is_gzip(request)
            body = await self._body(request)
            if is_gzip:
                body = await self._decompressed(body)
            try:
                rows = await _aside(len(body), self._wire.read, given, body)
                found = await batches.answer(rows)
            except ForkError as error:
                raise HTTPException(503, str(error)) from error
            except Malformed as error:
                raise HTTPException(400, str(error)) from error
            except (DiaboloError, ValueError, TypeError) as error:  # also scikit-learn's errors about rows
                raise HTTPException(422, str(error)) from error
            content = await _aside(
                max(len(body), _LEAST_CELL * _n_cells(found)), self._wire.write, wanted, found, as_lists
            )
            return Response(content, media_type=wanted)

        return answer

    async def _body(self, request: Request) -> bytes:
        """Read the body; raise if it is too long or arrives too late."""
        most = self.limits.body_bytes
        length = request.headers.get("content-length", "0")
        too_much = HTTPException(413, f"The body has more than {most:,} bytes.", {"Connection": "close"})
        if length.isdigit() and int(length) > most:
            raise too_much
        pieces, n_bytes = [], 0
        try:
            async with asyncio.timeout(self.limits.seconds):
                async for piece in request.stream():
                    n_bytes += len(piece)
                    if n_bytes > most:
                        raise too_much
                    pieces.append(piece)
        except TimeoutError:
            late = f"The body did not arrive within {self.limits.seconds:g} seconds."
            raise HTTPException(408, late, {"Connection": "close"}) from None
        return b"".join(pieces)

    async def _decompressed(self, body: bytes) -> bytes:
        """Decompress a body of gzip; raise if it is none, or becomes too long."""
        try:
            return await asyncio.to_thread(gunzip, body, self.limits.body_bytes)
        except BodyTooLong as error:
            raise HTTPException(413, str(error)) from error
        except InvalidData as error:
            raise HTTPException(400, str(error)) from error

    async def _health(self, request: Request) -> Response:
        return JSONResponse(
            {"status": "ok", "model": self._name, "estimator": type(self._model).__name__, "diabolo": __version__}
        )

    async def _openapi(self, request: Request) -> Response:
        return JSONResponse(self._about)

    async def _docs(self, request: Request) -> Response:
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        return HTMLResponse(self._page, headers={"Content-Security-Policy": policy})

    async def _home(self, request: Request) -> Response:
        return RedirectResponse("docs")


async def _aside(n_bytes: int, work: Callable[..., T], *given: object) -> T:
    """Return the result of ``work``; long work runs in a thread, short work here, as a thread would cost more."""
    return await asyncio.to_thread(work, *given) if n_bytes > _SHORT else work(*given)


def _n_cells(answer: Told) -> int:
    """Return the number of cells of a result, a `Table` or an Arrow table."""
    return answer.rows.size if isinstance(answer, Table) else answer.num_rows * answer.num_columns


def _given_as(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (JSON, ARROW):
        raise HTTPException(415, f"The Content-Type must be {JSON} or {ARROW}.", {"Accept": f"{JSON}, {ARROW}"})
    return kind


def _is_gzip(request: Request) -> bool:
    """Return whether the body is compressed by gzip; raise for any other coding, and for several."""
    codings = ",".join(request.headers.getlist("content-encoding")).lower()
    named = [coding for coding in map(str.strip, codings.split(",")) if coding not in ("", "identity")]
    if named and named not in (["gzip"], ["x-gzip"]):
        raise HTTPException(
            415, "The Content-Encoding must be gzip, applied once, or identity.", {"Accept-Encoding": "gzip, identity"}
        )
    return bool(named)


def _wanted_as(request: Request) -> str:
    """Return the response's media type: Arrow if the client names it, otherwise JSON if the client accepts it."""
    accepted = [piece.partition(";")[0].strip().lower() for piece in request.headers.get("accept", "*/*").split(",")]
    if ARROW in accepted:
        return ARROW
    if not {JSON, "application/*", "*/*", ""} & set(accepted):
        raise HTTPException(406, f"Responses are {JSON} or {ARROW}. Accept one of these types.")
    return JSON


class _Guard:
    """Middleware that checks the host and the token, and limits the number and the duration of requests."""

    def __init__(self, app: ASGIApp, limits: Limits, token: str | None, hosts: Collection[str] | None) -> None:
        self._app, self._limits, self._token, self._hosts = app, limits, token, hosts
        self._n_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._hosts is not None and _host_of(scope) not in self._hosts:
            words = f"The host name is not accepted. Use one of: {', '.join(self._hosts)}."
            await _problem(421, words, {"Connection": "close"})(scope, receive, send)
            return
        if self._token is not None and scope["path"] not in _OPEN and not _knows(scope, self._token):
            action = "Send the header  Authorization: Bearer TOKEN."
            headers = {"WWW-Authenticate": 'Bearer, Basic realm="diabolo", charset="UTF-8"', "Connection": "close"}
            await _problem(401, f"A token is needed. {action}", headers)(scope, receive, send)
            return
        if scope["path"] in _OPEN:
            await self._app(scope, receive, send)
            return
        if self._n_held >= self._limits.requests:
            words = f"The server has {self._n_held} requests, its limit. Try again in a second."
            await _problem(503, words, {"Retry-After": "1", "Connection": "close"})(scope, receive, send)
            return
        self._n_held += 1
        try:
            await self._app(scope, receive, _hurried(send, self._limits.seconds))
        except (TimeoutError, ClientDisconnect):  # the client has gone, or does not read
            return
        finally:
            self._n_held -= 1


def _hurried(send: Send, seconds: float) -> Send:
    """Wrap ``send`` to raise a TimeoutError if the client does not read for so many seconds."""

    async def sent(message: Message) -> None:
        async with asyncio.timeout(seconds):
            await send(message)

    return sent


def _host_of(scope: Scope) -> str:
    """Return the name in the Host header, without the port; an empty text, if there is not exactly one header."""
    named = [value for name, value in scope["headers"] if name == b"host"]
    host = named[0].decode("latin-1").strip().lower() if len(named) == 1 else ""
    return re.sub(r":\d*$", "", host).strip("[]").rstrip(".")


def _knows(scope: Scope, token: str) -> bool:
    """Return whether the request has the token."""
    header = dict(scope["headers"]).get(b"authorization", b"")
    scheme, _, value = header.strip().partition(b" ")
    if scheme.lower() == b"basic":
        try:
            value = base64.b64decode(value, validate=True).partition(b":")[2]
        except ValueError:
            return False
    elif scheme.lower() != b"bearer":
        return False
    return secrets.compare_digest(value.strip(), token.encode())


# -- error responses, by RFC 9457 -------------------------------------------------------------------------------------


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    whole = detail.encode(errors="backslashreplace").decode()  # a lone surrogate from a request is not valid UTF-8
    content = {"title": HTTPStatus(status).phrase, "status": status, "detail": whole}
    return JSONResponse(content, status, headers, media_type=PROBLEM)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, error.detail, error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    return _problem(500, f"Internal error: {type(error).__name__}, at {time.strftime('%FT%T%z')}.")
