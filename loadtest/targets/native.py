"""streamasr's own protocol, on a bare WebSocket: what a stream costs the tool is as little as can be.

Reads only what is measured; the promises that it cannot see are checked after the streams have ended.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from loadtest.targets import Heard, TargetError, TargetOptions
from streamasr.bench.scoring import TimedWord

SAMPLE_RATE = 16_000
PATH = "/v1/stream"
OPEN_S = 30.0
CLOCK_S = 0.01


class _Said(msgspec.Struct, frozen=True):
    """An event of the server: the fields that are used here."""

    type: str
    utterance: int = -1
    stable: str = ""
    unstable: str = ""
    text: str = ""
    words: tuple[TimedWord, ...] = ()
    code: str = ""
    message: str = ""
    fatal: bool = False
    audio_seconds: float = 0.0
    retry_after: float | None = None


_decode = msgspec.json.Decoder(_Said).decode


class Native:
    """One session."""

    def __init__(self, options: TargetOptions) -> None:
        self._options = options
        self._socket: ClientConnection | None = None
        self._sent = 0
        self._over = asyncio.Event()

    async def open(self) -> None:
        """Connect and start; audio may be sent once the server is ready."""
        options = self._options
        headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
        start = {"type": "start", "sample_rate": SAMPLE_RATE, "language": options.language}
        if options.endpointing_ms is not None:
            start["endpointing_ms"] = options.endpointing_ms
        if options.preflight:
            start["preflight"] = True
        try:
            async with asyncio.timeout(OPEN_S):
                self._socket = await connect(
                    _complete(options.url),
                    additional_headers=headers,
                    compression=None,
                    max_queue=None,
                    max_size=None,
                    ping_interval=None,
                    proxy=None,
                )
                await self._socket.send(json.dumps(start))
                said = _decode(await self._socket.recv())
        except InvalidStatus as error:
            raise _refused(error) from error
        except TimeoutError as error:
            raise TargetError(f"no session at {options.url} in {OPEN_S:g} s", code="connect", refused=True) from error
        except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            raise TargetError(f"no session at {options.url}: {error}", code="connect", refused=True) from error
        if said.type != "ready":
            raise TargetError(said.message, code=said.code, refused=True, retry_after_s=said.retry_after)

    async def send(self, pcm: bytes) -> None:
        """Send audio."""
        self._sent += len(pcm)
        await self._push(pcm)

    async def flush(self) -> None:
        """Have what was sent made final."""
        await self._push('{"type":"flush"}')

    async def finish(self) -> None:
        """Stop, and wait for ``done``."""
        await self._push('{"type":"stop"}')
        await self._over.wait()

    async def events(self) -> AsyncIterator[Heard]:
        """What the server says, up to ``done``."""
        try:
            async for message in self._connected():
                said = _decode(message)
                if (heard := _heard(said)) is not None:
                    yield heard
                elif said.type == "done":
                    self._check(said)
                    return
                elif said.type in ("error", "warning"):
                    raise TargetError(said.message, code=said.code, retry_after_s=said.retry_after)
            raise TargetError("the connection was closed before done", code="closed")
        except ConnectionClosed as closed:
            raise TargetError(f"the connection was lost: {closed}", code="closed") from closed
        finally:
            self._over.set()

    async def close(self) -> None:
        """Give up."""
        self._over.set()
        if self._socket is not None:
            await self._socket.close()

    def _check(self, done: _Said) -> None:
        sent = self._sent / 2 / SAMPLE_RATE
        if abs(done.audio_seconds - sent) > CLOCK_S:
            raise TargetError(f"the server heard {done.audio_seconds} s of {sent:.2f} s", code="audio_lost")

    def _connected(self) -> ClientConnection:
        if self._socket is None:
            raise RuntimeError("open comes first")
        return self._socket

    async def _push(self, message: bytes | str) -> None:
        with suppress(ConnectionClosed):  # whoever reads the events is told
            await self._connected().send(message)


def _heard(said: _Said) -> Heard | None:
    """What is measured of an event; None: nothing."""
    match said.type:
        case "partial":
            return Heard(kind="partial", utterance=said.utterance, stable=said.stable, unstable=said.unstable)
        case "final":
            return Heard(kind="final", utterance=said.utterance, stable=said.text, words=said.words)
        case "preflight":
            return Heard(kind="preflight", utterance=said.utterance, unstable=said.text)
        case "speech_resumed":
            return Heard(kind="speech_resumed", utterance=said.utterance)
        case "speech_ended":
            return Heard(kind="speech_ended", utterance=said.utterance)
    return None


def _refused(refusal: InvalidStatus) -> TargetError:
    """The server's own words for an HTTP answer in place of a session."""
    response = refusal.response
    after = response.headers.get("Retry-After", "")
    try:
        said = _decode(response.body or b"")
    except msgspec.DecodeError:  # not our server, or a proxy before it: then the status tells
        said = _Said("error", message=f"the server answered {response.status_code}", code=str(response.status_code))
    seconds = float(after) if after.isdigit() else None
    return TargetError(said.message, code=said.code, refused=True, retry_after_s=seconds)


def _complete(url: str) -> str:
    """A WebSocket's address of a base URL."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit(parts._replace(scheme=scheme, path=PATH if parts.path in ("", "/") else parts.path))
