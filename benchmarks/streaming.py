"""The truth client: one recording through a running server at a microphone's pace, and what came back when.

The audio's clock starts when its first sample is spoken; a chunk can be sent when its last sample has been.
So an arrival's time on that clock minus the time a word truly ended is how long somebody waited for the word.
"""

import asyncio

import numpy as np

from benchmarks.evalset import SAMPLE_RATE, Pcm
from benchmarks.results import Streamed
from streamasr.bench.scoring import Shown, TimedWord
from streamasr_client import (
    Failed,
    Final,
    Partial,
    Retry,
    SpeechEnded,
    Stream,
    Timeouts,
    Warned,
    connect,
)

CHUNK = SAMPLE_RATE // 25
"""Samples in one message (40 ms), as clients commonly send."""
STOP_S = 300.0
"""Faster than real time, much may be left to decode at the end."""


class TruthError(Exception):
    """The server did not do what a measurement needs."""


async def stream(url: str, pcm: Pcm, language: str, *, speed: float = 1.0, tail_s: float = 1.0) -> Streamed:
    """Stream a recording and ``tail_s`` of silence after it, then stop; ``speed`` 1 is real time.

    Every promise of the protocol is checked on the way, and nothing is mended: a lost connection is a failure.

    Raises:
        TruthError: the server warned of something, or did not hear all of the audio.
        streamasr_client.StreamError: the session failed, or the server broke a promise.
    """
    heard = np.concatenate([pcm, np.zeros(round(tail_s * SAMPLE_RATE), np.int16)])
    once, patient = Retry(attempts=0), Timeouts(reply_s=STOP_S)
    async with connect(
        url, check=True, retry=once, timeouts=patient, sample_rate=SAMPLE_RATE, language=language
    ) as session:
        began = asyncio.get_running_loop().time()
        listening = asyncio.create_task(_listen(session, began, speed))
        try:
            late = await _speak(session, heard, began, speed)
            done = await session.stop()
            log, waits = await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
    if abs(done.audio_seconds - len(heard) / SAMPLE_RATE) > 0.01:
        raise TruthError(f"the server heard {done.audio_seconds} s of {len(heard) / SAMPLE_RATE} s")
    return Streamed(log=log, final_waits=waits, late=late)


async def _speak(session: Stream, pcm: Pcm, began: float, speed: float) -> float:
    """Send the audio in time; returns how late the latest chunk was, in seconds."""
    clock, late = asyncio.get_running_loop().time, 0.0
    for start in range(0, len(pcm), CHUNK):
        chunk = pcm[start : start + CHUNK]
        due = began + (start + len(chunk)) / SAMPLE_RATE / speed
        await asyncio.sleep(due - clock())
        late = max(late, clock() - due)
        await session.send(chunk.astype("<i2").tobytes())
    return late


async def _listen(session: Stream, began: float, speed: float) -> tuple[tuple[Shown, ...], tuple[float, ...]]:
    """Everything that was shown, and how long each endpoint's final took."""
    clock = asyncio.get_running_loop().time
    log: list[Shown] = []
    waits: list[float] = []
    ended_at: dict[int, float] = {}
    async for event in session:
        at = (clock() - began) * speed
        match event:
            case Partial():
                log.append(Shown(at=at, utterance=event.utterance, stable=event.stable, unstable=event.unstable))
            case SpeechEnded():
                ended_at[event.utterance] = at
            case Final():
                words = tuple(TimedWord(w.word, w.start, w.end) for w in event.words)
                log.append(Shown(at=at, utterance=event.utterance, stable=event.text, final=True, words=words))
                if event.reason == "endpoint":
                    waits.append(at - ended_at[event.utterance])
            case Warned() | Failed():
                raise TruthError(f"{event.code}: {event.message}")
    return tuple(log), tuple(waits)
