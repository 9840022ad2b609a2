"""A real server on tones, and a client that checks every promise of the protocol while it reads."""

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streamasr.core.events import Hypothesis, Window
from streamasr.errors import WindowFailed
from streamasr.inference.backend import Backend
from streamasr.inference.fake import ToneCodeEngine, ToneVad, tone_words
from streamasr.inference.loading import Loaded, Loading, ModelSource
from streamasr.inference.models import STOCK_GUARDS, ModelEntry
from streamasr.inference.scorer import VadSource
from streamasr.inference.worker import LocalBackend
from streamasr.ops.config import Settings
from streamasr.server.app import App, Server, bind
from streamasr.server.stats import Stats

PATIENCE_S = 20.0
"""How long a test waits for an event before it has failed."""
RATE = 16_000

TONE_MODEL = ModelEntry(
    name="tones",
    path=Path(),
    languages=("en", "de"),
    multilingual=True,
    translates=False,
    n_mels=80,
    encoder_floor_s=0.0,
    encoder_margin_s=0.0,
    longest_window_s=10.0,
    guards=STOCK_GUARDS,
    measured=False,
)


def tone_app(backend: Backend | None = None, vad: VadSource | None = None, **settings: Any) -> App:
    """The real app, hearing tones; on a free port of loopback. However busy this machine is, it refuses nobody."""
    wanted = Settings(**{"port": 0, "admission": "off", **settings})
    stats = Stats(time.monotonic(), wanted.min_headroom)
    loaded = Loaded(model=TONE_MODEL, backend=backend or LocalBackend(ToneCodeEngine, observer=stats.batch))
    return App(wanted, having(loaded), lambda: vad or ToneVad(), stats=stats)


def having(loaded: Loaded) -> ModelSource:
    """Where a model comes from that is already there."""

    async def source(_: Loading) -> Loaded:
        return loaded

    return source


class HeldEngine(ToneCodeEngine):
    """Works only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.asked = threading.Event()

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """As its parent, when it is let."""
        self.asked.set()
        self.let.wait(PATIENCE_S)
        return super().transcribe(batch)


class Running:
    """A server of ``serving``: its app, its uvicorn and its addresses."""

    def __init__(self, app: App, server: Server, port: int) -> None:
        self.app = app
        self.server = server
        self.address = f"127.0.0.1:{port}"
        self.url = f"ws://{self.address}/v1/stream"
        self.http = f"http://{self.address}"

    async def left(self, present: int = 0) -> None:
        """Wait until all connections but so many have been left and freed."""
        async with asyncio.timeout(PATIENCE_S):
            await self.app.registry.at_most(present)


@contextlib.asynccontextmanager
async def serving(
    backend: Backend | None = None, vad: VadSource | None = None, **settings: Any
) -> AsyncIterator[Running]:
    """A real server in this event loop, ready; ended by draining."""
    app = tone_app(backend, vad, **settings)
    listener = bind(app.settings)
    ready = asyncio.Event()
    server = Server(app, ready.set)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    async with asyncio.timeout(PATIENCE_S):
        await ready.wait()
    try:
        yield Running(app, server, listener.getsockname()[1])
    finally:
        if not app.registry.draining:
            server.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task


class Talk:
    """A client. Everything it reads is kept in ``events`` and checked."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.events: list[dict[str, Any]] = []
        self._checks: dict[int, _Utterances] = {}

    async def say(self, type: str, **fields: Any) -> None:  # noqa: A002
        """Send a message."""
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def audio(self, data: bytes, sizes: Iterable[int] = (3_200,)) -> None:
        """Send audio in frames of ``sizes``, the last of which repeats."""
        rest = iter(sizes)
        size, at = 3_200, 0
        while at < len(data):
            size = next(rest, size)
            await self.socket.send(data[at : at + size])
            at += size

    async def read(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(PATIENCE_S):
            event: dict[str, Any] = json.loads(await self.socket.recv())
        assert event["seq"] == len(self.events)
        self.events.append(event)
        self._checks.setdefault(event.get("channel", 0), _Utterances()).check(event)
        return event

    async def until(self, type: str) -> dict[str, Any]:  # noqa: A002
        """Read up to the next event of this type."""
        while (event := await self.read())["type"] != type:
            pass
        return event

    async def to_the_end(self) -> tuple[int, str]:
        """Read until the server closes; its close code and reason."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.read()
        return self.socket.close_code or 0, self.socket.close_reason or ""

    def of(self, type: str, channel: int | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """The events of a type so far."""
        return [e for e in self.events if e["type"] == type and e.get("channel") == channel]

    def words(self, channel: int | None = None) -> list[int]:
        """The tone words of all finals so far."""
        return [int(word[1:]) for final in self.of("final", channel) for word in final["text"].split()]


class _Utterances:
    """What the protocol promises of one channel's events."""

    def __init__(self) -> None:
        self.open: int | None = None
        self.next = 0
        self.stable = ""
        self.ended = False
        self.last_end = 0.0

    def check(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "speech_started":
            assert self.open is None
            assert event["utterance"] >= self.next
            self.open, self.stable, self.ended = event["utterance"], "", False
        elif "utterance" in event:
            assert event["utterance"] == self.open
        if kind == "partial":
            assert not self.ended
            assert event["stable"].startswith(self.stable)
            self.stable = event["stable"]
        elif kind == "speech_ended":
            assert not self.ended
            self.ended = True
        elif kind == "final":
            assert self.ended
            assert event["text"].startswith(self.stable)
            assert self.last_end <= event["start"] <= event["end"]
            assert event["text"].split() == [word["word"] for word in event["words"]]
            self.open, self.next, self.last_end = None, event["utterance"] + 1, event["end"]


@contextlib.asynccontextmanager
async def talking(url: str, **start: Any) -> AsyncIterator[Talk]:
    """A connection; with settings it begins with that start message."""
    async with connect(url, compression=None, max_size=None, ping_interval=None) as socket:
        talk = Talk(socket)
        if start:
            await talk.say("start", **start)
        yield talk


@contextlib.asynccontextmanager
async def neighbour(server: Running) -> AsyncIterator[None]:
    """A session that is in the middle of an utterance while the block runs, and must get all its words."""
    words = random.Random(7).sample(range(64), 16)
    speech = pcm(spoken(words))
    half = len(speech) // 2
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(speech[:half])
        await talk.until("speech_started")
        yield
        await talk.audio(speech[half:])
        await talk.say("stop")
        assert await talk.to_the_end() == (1000, "")
    assert talk.words() == words
    assert not talk.of("error")
    assert not talk.of("warning")


def pcm(samples: np.ndarray) -> bytes:
    """Mono or (channels, n) float audio as interleaved pcm_s16le."""
    return (samples.T * 32767).astype("<i2").tobytes()


def spoken(ids: Sequence[int], *, lead: int = RATE // 2, tail: int = RATE, rate: int = RATE) -> np.ndarray:
    """Words between half a second and a second of silence, enough for an endpoint."""
    return tone_words(ids, lead=lead, tail=tail, sample_rate=rate)
