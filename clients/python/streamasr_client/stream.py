"""The shell: one stream to a server over as many connections as it takes.

One task owns the socket: it connects, replays what the last connection left open, reads events, and connects
again when the connection is lost. Everybody else only sends, or waits for an answer. What is said and what it
means is decided in ``conversation``; here are the sockets, the deadlines and the order of things.
"""

import asyncio
import random
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .conversation import Conversation, Key
from .dial import Dialer, LostError, Timeouts, why
from .errors import ClosedError, ConnectError, NoReplyError, ServerError, StreamError
from .events import Done, Event, Failed, Final, Flushed, Id, Ready, Unknown, Updated
from .wav import paced, read_wav

SETTLED_S = 30.0
"""A connection that lived this long was a good one: the attempts count from 1 again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How to reconnect: exponential back-off with jitter."""

    attempts: int = 10
    """In a row without progress (a final, or half a minute of life); 0: never reconnect."""
    first_s: float = 0.2
    longest_s: float = 10.0
    keep_bytes: int = 32 * 1024 * 1024
    """Audio kept at most, enough for 17 minutes of 16 kHz audio without a final; older audio becomes silence."""

    def delay_s(self, attempt: int) -> float:
        """Seconds before the given attempt (from 1): half of it fixed, half of it chance."""
        most: float = min(self.longest_s, self.first_s * 2.0 ** (attempt - 1))
        return most * (0.5 + 0.5 * random.random())


@asynccontextmanager
async def connect(
    url: str,
    *,
    token: str | None = None,
    check: bool = False,
    retry: Retry | None = None,
    timeouts: Timeouts | None = None,
    **settings: Any,
) -> AsyncIterator["Stream"]:
    """Open a stream, for ``async with``.

    ``url`` may be the server's base URL (``http`` and ``https`` mean ``ws`` and ``wss``); without a path it is
    ``/v1/stream``. ``settings`` are those of the protocol's ``start``. ``token`` is sent as a bearer token. With
    ``check`` every promise of the protocol is checked, and ``ProtocolError`` raised where one is broken.
    Leaving the block without ``stop`` gives up what is not yet final.

    Raises:
        ConnectError: the server cannot be reached.
        ServerError: it refuses the session; ``code`` says why.

    """
    retry = retry or Retry()
    conversation = Conversation(settings, check=check, keep_bytes=retry.keep_bytes)
    stream = Stream(Dialer(url, token, timeouts or Timeouts()), conversation, retry)
    try:
        await stream.opened()
        yield stream
    finally:
        await stream.close()


async def stream_wav(url: str, path: str | Path, *, realtime: bool = True, **options: Any) -> AsyncIterator[Event]:
    """Stream a 16-bit WAV file and yield all events up to ``Done``; ``options`` are those of ``connect``."""
    recording = read_wav(path)
    async with connect(url, **recording.settings, **options) as stream:
        stream.feed(paced(recording, speed=1.0 if realtime else None))
        async for event in stream:
            yield event


