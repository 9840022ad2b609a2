"""The truth client against a scripted server: it paces the audio, and times and keeps what comes back."""

import json
from contextlib import asynccontextmanager

import numpy as np
import pytest
from websockets.asyncio.server import serve

from benchmarks.streaming import TruthError, stream
from streamasr.bench.scoring import TimedWord
from streamasr_client import StreamError

READY = {
    "type": "ready",
    "session": "s",
    "settings": {"channels": 1, "interim_results": True, "word_timestamps": True, "preflight": False},
    "model": {"name": "scripted"},
    "audio_received": 0,
}
WORD = {"word": "Hi.", "start": 0.125, "end": 0.25, "confidence": 0.5}
UTTERANCE = [
    {"type": "speech_started", "utterance": 0, "time": 0.125},
    {"type": "partial", "utterance": 0, "start": 0.125, "stable": "", "unstable": "Hi", "words": []},
    {"type": "speech_ended", "utterance": 0, "time": 0.25},
    {
        "type": "final",
        "utterance": 0,
        "text": "Hi.",
        "words": [WORD],
        "language": "en",
        "start": 0.125,
        "end": 0.25,
        "reason": "endpoint",
        "resume": "t",
    },
]


@asynccontextmanager
async def scripted(after_s, events, audio_seconds=None):
    """A server that sends ``events`` after so much audio; yields its URL and what it received."""
    received = {"starts": [], "audio": b""}

    async def session(socket):
        pending, seq = list(events), 0

        async def say(event):
            nonlocal seq
            await socket.send(json.dumps({**event, "seq": seq}))
            seq += 1

        async for message in socket:
            if isinstance(message, bytes):
                received["audio"] += message
                if pending and len(received["audio"]) >= after_s * 32_000:
                    for event in pending:
                        await say(event)
                    pending = []
                continue
            told = json.loads(message)
            if told["type"] == "start":
                received["starts"].append(told)
                await say(READY)
            else:
                seconds = len(received["audio"]) / 32_000 if audio_seconds is None else audio_seconds
                await say({"type": "done", "audio_seconds": seconds, "utterances": len(events) // 4})
                return

    async with serve(session, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/stream", received


async def test_a_recording_and_its_tail_arrive_whole_and_what_comes_back_is_kept():
    pcm = np.arange(-4_000, 4_000, dtype=np.int16)
    async with scripted(0.5, UTTERANCE) as (url, received):
        got = await stream(url, pcm, "de", speed=50.0, tail_s=0.25)

    assert received["starts"][0]["language"] == "de"
    assert np.frombuffer(received["audio"], "<i2").tolist() == [*pcm.tolist(), *([0] * 4_000)]
    partial, final = got.log
    assert (partial.stable, partial.unstable, partial.final) == ("", "Hi", False)
    assert (final.stable, final.final, final.words) == ("Hi.", True, (TimedWord("Hi.", 0.125, 0.25),))
    assert got.text == "Hi."
    assert len(got.final_waits) == 1


async def test_arrivals_are_timed_on_the_audios_clock():
    """What the server says on hearing 0.2 s of audio cannot arrive before second 0.2, nor much later."""
    async with scripted(0.2, UTTERANCE) as (url, _):
        got = await stream(url, np.zeros(8_000, np.int16), "en", tail_s=0.0)

    assert 0.2 <= got.log[0].at < 0.4
    assert 0.0 <= got.final_waits[0] < 0.1


async def test_audio_that_was_not_heard_is_a_failure():
    async with scripted(0.1, [], audio_seconds=0.25) as (url, _):
        with pytest.raises(TruthError, match=r"heard 0\.25 s of 0\.5 s"):
            await stream(url, np.zeros(8_000, np.int16), "en", speed=50.0, tail_s=0.0)


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([{"type": "warning", "code": "window_failed", "message": "gone"}], TruthError),
        ([{**UTTERANCE[1], "utterance": 7}], StreamError),
    ],
)
async def test_a_warning_or_a_broken_promise_is_a_failure(events, error):
    async with scripted(0.1, events) as (url, _):
        with pytest.raises(error):
            await stream(url, np.zeros(8_000, np.int16), "en", speed=50.0, tail_s=0.0)
