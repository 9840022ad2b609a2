"""Who counts as alive: whoever sends, and whoever is not read; not who is silent."""

import asyncio
import base64
import os
import random

import pytest
from helpers import PATIENCE_S, RATE, HeldEngine, pcm, serving, spoken, talking
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from streamasr.inference.worker import LocalBackend
from streamasr.server.protocol import SocketProtocol


@pytest.fixture
def missed(monkeypatch):
    """Counts the pongs that did not come; pings are frequent."""
    monkeypatch.setattr("streamasr.server.app.PING_INTERVAL_S", 0.02)
    monkeypatch.setattr("streamasr.server.app.PING_TIMEOUT_S", 0.05)
    count = asyncio.Semaphore(0)
    original = SocketProtocol.keepalive_timeout

    def counted(self) -> None:
        original(self)
        count.release()

    monkeypatch.setattr(SocketProtocol, "keepalive_timeout", counted)
    return count


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A session of a client that knows no pongs."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /v1/stream?sample_rate={RATE} HTTP/1.1\r\nHost: {address}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_silent_peer_is_gone(missed):
    async with serving() as server:
        reader, writer = await _open(server.address)
        async with asyncio.timeout(PATIENCE_S):
            assert b"keepalive ping timeout" in await reader.read()
        await server.left()
        writer.close()
        await writer.wait_closed()


async def test_a_peer_that_sends_is_alive(missed):
    frame = bytes([0x82, 0x80 | 2, 0, 0, 0, 0, 1, 0])  # one sample
    async with serving() as server:
        _, writer = await _open(server.address)
        for _ in range(4):
            sending = asyncio.create_task(missed.acquire())
            async with asyncio.timeout(PATIENCE_S):
                while not sending.done():
                    writer.write(frame)
                    await asyncio.wait((sending,), timeout=0.005)
        assert len(server.app.registry) == 1
        writer.close()
        await writer.wait_closed()


async def test_a_peer_that_is_not_read_is_not_blamed(missed):
    """Its pongs wait behind audio that the server does not take yet."""
    engine = HeldEngine()
    words = random.Random(0).choices(range(64), k=400)
    audio = b"".join(pcm(spoken(words[at : at + 20], lead=0)) for at in range(0, 400, 20))
    async with (
        serving(LocalBackend(lambda: engine)) as server,
        talking(server.url, sample_rate=RATE) as talk,
    ):
        sending = asyncio.create_task(talk.audio(audio, sizes=[64_000]))
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(4):
                await missed.acquire()
        engine.let.set()
        await sending
        await talk.say("stop")
        assert (await talk.to_the_end())[0] == 1000

    assert talk.words() == words


async def test_a_refusal_before_the_upgrade_is_no_error_of_ours(caplog):
    async with serving() as server:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{server.url}?encoding=mp3"):
                pass

    assert refused.value.response.status_code == 400
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
