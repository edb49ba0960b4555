"""The application behind uvicorn: until it is told to stop, and then until what it holds is answered."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable
from typing import Any

from ..engine.inference import BATCH_BUCKETS
from ..engine.progress import Bar
from ..errors import MissingDependencyError, UsageError
from ..estimators.predictions import like_those_seen, named, questions
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
"""The names under which a server without a token may be asked."""
_WARM_ROWS = 2048


class _Impatient(H11Protocol):  # type: ignore[misc]
    """Closes a connection on which a request's head is begun and not ended: uvicorn would wait without end."""

    patience = 30.0
    _alarm: Any = None

    def connection_made(self, transport: Any) -> None:
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
    model: Any,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    *,
    token: str | None = None,
    name: str = "",
    ready: Callable[[str], Any] = print,
) -> None:
    """Answer about rows over HTTP, until SIGTERM or SIGINT; then finish what is under way, and return.

    Parameters
    ----------
    model : fitted estimator
    host : str, default="127.0.0.1"
        Where to listen. Beyond this machine only with a ``token``, and best behind a server that speaks TLS. Without a
        token it answers requests to localhost, 127.0.0.1, ::1 or ``host`` alone: see `create_app`.
    port : int, default=8000
        0: any that is free.
    limits, token, name
        See `create_app`.
    ready : callable, default=print
        Is told the address once requests are taken, all programs compiled.

    Raises
    ------
    UsageError
        If another machine could ask without a token, the address cannot be had, or the model cannot be asked.
    MissingExtra
        Without the extra ``serve``.
    """
    limits = limits or Limits()
    if token is None and not _is_this_machine(host):
        raise UsageError(
            f"On {host} other machines could ask, so a token is needed: put it into $DIABOLO_TOKEN, or a file that "
            "--token-file names."
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
            server.run([listening])  # it raises the signal again when it has ended, for those who would not return
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)


class _Server(uvicorn.Server):  # type: ignore[misc]
    def __init__(self, config: Any, ready: Callable[[], Any]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bound(host: str, port: int) -> socket.socket:
    # TCP by name: asyncio sends answers without delay only where the socket says that it is.
    listening = socket.socket(
        socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(512)
    except (OSError, OverflowError) as error:
        listening.close()
        told = getattr(error, "strerror", None) or error
        raise UsageError(f"{host}:{port} cannot be listened on: {told}. Choose another --host or --port.") from error
    return listening


def _warm(model: Any) -> None:
    """Compile what requests will need, so that none of them waits for it."""
    sizes = [size for size in BATCH_BUCKETS if size <= _WARM_ROWS]
    asked = questions(model)
    rows = named(model, like_those_seen(model, sizes[-1]))
    with Bar("compiling", len(asked) * len(sizes), True) as bar:
        for done, (question, size) in enumerate(((q, s) for q in asked.values() for s in sizes), start=1):
            question(model, rows[:size])
            bar.show(done)
