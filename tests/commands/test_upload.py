"""The command line as a client of a running server: both ways at once, and one sentence for what goes wrong."""

import asyncio
import contextlib
import functools
import io
import random
import socket
import wave
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import PATIENCE_S, RATE, HeldEngine, pcm, serving, spoken

from streamasr import cli
from streamasr.commands.hearing import by_server
from streamasr.commands.inputs import find
from streamasr.commands.ledger import LEDGER
from streamasr.commands.upload import ServerAddress, upload
from streamasr.core.options import FileOptions
from streamasr.errors import ConfigError, InvalidSetting, MediaError, Refused, TooLarge, Unavailable
from streamasr.inference.worker import LocalBackend
from streamasr.wire.files import DoneMessage, FileRequest, SegmentMessage

WORDS = random.Random(5).sample(range(64), 30)
REQUEST = FileRequest(options=FileOptions())


def wav(words=WORDS) -> bytes:
    parts = [spoken(words[first : first + 10]) for first in range(0, len(words), 10)]
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(pcm(np.concatenate(parts)))
    return file.getvalue()


class Pipe(io.BytesIO):
    """Bytes whose number nobody knows."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_) -> int:
        raise OSError("a pipe")

    tell = seek


async def messages(url: str, file, request: FileRequest = REQUEST) -> list:
    async with asyncio.timeout(PATIENCE_S), aclosing(upload(ServerAddress(url), file, request)) as said:
        return [message async for message in said]


def heard(said) -> list[int]:
    return [int(word[1:]) for m in said if isinstance(m, SegmentMessage) for word in m.text.split()]


@asynccontextmanager
async def answering(answer: bytes, *, after: int = 1):
    """A server that reads so many bytes, says this and hangs up; its address."""

    async def serve(reader, writer):
        await reader.readexactly(after)
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe], ids=["of known size", "of unknown size"])
async def test_a_recording_is_sent_and_all_is_said(kind):
    async with serving() as server:
        said = await messages(server.http, kind(wav()))
        await server.left()

    assert heard(said) == WORDS
    assert isinstance(said[-1], DoneMessage)


async def test_what_is_asked_reaches_the_server():
    async with serving() as server:
        asked = FileRequest(options=FileOptions(language="de"), duration_s=5.0)
        said = await messages(server.http, io.BytesIO(wav()), asked)
        with pytest.raises(InvalidSetting, match="tones only transcribes") as raised:
            await messages(server.http, io.BytesIO(wav()), FileRequest(options=FileOptions(task="translate")))
    assert raised.value.field == "task"
    assert said[-1].language == "de"
    assert said[-1].duration == pytest.approx(5.0, abs=0.01)


async def test_a_recording_that_is_no_audio_or_too_large_is_its_own_fault():
    async with serving(max_file_bytes=100_000) as server:
        with pytest.raises(MediaError, match="not audio"):
            await messages(server.http, io.BytesIO(b"plain text" * 100))
        with pytest.raises(TooLarge, match="100000"):
            await messages(server.http, io.BytesIO(wav()))


async def test_a_recording_that_changes_while_it_is_sent_is_its_own_fault():
    class Shrinking(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            return super().read(size)[:1000] if self.tell() < 1000 else b""

    async with serving() as server:
        with pytest.raises(MediaError, match="changed while it was sent"):
            await messages(server.http, Shrinking(wav()))


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(5, "Input/output error"), "cannot be read: Input/output error"), (MediaError("gone"), "gone")],
)
async def test_a_recording_that_cannot_be_read_to_its_end_is_its_own_fault(error, expected):
    class Failing(Pipe):
        def read(self, size: int = -1) -> bytes:
            if data := super().read(1_000 if size > 1_000 else 0):
                self.read = self.fail
            return data

        def fail(self, size: int = -1) -> bytes:
            raise error

    async with serving() as server:
        with pytest.raises(MediaError, match=expected):
            await messages(server.http, Failing(wav()))


async def test_leaving_frees_the_place_on_the_server():
    engine = HeldEngine()
    async with serving(LocalBackend(lambda: engine)) as server:
        leaving = asyncio.create_task(messages(server.http, io.BytesIO(wav())))
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await server.left()
        engine.let.set()


async def test_a_server_that_is_not_there_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(Unavailable, match=rf"^http://127\.0\.0\.1:{port} cannot be reached \(connection refused\)"):
        await messages(f"http://127.0.0.1:{port}", io.BytesIO(wav()))
    with pytest.raises(Unavailable, match=r"^http://host\.invalid cannot be reached"):
        await messages("http://host.invalid", io.BytesIO(wav()))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n", "closed the connection"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", "HTTP status 404: is it a streamasr server?"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<html>\n", "does not answer as a streamasr server"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "closed the connection before it had said all"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n{"type":"progress","done":1.0,"read":1.0}\n',
            "closed the connection before it had said all",
        ),
    ],
)
async def test_what_is_no_server_of_ours_or_goes_away_is_one_sentence(answer, expected):
    async with answering(answer) as url:
        with pytest.raises(Unavailable, match=expected.replace("?", r"\?")):
            await messages(url, io.BytesIO(wav()))


async def test_a_refusal_is_heard_although_the_recording_is_still_being_sent():
    body = b'{"type":"error","code":"overloaded","message":"no room","fatal":true,"retry_after":7}'
    head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with answering(head + body, after=50_000) as url:
        with pytest.raises(Refused, match="no room; try again in 7 s") as raised:
            await messages(url, io.BytesIO(wav()))
    assert raised.value.retry_after_s == 7


async def test_a_server_without_room_is_asked_again_when_it_says_and_that_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("streamasr.server.files.BUSY_RETRY_S", 0.02)
    engine = HeldEngine()
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(WORDS[:5]))
    (recording,) = find([str(path)], None).recordings
    async with (
        asyncio.timeout(PATIENCE_S),
        serving(LocalBackend(lambda: engine), max_files=1) as server,
        by_server(ServerAddress(server.http), REQUEST) as hear,
    ):
        first = asyncio.create_task(messages(server.http, io.BytesIO(wav())))
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        refusals = []
        check = server.app.registry.not_ready
        monkeypatch.setattr(server.app.registry, "not_ready", lambda: refusals.append(1) or check())
        second = asyncio.create_task(_all(hear(recording)))
        while len(refusals) < 3:
            await asyncio.to_thread(lambda: None)
        engine.let.set()

        assert heard(await first) == WORDS
        assert heard(await second) == WORDS[:5]
    told = capsys.readouterr().err.splitlines()
    refused = f"{server.http} refuses: all places for recordings are taken (1); trying again in 0.02 s"
    assert len(told) >= 2
    assert set(told) == {f"streamasr: {path}: {refused}"}


async def test_what_lies_elsewhere_is_fetched_here_and_sent_on():
    import fsspec

    with fsspec.open("memory://talks/a.wav", "wb") as file:
        file.write(wav(WORDS[:6]))
    there, missing = find(["memory://talks/a.wav", "memory://talks/b.wav"], None).recordings
    async with serving() as server, by_server(ServerAddress(server.http), REQUEST) as hear:
        assert heard(await _all(hear(there))) == WORDS[:6]
        with pytest.raises(MediaError, match="does not exist"):
            await _all(hear(missing))


async def _all(said) -> list:
    return [message async for message in said]


@pytest.mark.parametrize("text", ["localhost:8765", "ws://localhost", "http://", "http://x:port", "here"])
def test_what_is_no_address_is_one_sentence(text):
    with pytest.raises(ConfigError, match="--server: expected an address"):
        ServerAddress(text)


def test_an_address_may_have_a_path():
    address = ServerAddress("https://host/asr/")

    assert (address.host, address.port, address.tls, address.authority) == ("host", 443, True, "host")
    request = FileRequest(options=FileOptions(prompt="a&b"), offset_s=2.0)
    assert address.target(request) == "/asr/v1/transcribe?prompt=a%26b&offset=2.0"


async def test_the_command_writes_what_the_server_says(tmp_path, capsys):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.wav").write_bytes(wav(WORDS[:8]))
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    async with serving() as server:
        command = ["transcribe", str(tmp_path), "--server", server.http, "--format", "text,srt"]
        code = await asyncio.to_thread(functools.partial(cli.main, command))

    assert code == 1
    text = await asyncio.to_thread(Path(tmp_path / "a.txt").read_text)
    assert [int(word[1:]) for word in text.split()] == WORDS[:8]
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}.{suffix}" for name in "abc" for suffix in ("wav", "txt", "srt")),
        "bad.wav",
        LEDGER,
    }
    assert "bad.wav: the recording is not audio" in capsys.readouterr().err
