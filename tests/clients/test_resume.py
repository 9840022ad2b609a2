"""streamasr_client against the real server: killed in the middle of a sentence, and started again."""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from difflib import SequenceMatcher

from streamasr import demo
from streamasr_client import Done, Final, Reconnected, Recording, Retry, connect, paced, read_wav

SECONDS = 20.0
SPEED = 8.0
KEY = "a key that both servers share, for their tokens"


async def serve(port: int) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "streamasr", "serve", "--model", "nano", "--port", str(port), "--signing-key", KEY]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    async for line in process.stdout:
        if re.search(rb"ws://", line):
            return process
    raise AssertionError("the server did not start")


@asynccontextmanager
async def mortal_server() -> AsyncIterator[tuple[str, list[asyncio.subprocess.Process]]]:
    """Yield an address and the processes that served it so far; the last one is stopped at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lives = [await serve(port)]
    try:
        yield f"http://127.0.0.1:{port}", lives
    finally:
        lives[-1].kill()
        await lives[-1].wait()


async def test_a_killed_server_costs_no_word():
    """Kill -9 between two words; the session goes on at the next process, with every promise kept."""
    whole = read_wav(demo.DATA / "demo.wav")
    recording = Recording(whole.data[: int(SECONDS * whole.bytes_per_second)], whole.sample_rate, whole.channels)
    retry = Retry(first_s=0.05, longest_s=0.2, attempts=200)
    async with mortal_server() as (url, lives):
        port = int(url.rpartition(":")[2])

        async def spoken() -> AsyncIterator[bytes]:
            sent = 0
            async for chunk in paced(recording, speed=SPEED):
                sent += len(chunk)
                yield chunk
                if sent > 0.5 * len(recording.data) and len(lives) == 1:
                    lives[0].kill()
                    await lives[0].wait()
                    lives.append(await serve(port))

        async with connect(url, check=True, retry=retry, language="en", **recording.settings) as stream:
            stream.feed(spoken())
            events = [event async for event in stream]

    (reconnected,) = [event for event in events if isinstance(event, Reconnected)]
    finals = [event for event in events if isinstance(event, Final)]
    done = events[-1]
    assert (reconnected.resumed, reconnected.offset, reconnected.missing) == (True, 0.0, 0.0)
    assert isinstance(done, Done)
    assert done.audio_seconds == SECONDS
    assert [final.utterance for final in finals] == list(range(done.utterances))
    said = [word.word for word in demo.read_truth(demo.DATA / "demo.json") if word.end <= SECONDS]
    heard = " ".join(final.text for final in finals).split()
    assert 0.85 * len(said) <= len(heard) <= 1.15 * len(said)
    assert SequenceMatcher(None, said, heard, autojunk=False).ratio() > 0.6
