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
from streamasr.inference.loading import Loading, ModelSource, Watcher, model_source
from streamasr.inference.scorer import Scorer, VadSource
from streamasr.ops.config import Settings
from streamasr.server.auth import Signer
from streamasr.server.connection import serve_socket
from streamasr.server.files import file_routes
from streamasr.server.protocol import SocketProtocol
from streamasr.server.registry import Registry, Services
from streamasr.server.rest import not_found, routes
from streamasr.server.stats import Stats
from streamasr.wire import DIALECTS

logger = logging.getLogger(__name__)

PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 60.0
CLOSING_S = 5
"""How long sockets may take to close at the very end."""


class App:
    """The server's parts, joined. ``asgi`` is the application; call ``start`` before it can take sessions.

    Args:
        settings: how to run.
        source: brings the model.
        vad: makes the voice-activity model.
        loading: how the model comes.
        stats: what ``source``'s backend tells of itself.
    """

    def __init__(
        self,
        settings: Settings,
        source: ModelSource,
        vad: Callable[[], VadSource],
        *,
        loading: Loading | None = None,
        stats: Stats | None = None,
    ) -> None:
        self.settings = settings
        stats = stats or Stats(time.monotonic(), settings.min_headroom)
        self.registry = Registry(settings, loading or Loading(), stats)
        self._source = source
        self._vad = vad
        self._scorer = Scorer()
        self._backend: Backend | None = None
        sockets = [
            WebSocketRoute(path, partial(serve_socket, dialect_of=dialect, registry=self.registry))
            for path, dialect in DIALECTS.items()
        ]
        self.asgi = Starlette(
            routes=[*sockets, *file_routes(self.registry), *routes(self.registry, DIALECTS)],
            exception_handlers={404: lambda request, _: not_found(request.url.path, DIALECTS)},
        )

    async def start(self) -> None:
        """Get, load and warm up the model; from then on sessions are let in.

        Raises:
            ModelError: the model cannot be had, or cannot be run.
        """
        loading = self.registry.loading
        loaded = await self._source(loading)
        loading.on_this_machine()
        loading.report(f"warming up {loaded.model.name}")
        self._backend = loaded.backend
        await loaded.backend.start()
        self.registry.open(
            Services(
                backend=loaded.backend,
                vad=self._vad(),
                scorer=self._scorer,
                signer=Signer(self.settings.signing_key),
                model=loaded.model,
                policy=loaded.model.policy(encoder_window_s=self.settings.encoder_window),
                stats=self.registry.stats,
                reason=loaded.reason,
                notice=loaded.notice,
            )
        )

    async def drain(self) -> None:
        """Finalise every session and deliver it; returns when all have left or patience ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.drain_timeout_s):
                await self.registry.drain()
        if left := len(self.registry):
            logger.warning("%d sessions did not end in %g s", left, self.settings.drain_timeout_s)

    async def close(self) -> None:
        """Stop the threads; a model that is still being fetched is given up."""
        self.registry.loading.give_up()
        self._scorer.close()
        if self._backend is not None:
            await self._backend.close()


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
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port at once, and begin to load the model behind it."""
        try:
            for listener in sockets or ():
                listener.listen()  # uvloop would not notice that it cannot
            await super().startup(sockets)
        except OSError as error:  # another server has begun to listen since this one bound its socket
            self._fail(ConfigError(_why_not_bound(error, self._app.settings.host, self._app.settings.port)))
        else:
            self._warming = asyncio.create_task(self._warm_up())

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Run until a signal, or until the model turns out not to run (``failure``)."""
        try:
            await super().serve(sockets)
        finally:
            for task in (self._warming, self._draining):
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
        else:
            self._on_ready()

    def _fail(self, failure: Exception) -> None:
        self.failure = failure
        self.should_exit = True


def build(settings: Settings, *, terminal: bool = False, watcher: Watcher | None = None) -> App:
    """The app on the model that ``settings`` name, not yet fetched or loaded.

    Args:
        settings: how to run.
        terminal: whether a person sees what is printed, who may prefer nano to nothing.
        watcher: told how the model comes, from any thread.

    Raises:
        ModelError: there is no such model, or it is not in a format we can run.
    """
    from streamasr.inference.vad import VadModel

    stats = Stats(time.monotonic(), settings.min_headroom)
    source = model_source(settings, terminal=terminal, observer=stats.batch, on_stages=stats.stages)
    return App(settings, source, VadModel, loading=Loading(watcher), stats=stats)


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


def _why_not_bound(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port: {port} on {host} is in use; choose another with --port"
        case errno.EACCES:
            return f"port: {port} needs rights this process does not have; choose one above 1023 with --port"
        case _:
            return f"host: cannot listen on {host}: {error.strerror}"
