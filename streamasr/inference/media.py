"""Any container or codec -> mono 16 kHz float32, as fast as it is asked for, from whole files and growing ones.

Owns what FFmpeg (by PyAV) is trusted with: demuxing, decoding, mixing down, resampling; the clock of a file, its
gaps included; the limits on what a stranger's file may cost. Must not know what the audio is for. Everything
here blocks: it belongs on a thread. FFmpeg itself opens nothing: it reads the bytes that it is handed, and a
playlist that names other files or addresses gets none of them.
"""

import struct
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import SAMPLE_RATE
from streamasr.errors import MediaError, TooLarge
from streamasr.inference.sources import GrowingFile, open_file, open_source, reason, size_of

if TYPE_CHECKING:
    from av import AudioFrame

__all__ = ["GrowingFile", "MediaInfo", "MediaLimits", "decode", "open_source", "probe"]

_TOLERANCE = 0.1
"""Seconds by which a timestamp may differ from the count of samples: containers round, recorders jitter."""

_OVERLAP = 1.0
"""Timestamps that go back by less repeat audio, which is cut; by more, the clock was reset, and goes on."""

_LONGEST_GAP = 3600.0
"""Seconds of silence that a jump of the timestamps stands for; a longer one is a reset clock."""

_PREROLL = 1.0
"""Seconds decoded before an offset, so that codecs with a memory have caught up."""

_INEXACT = frozenset({"aac"})
"""Containers whose timestamps after a seek are a guess: they are decoded from the start."""

_TRUSTED = frozenset({"flac", "mov,mp4,m4a,3gp,3g2,mj2"})
"""Containers whose head says exactly how long the audio is: with less, the file has been cut off."""

_UNKNOWN_BYTES = 0x7FFF0000
"""A WAV whose head names so many bytes or more, or none, was streamed to disk: nobody knew how many there would be."""

_BUFFER = 1 << 16
"""Bytes read at a time."""


class MediaLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a file may cost at most; None: no limit."""

    max_bytes: int | None = None
    max_seconds: float | None = None
    """Of audio, whatever stretch of it is asked for."""
    max_ratio: float | None = 0.1
    """Seconds of audio a byte may stand for, beyond the first minute: the leanest speech codecs need 80 bytes a
    second, so what claims to need fewer than 10 was made to fill a disk or a queue."""


class MediaInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of a file says of it."""

    duration_s: float | None
    """Seconds of its audio; None if the head does not say, as in a recording that was streamed to disk."""
    container: str
    """FFmpeg's name of it: "wav", "mov,mp4,m4a,3gp,3g2,mj2"."""
    codec: str
    sample_rate: int
    channels: int


def probe(source: Path | str | BinaryIO) -> MediaInfo:
    """What the head of a file says of it. A file object is left where it was; it must be seekable.

    Raises:
        MediaError: it is not there, it is no container we know, or it has no audio.
    """
    start = None if isinstance(source, (str, Path)) else source.tell()
    with open_file(source) as (file, name):
        with closing(_open_container(file, name)) as container:
            stream = _audio_stream(container, name)
            if stream.duration is not None and stream.time_base is not None:
                duration: float | None = float(stream.duration * stream.time_base)
            else:
                duration = container.duration / 1_000_000 if container.duration is not None else None
            context = stream.codec_context
            info = MediaInfo(
                duration_s=duration if duration is None or duration > 0 else None,
                container=container.format.name,
                codec=context.name,
                sample_rate=context.sample_rate or 0,
                channels=len(context.layout.channels),
            )
        if start is not None:
            file.seek(start)
    return info


def decode(
    source: Path | str | BinaryIO,
    *,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    limits: MediaLimits = MediaLimits(),  # noqa: B008 - a frozen value
) -> Iterator[NDArray[np.float32]]:
    """The audio of a file, a video's too: mono, 16 kHz, in [-1, 1], in blocks of at most a second.

    All channels are mixed down. Time 0 is what a player shows as 0; gaps in the timestamps are silence, so the
    sample count stays the file's clock. A ``GrowingFile`` is decoded while it arrives, as far as its container
    allows (an MP4 with its index at the end does not: its end is waited for). Closing the iterator closes the file,
    unless it is the caller's.

    Args:
        source: a path, an address that ``open_source`` knows, or a binary file, read from its beginning.
        offset_s: seconds to leave out at the beginning.
        duration_s: seconds to give at most; None: all.
        limits: what the file may cost.

    Raises:
        MediaError: it is not there, is no container we know, has no audio, or is damaged: then what could be
            decoded came before, and the text says from where on it was damaged.
        TooLarge: it exceeds a limit.
    """
    with open_file(source) as (file, name):
        job = _Job(file, name, offset_s, duration_s, limits)
        if isinstance(file, GrowingFile) and not file.complete:
            started = False
            try:
                for block in job.run():
                    started = True
                    yield block
            except MediaError:
                # Some containers can only be read as a whole: an MP4 whose index comes last.
                if started:
                    raise
                file.wait()
                file.seek(0)
            else:
                return
        yield from job.run()