class Stream:
    """A session: send audio, iterate over its events. Made by ``connect``.

    One task may iterate while others send. The iteration ends after ``Done`` or ``close``, and raises what ended
    the session otherwise. Events wait in an unbounded queue: to drop one would break the protocol's promises.
    """

    ready: Ready
    """The session as the server opened it: its id, model, and all settings in effect."""

    def __init__(self, dialer: Dialer, conversation: Conversation, retry: Retry) -> None:
        self._dialer = dialer
        self._conversation = conversation
        self._retry = retry
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._answers: dict[Key, asyncio.Future[Any]] = {}
        self._socket: ClientConnection | None = None  # while it may be sent to
        self._live = asyncio.Event()  # the socket may be sent to, or all is over
        self._error: Exception | None = None
        self._over = False
        self._stopping = False
        self._up = False  # this connection was ready
        self._progress = False  # and brought a final
        self._flushes = 0
        self._feeding: asyncio.Task[None] | None = None
        self._owner = asyncio.create_task(self._run())

    async def send(self, audio: bytes | bytearray | memoryview) -> None:
        """Send audio: raw bytes of any length. While the connection is being restored this waits.

        Raises:
            ClosedError: after ``stop`` or ``close``.
            StreamError: what ended the session.

        """
        if self._stopping:
            raise ClosedError("no audio can be sent after stop")
        socket = await self._connected()
        self._conversation.sending(audio)
        await _push(socket, bytes(audio))

    def feed(self, chunks: AsyncIterable[bytes]) -> None:
        """Send all chunks in the background, then stop; whatever goes wrong with them ends the iteration."""
        if self._feeding is not None:
            raise ValueError("the stream is being fed already")
        self._feeding = asyncio.create_task(self._feed(chunks))

    async def flush(self, id: Id = None) -> Flushed:  # noqa: A002 - the protocol's name
        """Have everything sent so far made final, and wait until it is. Without an id one is made up."""
        if id is None:
            self._flushes += 1
            id = f"flush-{self._flushes}"  # noqa: A001
        answer: Flushed = await self._ask(("flush", id), {"type": "flush", "id": id})
        return answer

    async def update(self, **changes: Any) -> Updated:
        """Change settings midway; ``ServerError`` if the server refuses, and nothing is changed."""
        answer: Updated = await self._ask(("update", None), {"type": "update", **changes})
        return answer

    async def stop(self) -> Done:
        """Have everything made final and end the session; its events can still be iterated over."""
        if self._stopping:
            raise ClosedError("the stream was stopped already")
        self._stopping = True
        answer: Done = await self._ask(("stop", None), {"type": "stop"})
        return answer

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = None if self._over and self._events.empty() else await self._events.get()
        if event is not None:
            return event
        if self._error is not None and not isinstance(self._error, ClosedError):
            raise self._error
        raise StopAsyncIteration

    async def opened(self) -> None:
        """Wait until the session is open; raises why it could not be."""
        await self._live.wait()
        if self._error is not None and not self._conversation.begun:
            raise self._error

    async def close(self) -> None:
        """Give up the session without waiting for anything; done by leaving the ``async with`` block."""
        self._end(ClosedError("the stream was closed"))
        tasks = [task for task in (self._feeding, self._owner) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self) -> ClientConnection:
        while self._socket is None and not self._over:  # not `if`: it may be lost again before this task runs
            await self._live.wait()
        if self._error is not None:
            raise self._error
        if self._socket is None or self._over:
            raise ClosedError("the session has ended")
        return self._socket

    async def _ask(self, key: Key, message: dict[str, Any]) -> Any:
        try:
            async with asyncio.timeout(self._dialer.timeouts.reply_s):
                socket = await self._connected()
                if key in self._answers:
                    raise ValueError(f"{key[0]} {key[1] or ''} still waits for its answer")
                self._answers[key] = answer = asyncio.get_running_loop().create_future()
                await _push(socket, self._conversation.asking(key, message))
                return await answer
        except TimeoutError as error:
            raise NoReplyError(f"no answer to {key[0]} in {self._dialer.timeouts.reply_s:g} s") from error

    async def _feed(self, chunks: AsyncIterable[bytes]) -> None:
        try:
            async for chunk in chunks:
                await self.send(chunk)
            await self.stop()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised to who iterates
            self._end(error)

    # What follows runs in the task that owns the socket.

    async def _run(self) -> None:
        try:
            await self._stay_connected()
            self._end(None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised to everybody who waits
            self._end(error)

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        attempt, dials, reason = 0, 0, ""
        while not self._conversation.over:
            began_at = loop.time()
            self._up = self._progress = False
            try:
                async with self._dialer.connection() as socket:
                    await self._converse(socket, reason, dials)
            except LostError as lost:
                settled = self._progress or loop.time() - began_at > SETTLED_S
                attempt = 1 if settled else attempt + 1
                if not self._conversation.begun or attempt > self._retry.attempts:
                    raise self._given_up(lost) from lost
                dials, reason = (1, lost.reason) if self._up else (dials + 1, reason)
                await asyncio.sleep(max(lost.retry_after_s, self._retry.delay_s(attempt)))

    async def _converse(self, socket: ClientConnection, reason: str, dials: int) -> None:
        """One connection, from ``start`` to its end; returns after ``done``."""
        replaying: asyncio.Task[None] | None = None
        try:
            await socket.send(self._conversation.start())
            ready = await self._ready(socket, reason, dials)
            replaying = asyncio.create_task(self._replay(socket, ready))
            while not self._conversation.over:
                self._receive(await socket.recv())
        except ConnectionClosed as closed:
            raise why(closed) from closed
        finally:
            self._socket = None
            self._live.clear()
            if replaying is not None:
                replaying.cancel()
                await asyncio.gather(replaying, return_exceptions=True)

    async def _ready(self, socket: ClientConnection, reason: str, dials: int) -> Ready:
        try:
            async with asyncio.timeout(self._dialer.timeouts.ready_s):
                while True:
                    answer = self._conversation.ready(await socket.recv(), reason, dials)
                    if answer is not None:
                        self._up = True
                        self.ready, event = answer
                        self._events.put_nowait(event)
                        return self.ready
        except TimeoutError as error:
            raise LostError(f"not ready in {self._dialer.timeouts.ready_s:g} s") from error

    async def _replay(self, socket: ClientConnection, ready: Ready) -> None:
        """Send what the last connection left open; then the others may send again."""
        with suppress(ConnectionClosed):  # the owner sees it too
            for message in self._conversation.replay(ready):
                await socket.send(message)
            self._socket = socket
            self._live.set()

    def _receive(self, text: str | bytes) -> None:
        event, key = self._conversation.receive(text)
        refused = isinstance(event, Failed) and key is not None
        self._progress = self._progress or isinstance(event, Final)
        if key is not None:
            self._answer(key, event)
        if not refused and not isinstance(event, Unknown):
            self._events.put_nowait(event)

    def _answer(self, key: Key, event: Event) -> None:
        answer = self._answers.pop(key)
        if answer.done():  # who asked has gone
            return
        if isinstance(event, Failed):
            answer.set_exception(ServerError(event.code, event.message, field=event.field))
        else:
            answer.set_result(event)

    def _given_up(self, lost: LostError) -> StreamError:
        if lost.code is not None:
            return ServerError(lost.code, lost.reason, retry_after_s=lost.retry_after_s)
        what = "lost the connection to" if self._conversation.begun else "cannot reach"
        return ConnectError(f"{what} {self._dialer.url}: {lost.reason}")

    def _end(self, error: Exception | None) -> None:
        """Nothing more will come: wake whoever waits. Only the first end counts."""
        if self._over:
            return
        self._over, self._error = True, error
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error or ClosedError("the session has ended"))
        self._events.put_nowait(None)
        self._live.set()


async def _push(socket: ClientConnection, message: str | bytes) -> None:
    with suppress(ConnectionClosed):  # the owner sees it too; what is sent was kept before, and is replayed
        await socket.send(message)
