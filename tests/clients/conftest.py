"""A server that says what a test tells it to, on a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve

SETTINGS = {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}


class Caller:
    """One connection, seen from the server: reads what the client says, says what the test wants."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.audio = b""
        self.start: dict = {}
        self.seq = 0

    async def frame(self) -> str | bytes:
        return await asyncio.wait_for(self.socket.recv(), 5)

    async def say(self, kind: str, **fields) -> None:
        await self.socket.send(json.dumps({"type": kind, "seq": self.seq, **fields}))
        self.seq += 1

    async def ready(self, audio_received: int = 0, **fields) -> dict:
        """Wait for the start and answer it; returns the start."""
        self.start = json.loads(await self.frame())
        assert self.start.pop("type") == "start"
        settings = SETTINGS | {k: v for k, v in self.start.items() if not k.startswith(("resume", "stable"))}
        await self.say(
            "ready",
            session="s",
            settings=settings,
            model={"name": "m"},
            audio_received=audio_received,
            **fields,
        )
        return self.start

    async def hear(self, count: int) -> bytes:
        """Wait for this many bytes of audio more; no message may come before them."""
        end = len(self.audio) + count
        while len(self.audio) < end:
            frame = await self.frame()
            assert not isinstance(frame, str), frame
            self.audio += frame
        assert len(self.audio) == end
        return self.audio[end - count :]

    async def message(self) -> dict:
        """Wait for a text frame; no audio may come before it."""
        frame = await self.frame()
        assert isinstance(frame, str), f"{len(frame)} bytes of audio"
        return json.loads(frame)

    async def utterance(self, number: int, start: float, end: float, text: str, token: str, **channel) -> None:
        """Say a whole utterance of which no word was seen before its final."""
        await self.say("speech_started", utterance=number, time=start, **channel)
        await self.end(number, start, end, text, token, **channel)

    async def end(self, number: int, start: float, end: float, text: str, token: str, **channel) -> None:
        await self.say("speech_ended", utterance=number, time=end, **channel)
        words = spread(text, start, end)
        await self.say(
            "final",
            utterance=number,
            text=text,
            words=words,
            language="en",
            start=start,
            end=end,
            reason="endpoint",
            resume=token,
            **channel,
        )

    async def partial(self, number: int, start: float, stable: str, unstable: str, **channel) -> None:
        words = spread(stable, start, start + 0.5)
        await self.say(
            "partial", utterance=number, start=start, stable=stable, unstable=unstable, words=words, **channel
        )

    async def done(self, audio_seconds: float, utterances: int) -> None:
        """Answer the client's stop."""
        assert await self.message() == {"type": "stop"}
        await self.say("done", audio_seconds=audio_seconds, utterances=utterances)

    def drop(self) -> None:
        """Cut the connection without a close frame."""
        self.socket.transport.abort()


def spread(text: str, start: float, end: float) -> list[dict]:
    """The words of a text, evenly between two times."""
    words = text.split()
    step = (end - start) / max(1, len(words))
    return [
        {"word": word, "start": start + i * step, "end": start + (i + 1) * step, "confidence": 0.9}
        for i, word in enumerate(words)
    ]


Script = Callable[[Caller], Awaitable[None]]


class ScriptedServer:
    """Each connection runs the next script; ``refusals`` are HTTP answers given before any upgrade."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.refusals: list[tuple[int, dict[str, str], str]] = []
        self.requests = []
        self.failures: list[BaseException] = []
        self.url = ""

    def then(self, script: Script) -> None:
        self.scripts.append(script)

    def request(self, socket: ServerConnection, request):
        self.requests.append(request)
        if not self.refusals:
            return None
        status, headers, body = self.refusals.pop(0)
        response = socket.respond(status, body)
        response.headers.update(headers)
        return response

    async def converse(self, socket: ServerConnection) -> None:
        try:
            await self.scripts.pop(0)(Caller(socket))
        except BaseException as failure:
            self.failures.append(failure)
            raise


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    scripted = ScriptedServer()
    async with serve(scripted.converse, "127.0.0.1", 0, process_request=scripted.request) as running:
        assert isinstance(running, Server)
        scripted.url = f"ws://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        yield scripted
    assert scripted.failures == []
    assert scripted.scripts == []
