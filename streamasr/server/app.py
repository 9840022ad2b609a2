"""Builds everything and runs it: one ASGI app, one socket, one way out.

Owns the parts that all sessions share, the signals and the drain. Knows no wire format and nothing of what is
done with audio.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from uvicorn.server import HANDLED_SIGNALS

from streamasr.errors import ConfigError
from streamasr.inference.backend import Backend
from streamasr.inference.models import ModelEntry, resolve
from streamasr.ops.config import Settings
from streamasr.server.auth import Signer
from streamasr.server.connection import serve_socket
from streamasr.server.protocol import SocketProtocol
from streamasr.server.rest import not_found, routes
from streamasr.server.scorer import Scorer, VadSource
from streamasr.server.sessions import Registry, Services
from streamasr.wire import DIALECTS

logger = logging.getLogger(__name__)

HEAD_START_S = 3.0
"""The port opens when the model is warm, or after this: a wrong model is told before, a big one does not look dead."""
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 60.0
CLOSING_S = 5
"""How long sockets may take to close at the very end."""


class App:
    """The server's parts, joined. ``asgi`` is the application; call ``start`` before it can take sessions."""

    def __init__(self, settings: Settings, model: ModelEntry, backend: Backend, vad: VadSource) -> None:
        self.settings = settings
        self.registry = Registry(
            Services(
                backend=backend,
                vad=vad,
                scorer=Scorer(),
                signer=Signer(settings.signing_key),
                model=model,
                policy=model.policy(encoder_window_s=settings.encoder_window),
            ),
            settings,
        )
        sockets = [
            WebSocketRoute(path, partial(serve_socket, dialect_of=dialect, registry=self.registry))
            for path, dialect in DIALECTS.items()
        ]
        self.asgi = Starlette(
            routes=[*sockets, *routes(self.registry, DIALECTS)],
            exception_handlers={404: lambda request, _: not_found(request.url.path, DIALECTS)},
        )

    async def start(self) -> None:
        """Load and warm up the model; from then on sessions are let in.

        Raises:
            ModelError: the model cannot be run.
        """
        await self.registry.services.backend.start()
        self.registry.ready = True

    async def drain(self) -> None:
        """Finalise every session and deliver it; returns when all have left or patience ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_timeout_s):
                await self.registry.drain()
        if left := len(self.registry):
            logger.warning("%d sessions did not end in %g s", left, self.settings.drain_timeout_s)

    async def close(self) -> None:
        """Stop the threads."""
        self.registry.services.scorer.close()
        await self.registry.services.backend.close()


class Server(uvicorn.Server):
    """uvicorn with our signals: the first drains and then ends, exit code 0; the second ends at once.

    uvicorn's own handling closes every socket before anything is finalised, and loses the last words.
    """

    def __init__(self, app: App, on_ready: Callable[[], None]) -> None:
        settings = app.settings
        super().__init__(
            uvicorn.Config(
                app.asgi,
                lifespan="off",
                ws=SocketProtocol,
                ws_max_size=settings.max_frame_bytes,
                ws_ping_interval=PING_INTERVAL_S,
                ws_ping_timeout=PING_TIMEOUT_S,
                ws_per_message_deflate=False,
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=CLOSING_S,
            )
        )
        self.failure: Exception | None = None
        self.exit_code = 0
        self._app = app
        self._on_ready = on_ready
        self._warming: asyncio.Task[None] | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the model and open the port; without a model the port stays closed."""
        self._warming = asyncio.create_task(self._warm_up())
        await asyncio.wait((self._warming,), timeout=HEAD_START_S)
        if self.failure is None:
            try:
                for listener in sockets or ():
                    listener.listen()  # uvloop would not notice that it cannot
                await super().startup(sockets)
            except OSError as error:  # another server has begun to listen since this one bound its socket
                self._fail(ConfigError(_why_not_bound(error, self._app.settings.host, self._app.settings.port)))
            else:
                self._announcing = asyncio.create_task(self._announce(self._warming))

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Run until a signal, or until the model turns out not to run (``failure``)."""
        try:
            await super().serve(sockets)
        finally:
            for task in (self._warming, self._announcing, self._draining):
                if task:
                    task.cancel()
            await self._app.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def forward(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop, number)

        before = {number: signal.signal(number, forward) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Drain and end; called again, end at once."""
        if self._draining:
            self.exit_code = 128 + number
            self.should_exit = self.force_exit = True
        else:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._app.drain()
        finally:
            self.should_exit = True

    async def _warm_up(self) -> None:
        try:
            await self._app.start()
        except Exception as error:  # noqa: BLE001 - raised again by ``run``, when the server has ended
            self._fail(error)

    def _fail(self, failure: Exception) -> None:
        self.failure = failure
        self.should_exit = True

    async def _announce(self, warming: asyncio.Task[None]) -> None:
        await warming
        if self.failure is None:
            self._on_ready()


def build(settings: Settings) -> App:
    """The app on the model that ``settings`` name, not yet loaded.

    Raises:
        ConfigError: there is no such model, or it is not in a format we can run.
    """
    from streamasr.inference.ct2 import Ct2Engine
    from streamasr.inference.vad import VadModel
    from streamasr.inference.worker import LocalBackend

    model = resolve(settings.model)
    backend = LocalBackend(
        partial(
            Ct2Engine,
            model,
            device=settings.device,
            compute_type=settings.compute_type,
            threads=settings.threads or _threads(),
            max_batch=settings.max_batch,
            clock=time.perf_counter,
        )
    )
    return App(settings, model, backend, VadModel())


def bind(settings: Settings) -> socket.socket:
    """The socket to listen on; it is not listening yet.

    Raises:
        ConfigError: the port is in use, or the host is none of this machine's.
    """
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ConfigError(f"host: {host!r} is not an address of this machine") from error
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ConfigError(_why_not_bound(error, host, port)) from error
    return listener


def run(app: App, listener: socket.socket, on_ready: Callable[[], None]) -> int:
    """Serve until a signal; the exit code. ``on_ready`` is called once sessions are let in.

    Raises:
        ConfigError: the model cannot be run.
    """
    server = Server(app, on_ready)
    with listener:
        server.run(sockets=[listener])
    if server.failure:
        raise server.failure
    return server.exit_code


def _threads() -> int:
    """Threads for the model: a core is left to the event loop and the gate, and more than four do not pay."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(1, cores - 1))


def _why_not_bound(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port: {port} on {host} is in use; choose another with --port"
        case errno.EACCES:
            return f"port: {port} needs rights this process does not have; choose one above 1023 with --port"
        case _:
            return f"host: cannot listen on {host}: {error.strerror}"
