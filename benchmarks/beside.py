"""What a long file costs live sessions: recordings streamed in real time with and without one being transcribed.

Both run through a server of their own process, alternating, so that a busy machine harms them alike. Knows nothing
of tables.
"""

import asyncio
import io
import itertools
import urllib.request
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import msgspec
import numpy as np

from benchmarks import evalset, server
from benchmarks.evalset import SAMPLE_RATE, Pcm, Recording
from benchmarks.streaming import stream
from streamasr.bench.scoring import percentile, word_lags

UPLOAD_S = 600.0
"""Longest a recording may take to be transcribed."""


class Disturbance(msgspec.Struct, frozen=True, kw_only=True):
    """How late words are shown, seconds after their true end: (p50, p95) of each round."""

    alone: list[tuple[float, float]]
    beside: list[tuple[float, float]]
    file_seconds: float
    """Audio of the file that was transcribed beside them."""

    @property
    def moved(self) -> float:
        """By which share of itself the 95th percentile moves: median of the rounds' ratios, less 1."""
        return median(b[1] / a[1] for a, b in zip(self.alone, self.beside, strict=True)) - 1


async def disturb(
    model: str, place: Path, *, streams: int, rounds: int, report: Callable[[], object] = lambda: None
) -> Disturbance:
    """Stream some recordings at a time, ``rounds`` times alone and as often beside a file.

    Args:
        model: of the server.
        place: the recordings; the file is made of its ``long`` ones.
        streams: live recordings at a time.
        rounds: of each kind.
        report: called after each.
    """
    live = evalset.load(place, ("seen", "unseen"))[:streams]
    long = np.concatenate([evalset.read_audio(place, recording) for recording in evalset.load(place, ("long",))])
    body = wav(long)
    alone, beside, transcribed = [], [], 0
    async with server.running(model) as url:
        address = url.replace("ws://", "http://").rsplit("/", 1)[0] + "/transcribe"
        for _ in range(rounds):
            alone.append(await _lags(url, place, live))
            report()
            uploads = _Uploads(address, body)
            task = asyncio.create_task(uploads.run())
            try:
                beside.append(await _lags(url, place, live))
            finally:
                uploads.stop = True
            transcribed += await task
            report()
    return Disturbance(alone=alone, beside=beside, file_seconds=transcribed * len(long) / SAMPLE_RATE)


def wav(pcm: Pcm) -> bytes:
    """Mono 16 kHz audio as a WAV file."""
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm.astype("<i2").tobytes())
    return target.getvalue()


class _Uploads:
    """The same file again and again, so that one is always being transcribed."""

    def __init__(self, address: str, body: bytes) -> None:
        self.stop = False
        self._address = address
        self._body = body

    async def run(self) -> int:
        """Until told to stop; how many there were."""
        for count in itertools.count():
            if self.stop:
                return count
            await asyncio.to_thread(self._upload)
        return 0

    def _upload(self) -> None:
        request = urllib.request.Request(self._address, self._body, {"Content-Type": "audio/wav"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=UPLOAD_S) as answer:  # noqa: S310
            answer.read()


async def _lags(url: str, place: Path, live: Sequence[Recording]) -> tuple[float, float]:
    """All recordings at once, in real time: p50 and p95 of the time in which words are shown."""
    streamed = await asyncio.gather(*(stream(url, evalset.read_audio(place, r), r.lang) for r in live))
    shown = [
        lag.shown
        for recording, one in zip(live, streamed, strict=True)
        for lag in word_lags(recording.words, one.log, recording.lang)
    ]
    return percentile(shown, 50), percentile(shown, 95)
