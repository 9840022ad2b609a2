"""One WebSocket to a service, whatever its dialect. All I/O of the foreign targets is here; knows no message."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidHandshake, InvalidStatus

from loadtest.targets import Heard, TargetError
from loadtest.targets.dialect import Dialect, Message

OPEN_S = 30.0
"""A service that loads a model for its client takes its time."""
FINISH_S = 30.0
"""Seconds after the last audio within which a service must have said everything."""


class SocketTarget:
    """A target (``loadtest.targets.Target``) that speaks a dialect over one WebSocket."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._socket: ClientConnection | None = None
        self._early: list[Heard] = []
        self._over = asyncio.Event()
        self._finishing = False
        self._late = False

    async def open(self) -> None:
        """Connect, and wait until audio may be sent.

        Raises:
            TargetError: the service refused, or was not ready in ``OPEN_S`` seconds.
        """
        try:
            async with asyncio.timeout(OPEN_S):
                await self._connect()
        except InvalidStatus as error:
            raise _refusal(error) from error
        except TimeoutError as error:
            await self.close()
            raise TargetError(f"the service was not ready within {OPEN_S:.0f} s", code="late", refused=True) from error
        except ConnectionClosed as error:
            raise _ended(error, refused=True) from error
        except (OSError, InvalidHandshake) as error:
            raise TargetError(f"cannot connect: {error}", code="connect", refused=True) from error
        except TargetError as error:
            await self.close()
            raise TargetError(str(error), code=error.code, refused=True) from error

    async def send(self, pcm: bytes) -> None:
        """Send 16 kHz s16le mono audio. A connection that was lost is not an error here but in ``events``."""
        await self._write(self._dialect.audio(pcm))

    async def flush(self) -> None:
        """Tell that speech has ended, if the wire has a message for it and the caller decides that."""
        await self._write(self._dialect.flush())

    async def finish(self) -> None:
        """Say that no audio follows; returns when ``events`` has ended, after ``FINISH_S`` seconds at the latest."""
        self._finishing = True
        await self._write(self._dialect.finish())
        if self._dialect.done:
            await self.close()
        try:
            async with asyncio.timeout(FINISH_S):
                await self._over.wait()
        except TimeoutError:
            self._late = True  # ``events`` says so
            await self.close()

    async def events(self) -> AsyncIterator[Heard]:
        """What the service says, as it arrives; ends with the connection.

        Raises:
            TargetError: the service reported an error, or went away before it had said everything.
        """
        try:
            for heard in self._early:
                yield heard
            async for message in self._connection:
                for heard in await self._read(message):
                    yield heard
                if self._dialect.done:
                    await self.close()
            if not self._finishing:
                raise TargetError("the service closed the connection in the middle of the audio", code="closed")
            self._in_time()
            for heard in self._dialect.closed():
                yield heard
        except ConnectionClosedError as error:
            self._in_time()
            raise _ended(error) from error
        finally:
            self._over.set()
            await self.close()

    async def close(self) -> None:
        """Give up at once; after ``finish`` too."""
        if self._socket is not None:
            await self._socket.close()

    async def _connect(self) -> None:
        dialect = self._dialect
        self._socket = await connect(
            dialect.url,
            additional_headers=dict(dialect.headers),
            compression=None,
            max_size=None,
            open_timeout=None,  # ``OPEN_S`` bounds all of it
            ping_interval=None,  # how patient a client would be is not what is measured
            close_timeout=1.0,
        )
        await self._write(dialect.opened())
        while not dialect.ready:
            self._early += await self._read(await self._socket.recv())

    def _in_time(self) -> None:
        if self._late:
            raise TargetError(f"the service had not said everything {FINISH_S:.0f} s after the last audio", code="late")

    @property
    def _connection(self) -> ClientConnection:
        if self._socket is None:
            raise TargetError("the target was not opened")
        return self._socket

    async def _write(self, messages: tuple[Message, ...]) -> None:
        with contextlib.suppress(ConnectionClosed):  # ``events`` tells why
            for message in messages:
                await self._connection.send(message)

    async def _read(self, message: Message) -> tuple[Heard, ...]:
        try:
            reaction = self._dialect.receive(message)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise TargetError(
                f"the service sent what its wire does not know: {message[:200]!r}", code="protocol"
            ) from error
        await self._write(reaction.answers)
        return reaction.heard


def _refusal(error: InvalidStatus) -> TargetError:
    """From an answer other than 101."""
    response = error.response
    after = response.headers.get("Retry-After", "")
    said = f"HTTP {response.status_code} {response.body.decode(errors='replace')[:200]}".strip()
    wait = float(after) if after.isdecimal() else None
    return TargetError(said, code=str(response.status_code), refused=True, retry_after_s=wait)


def _ended(closed: ConnectionClosed, *, refused: bool = False) -> TargetError:
    if closed.rcvd is None:
        return TargetError("the service went away without closing the connection", code="closed", refused=refused)
    said = f"the service closed the connection: {closed.rcvd.code} {closed.rcvd.reason}".strip()
    return TargetError(said, code=str(closed.rcvd.code), refused=refused)