class _Job:
    """One file's decoding."""

    def __init__(
        self, file: BinaryIO, name: str, offset_s: float, duration_s: float | None, limits: MediaLimits
    ) -> None:
        self._file = file
        self._name = name
        self._first = max(0, round(offset_s * SAMPLE_RATE))
        self._last = None if duration_s is None else self._first + round(duration_s * SAMPLE_RATE)
        self._limits = limits
        self._size = size_of(file)

    def run(self) -> Iterator[NDArray[np.float32]]:
        """The blocks within [first, last)."""
        self._check(0)
        with closing(_open_container(self._file, self._name)) as container:
            stream = _audio_stream(container, self._name)
            zero = (container.start_time or 0) / 1_000_000
            mixer = _Mixer(zero, sought=self._first if self._seek(container, zero) else None)
            with closing(self._pieces(container, stream, mixer)) as pieces:
                for piece in pieces:
                    end = mixer.position
                    self._check(end)
                    kept = piece[max(0, self._first - (end - len(piece))) :]
                    if self._last is not None and end > self._last:
                        kept = kept[: max(0, len(kept) - (end - self._last))]
                    if len(kept):
                        yield kept.astype(np.float32) / np.float32(32768)
                    if self._last is not None and end >= self._last:
                        return

    def _seek(self, container: Any, zero: float) -> bool:
        """Go near the offset, where that is possible; tells whether."""
        import av

        near = self._first / SAMPLE_RATE - _PREROLL
        if near <= 0 or container.format.name in _INEXACT or not self._file.seekable():
            return False
        try:
            container.seek(round((zero + near) * 1_000_000))
        except av.FFmpegError:
            return False
        return True

    def _pieces(self, container: Any, stream: Any, mixer: "_Mixer") -> Generator[NDArray[np.int16]]:
        """Everything that decodes; then MediaError, if something did not."""
        import av

        trouble: str | None = None
        broken = 0  # packets in a row; one alone is what a tag, a cut or a joint of files leaves
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    broken += mixer.started
                    if broken > 1 and trouble is None:
                        trouble = self._damaged(mixer.time, error)
                    continue
                for frame in frames:
                    broken = 0
                    yield from mixer.mix(frame)
        except (av.FFmpegError, OSError) as error:
            trouble = trouble or self._damaged(mixer.time, error)
        except MediaError as error:  # the bytes end too early: whoever brings them knows why
            trouble = error.message
        yield from mixer.flush()
        trouble = trouble or self._incomplete(container, stream, mixer)
        if trouble is not None:
            raise MediaError(trouble)

    def _incomplete(self, container: Any, stream: Any, mixer: "_Mixer") -> str | None:
        """What is wrong with a file that has ended without an error."""
        if not mixer.started:
            return None if mixer.sought is not None else f"{self._name} has no audio that can be decoded."
        if container.format.name == "wav":
            claimed = _cut_wav(self._file)  # FFmpeg says what there is, not what its head says
        elif container.format.name in _TRUSTED and stream.duration is not None:
            claimed = float(stream.duration * stream.time_base)
        else:
            claimed = None
        if claimed is None or mixer.time > claimed - 1:
            return None
        return f"{self._name} is cut off: it ends at {mixer.time:.1f} s, though its head says {claimed:.1f} s."

    def _damaged(self, seconds: float, error: Exception) -> str:
        return f"{self._name} is damaged at {seconds:.1f} s: {reason(error)}."

    def _check(self, end: int) -> None:
        """Raise TooLarge if ``end`` samples are more than this file may hold."""
        limits, seconds = self._limits, end / SAMPLE_RATE
        if limits.max_seconds is not None and seconds > limits.max_seconds:
            raise TooLarge(f"{self._name} is longer than the {limits.max_seconds:g} s that are allowed.")
        size = size_of(self._file) if isinstance(self._file, GrowingFile) else self._size
        if limits.max_bytes is not None and size > limits.max_bytes:
            raise TooLarge(f"{self._name} is larger than the {limits.max_bytes} bytes that are allowed.")
        if limits.max_ratio is not None and seconds > 60 + limits.max_ratio * size:
            raise TooLarge(f"{self._name} claims more audio than its {size} bytes can hold.")


