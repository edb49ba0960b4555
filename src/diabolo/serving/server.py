"""Run the application with uvicorn, until a signal stops it and the running requests are finished."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable

from ..engine.inference import BATCH_BUCKETS
from ..engine.progress import Bar
from ..errors import MissingDependencyError, UsageError
from ..estimators.predictions import like_those_seen, named, questions
from ..estimators.trainable import Saveable
from .app import Limits, create_app

try:
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as error:
    raise MissingDependencyError(f"Serving needs the extra `serve`: pip install 'diabolo[serve]' ({error}).") from error

__all__ = ["serve"]

_CONNECTIONS = 1000
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
"""The host names that a server without a token accepts."""
_WARM_ROWS = 2048


class _Impatient(H11Protocol):  # type: ignore[misc]
    """A protocol that closes a connection whose request headers do not arrive in time; uvicorn has no such limit."""

    patience = 30.0
    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._go_on()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._wait()
        else:
            self._go_on()

    def _wait(self) -> None:
        if self._alarm is None:
            self._alarm = self.loop.call_later(self.patience, self.transport.close)

    def _go_on(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def serve(
    model: Saveable,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    *,
    token: str | None = None,
    name: str = "",
    ready: Callable[[str], object] = print,
) -> None:
    """Serve a model over HTTP until SIGTERM or SIGINT; then finish the running requests, and return.

    Parameters
    ----------
    model : fitted estimator
        As for `create_app`.
    host : str, default="127.0.0.1"
        The address to listen on. Any but a loopback address needs a ``token``, and should be behind a server that
        speaks TLS. Without a token only requests to localhost, 127.0.0.1, ::1 or ``host`` are accepted: see
        `create_app`.
    port : int, default=8000
        The port to listen on; 0: any free port.
    limits : Limits or None, default=None
        As for `create_app`, like the next two.
    token : str or None, default=None
        The token that clients must send.
    name : str, default=""
        The model's name in the documentation.
    ready : callable, default=print
        Called with the address once all programs are compiled and requests are accepted.

    Raises
    ------
    UsageError
        If other machines could connect without a token, the address is not available, or the model cannot be
        served.
    MissingExtra
        Without the extra ``serve``.
    """
    limits = limits or Limits()
    if token is None and not _is_this_machine(host):
        raise UsageError(
            f"On {host} other machines can connect, so a token is needed. Put it into $DIABOLO_TOKEN, or into a file "
            "and name the file with --token-file."
        )
    app = create_app(model, limits, token=token, name=name, hosts=(*_THIS_MACHINE, host) if token is None else None)
    with _bound(host, port) as listening:
        _warm(model)
        config = uvicorn.Config(
            app,
            http=type("_Protocol", (_Impatient,), {"patience": limits.seconds}),
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=int(limits.seconds) + 1,
        )
        at, where = listening.getsockname()[:2], f"[{host}]" if ":" in host else host
        server = _Server(config, lambda: ready(f"http://{where}:{at[1]}"))
        before = {sign: signal.signal(sign, lambda *_: None) for sign in (signal.SIGTERM, signal.SIGINT)}
        try:
            server.run([listening])  # uvicorn raises the signal again after it has stopped
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)


class _Server(uvicorn.Server):  # type: ignore[misc]
    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bound(host: str, port: int) -> socket.socket:
    # The protocol is explicit: asyncio sets TCP_NODELAY only on sockets with IPPROTO_TCP.
    listening = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}:{port} cannot be listened on: {reason}. Choose another --host or --port.") from error
    return listening


def _warm(model: Saveable) -> None:
    """Compile the programs that requests need, so that no request waits for compilation."""
    sizes = [size for size in BATCH_BUCKETS if size <= _WARM_ROWS]
    asked = questions(model)
    rows = named(model, like_those_seen(model, sizes[-1]))
    with Bar("compiling", len(asked) * len(sizes), True) as bar:
        for done, (question, size) in enumerate(((q, s) for q in asked.values() for s in sizes), start=1):
            question(model, rows[:size])
            bar.show(done)
