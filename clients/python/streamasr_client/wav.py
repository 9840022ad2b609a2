"""Recordings: reading a WAV file, and handing out its audio at the pace at which it would be spoken."""

import asyncio
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import AudioFileError


@dataclass(frozen=True, slots=True)
class Recording:
    """16-bit PCM, little endian, channels interleaved."""

    data: bytes
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.data) / self.bytes_per_second

    @property
    def bytes_per_second(self) -> int:
        """Bytes of one second of all channels."""
        return 2 * self.channels * self.sample_rate

    @property
    def settings(self) -> dict[str, Any]:
        """The session settings that describe its audio."""
        return {"encoding": "pcm_s16le", "sample_rate": self.sample_rate, "channels": self.channels}


def read_wav(path: str | Path) -> Recording:
    """Read a 16-bit PCM WAV file; ``AudioFileError`` if it is none, ``OSError`` if it cannot be read."""
    try:
        with wave.open(str(path), "rb") as file:
            if file.getsampwidth() != 2:
                raise AudioFileError(f"{path} has {8 * file.getsampwidth()}-bit samples; 16-bit PCM is needed")
            data = file.readframes(file.getnframes())
            return Recording(data, file.getframerate(), file.getnchannels())
    except (wave.Error, EOFError) as error:
        raise AudioFileError(f"{path} is not a 16-bit PCM WAV file ({error})") from error


async def paced(
    recording: Recording, *, speed: float | None = 1.0, chunk_s: float = 0.04, started_at: float | None = None
) -> AsyncIterator[bytes]:
    """Yield a recording in chunks, each when its last sample would have been spoken.

    ``speed`` is relative to real time, None: as fast as it is taken. ``started_at``: the event loop's time of
    the first sample (default: now); a late chunk does not delay those after it.
    """
    loop = asyncio.get_running_loop()
    started_at = loop.time() if started_at is None else started_at
    frame = 2 * recording.channels
    size = max(1, round(chunk_s * recording.sample_rate)) * frame
    for begin in range(0, len(recording.data), size):
        chunk = recording.data[begin : begin + size]
        if speed is not None:
            spoken_at = started_at + (begin + len(chunk)) / recording.bytes_per_second / speed
            await asyncio.sleep(max(0.0, spoken_at - loop.time()))
        yield chunk