class _Mixer:
    """Decoded frames of any form -> mono int16 at 16 kHz, each in its place on the file's clock."""

    def __init__(self, zero: float, *, sought: int | None) -> None:
        """``zero`` is the timestamp of time 0, ``sought`` the sample before which frames will begin, if not 0."""
        self.sought = sought
        self.position = 0
        """Samples given so far, or left out before the first frame by seeking."""
        self.time = 0.0
        """Seconds at which the next frame is expected."""
        self.started = False
        self._zero = zero
        self._form: tuple[str, str, int] | None = None
        self._resampler: Any = None
        self._surplus = 0  # samples of the next output that repeat what has been given

    def mix(self, frame: "AudioFrame") -> Iterator[NDArray[np.int16]]:
        """What a frame completes."""
        ahead = 0.0 if frame.time is None else frame.time - self._zero - self.time
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self.sought is not None and not self.started:
            # Should a container have sought too far, the rest up to the frame is silence.
            self.time = min(ahead, self.sought / SAMPLE_RATE)
            self.position = round(self.time * SAMPLE_RATE)
            ahead -= self.time
        if abs(ahead) > _TOLERANCE or form != self._form:
            yield from self.flush()
            yield from self._close_gap(ahead)
            self._begin(form)
        self.started = True
        self.time += frame.samples / frame.sample_rate
        for output in self._resampler.resample(frame):
            yield self._placed(output)

    def flush(self) -> Iterator[NDArray[np.int16]]:
        """The resampler's tail."""
        if self._resampler is not None:
            for output in self._resampler.resample(None):
                yield self._placed(output)
            self._resampler = None

    def _begin(self, form: tuple[str, str, int]) -> None:
        import av

        self._form = form
        # 16-bit output, because only with it libswresample scales a mix so that it cannot clip.
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE, frame_size=SAMPLE_RATE)

    def _close_gap(self, ahead: float) -> Iterator[NDArray[np.int16]]:
        """Bring the clock to where the next frame lies, ``ahead`` seconds from where it was expected."""
        if (_TOLERANCE if self.started else 0) < ahead <= _LONGEST_GAP:
            self.time += ahead
            missing = round(self.time * SAMPLE_RATE) - self.position
            while missing > 0:
                silence = np.zeros(min(missing, SAMPLE_RATE), np.int16)
                self.position += len(silence)
                missing -= len(silence)
                yield silence
        elif -_OVERLAP < ahead < -_TOLERANCE:
            self.time += ahead
            self._surplus = max(0, self.position - round(self.time * SAMPLE_RATE))
        elif abs(ahead) > _TOLERANCE:
            self._zero += ahead

    def _placed(self, output: "AudioFrame") -> NDArray[np.int16]:
        samples: NDArray[np.int16] = output.to_ndarray().reshape(-1)[self._surplus :]
        self._surplus -= min(self._surplus, output.samples)
        self.position += len(samples)
        return samples


def _cut_wav(file: BinaryIO) -> float | None:
    """Seconds that the head of a WAV says it has, if the file, read to its end, is too short for them."""
    file.seek(0)
    if file.read(4) != b"RIFF":  # its relatives for huge files have sizes of another form
        return None
    rate, at, size = 0, 12, size_of(file)
    while at + 8 <= size:
        file.seek(at)
        name, length, bytes_a_second = struct.unpack("<4sI8xI", file.read(20).ljust(20, b"\0"))
        if name == b"fmt ":
            rate = bytes_a_second
        elif name == b"data":
            known = 0 < length < _UNKNOWN_BYTES and rate > 0
            return length / rate if known and at + 8 + length > size else None
        at += 8 + length + length % 2
    return None


def _open_container(file: BinaryIO, name: str) -> Any:
    import av

    try:
        return av.open(file, "r", buffer_size=_BUFFER, container_options={"protocol_whitelist": "none"})
    except (av.FFmpegError, OSError) as error:
        if not size_of(file):
            raise MediaError(f"{name} is empty.") from error
        raise MediaError(f"{name} is not audio or video in a form that we can read: {reason(error)}.") from error


def _audio_stream(container: Any, name: str) -> Any:
    """The first audio stream, or the one marked as the default."""
    stream = container.streams.best("audio")
    if stream is None:
        raise MediaError(f"{name} has no audio.")
    if stream.codec_context is None:
        raise MediaError(f"{name} has audio in a codec that FFmpeg cannot decode here.")
    return stream
