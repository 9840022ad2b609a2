"""Raw audio in any accepted form -> float32 at 16 kHz; and the stretch of it that a lane still needs.

Owns the sample encodings, interleaving and resampling, and where an absolute sample lies in memory. Must not
know what the audio is for: no frames of the voice-activity model, no utterances, no windows.
"""

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from streamasr.core.events import SAMPLE_RATE
from streamasr.core.options import AudioFormat

_DTYPES: dict[str, np.dtype[Any]] = {
    "pcm_s16le": np.dtype("<i2"),
    "pcm_f32le": np.dtype("<f4"),
    "mulaw": np.dtype("u1"),
    "alaw": np.dtype("u1"),
}


def _mulaw_table() -> NDArray[np.float32]:
    """The 256 values of G.711 mu-law (14 bits, aligned to 16)."""
    code = ~np.arange(256, dtype=np.uint8)
    segment = ((code >> 4) & 0x07).astype(np.int32)
    magnitude = ((((code & 0x0F).astype(np.int32) << 3) + 0x84) << segment) - 0x84
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> NDArray[np.float32]:
    """The 256 values of G.711 A-law (13 bits, aligned to 16)."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    segment = ((code >> 4) & 0x07).astype(np.int32)
    step = (code & 0x0F).astype(np.int32) << 4
    magnitude = np.where(segment == 0, step + 0x08, (step + 0x108) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


_TABLES = {"mulaw": _mulaw_table(), "alaw": _alaw_table()}


class AudioDecoder:
    """Decodes a connection's bytes: the same bytes give the same samples, wherever they are cut, bit for bit.

    Holds less than one interleaved sample of input and the resampler's own delay, whatever is fed. That is at
    most 30 ms below 16 kHz, 81 ms above (40 at 44.1 and 48 kHz) and 0 at 16 kHz; it does not shift times.
    """

    def __init__(self, format: AudioFormat) -> None:  # noqa: A002 - the word of the protocol
        self._encoding = format.encoding
        self._dtype = _DTYPES[format.encoding]
        self._channels = format.channels
        self.bytes_per_second = format.sample_rate * format.channels * self._dtype.itemsize
        """How many bytes a second of this audio takes."""
        self._pending = b""
        self._non_finite = 0
        self._resampler: soxr.ResampleStream | None = None
        if format.sample_rate != SAMPLE_RATE:
            # soxr's variable-rate engine delays 8 kHz by 30 ms instead of 115; above 16 kHz it would cost ten
            # times as much to save 25 ms.
            self._resampler = soxr.ResampleStream(
                format.sample_rate,
                SAMPLE_RATE,
                format.channels,
                dtype="float32",
                quality="HQ",
                vr=format.sample_rate < SAMPLE_RATE,
            )

    @property
    def pending_bytes(self) -> int:
        """Bytes held back because the interleaved sample they begin is incomplete."""
        return len(self._pending)

    @property
    def non_finite(self) -> int:
        """How many NaN or infinite samples were replaced by 0 so far (only ``pcm_f32le`` has them)."""
        return self._non_finite

    def decode(self, data: bytes | memoryview) -> NDArray[np.float32]:
        """Decode the next bytes.

        Args:
            data: any number of bytes, cut anywhere.

        Returns:
            Shape (channels, n), 16 kHz, nominally in [-1, 1] (resampling may overshoot a little); n may be 0.
        """
        data = b"".join((self._pending, data)) if self._pending else data
        frame = self._dtype.itemsize * self._channels
        whole = len(data) - len(data) % frame
        self._pending = bytes(data[whole:])
        raw = np.frombuffer(data, self._dtype, whole // self._dtype.itemsize)
        return self._resample(self._to_float(raw).reshape(-1, self._channels), last=False)

    def finish(self) -> NDArray[np.float32]:
        """The resampler's tail, shape (channels, n). To be called once; nothing can be decoded after it."""
        return self._resample(np.empty((0, self._channels), np.float32), last=True)

    def _to_float(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        if self._encoding == "pcm_s16le":
            return raw.astype(np.float32) / np.float32(32768)
        if self._encoding == "pcm_f32le":
            samples = raw.astype(np.float32)
            wrong = ~np.isfinite(samples)
            self._non_finite += int(np.count_nonzero(wrong))
            samples[wrong] = 0.0
            return samples.clip(-1.0, 1.0, out=samples)
        return _TABLES[self._encoding].take(raw)

    def _resample(self, samples: NDArray[np.float32], *, last: bool) -> NDArray[np.float32]:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        return np.ascontiguousarray(samples.T)


class SampleBuffer:
    """One lane's recent audio as int16, by absolute sample: grows at ``end``, is trimmed at ``start``."""

    _SMALLEST = SAMPLE_RATE

    def __init__(self, start: int = 0) -> None:
        self._data = np.empty(0, np.int16)
        self._first = 0  # where in _data the sample `start` lies
        self._start = start
        self._end = start

    @property
    def start(self) -> int:
        """The first absolute sample held."""
        return self._start

    @property
    def end(self) -> int:
        """The absolute sample just after the last one held."""
        return self._end

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add mono float32 samples at the end, clipped to [-1, 1). Amortised O(len(samples))."""
        held, added = self._end - self._start, len(samples)
        if self._first + held + added > len(self._data):
            # Twice what is needed, so that as much as was copied is appended before the next copy. A new
            # array, so that the memory of a long utterance is given back.
            data = np.empty(max(self._SMALLEST, 2 * (held + added)), np.int16)
            data[:held] = self._data[self._first : self._first + held]
            self._data, self._first = data, 0
        at = self._first + held
        scaled = np.rint(samples * np.float32(32768)).clip(-32768, 32767)
        self._data[at : at + added] = scaled
        self._end += added

    def read(self, start: int, end: int) -> bytes:
        """The samples [start, end) as int16, native byte order.

        Raises:
            ValueError: part of it is not held (any more, or yet), or ``end`` lies before ``start``.
        """
        if not self._start <= start <= end <= self._end:
            raise ValueError(f"samples [{start}, {end}) are not within [{self._start}, {self._end})")
        at = self._first + start - self._start
        return self._data[at : at + end - start].tobytes()

    def trim(self, before: int) -> None:
        """Forget the samples before ``before``: all of them, if it lies beyond the end."""
        dropped = min(max(before, self._start), self._end) - self._start
        self._start += dropped
        self._first += dropped
