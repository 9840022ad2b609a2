"""A run over several recordings: who is transcribed when, what is written, what is said of it at the end.

Owns the order, the files of the results and the account of what succeeded. What hears a recording is passed in;
how the run is shown is ``progress.py``'s affair.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing

import msgspec

from streamasr.commands.inputs import FORMATS, Recording
from streamasr.commands.progress import Shown, clock_time
from streamasr.core.captions import CueLimits
from streamasr.errors import ClientError, ConfigError, InvalidSetting, MediaError, Refused
from streamasr.results import Transcript
from streamasr.wire.files import (
    DoneMessage,
    FileRequest,
    Gathered,
    LostMessage,
    Message,
    ProgressMessage,
    SegmentMessage,
)

Hear = Callable[[Recording], AsyncGenerator[Message]]
"""Transcribes one recording, up to a ``DoneMessage`` (``hearing.py``)."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of every recording."""

    request: FileRequest
    formats: tuple[str, ...]
    """Of ``inputs.FORMATS``."""
    limits: CueLimits
    printed: bool = False
    """Whether the results are printed instead of written; then there is one format."""

    @property
    def streams(self) -> bool:
        """Whether text is printed as it comes."""
        return self.printed and self.formats == ("text",)


class Account(msgspec.Struct, kw_only=True):
    """How a run went."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    """Also those of which only a part could be transcribed."""
    seconds: float = 0.0
    """Audio transcribed."""
    took_s: float = 0.0
    """How long that took."""

    def __str__(self) -> str:
        parts = [f"{self.done} transcribed ({clock_time(self.seconds)} of audio)"]
        if self.skipped:
            parts.append(f"{self.skipped} skipped (finished before; --overwrite does them again)")
        if self.failed:
            parts.append(f"{self.failed} failed")
        return ", ".join(parts)


def unfinished(
    recordings: Sequence[Recording], wanted: Wanted, account: Account, *, overwrite: bool
) -> list[Recording]:
    """Those that are to be transcribed; the others are accounted for as skipped."""
    if overwrite or wanted.printed:
        return list(recordings)
    todo = [recording for recording in recordings if not is_finished(recording, wanted.formats)]
    account.skipped += len(recordings) - len(todo)
    return todo


def is_finished(recording: Recording, formats: Sequence[str]) -> bool:
    """Whether all results are there, and none is older than the recording."""
    if recording.path is not None and not recording.path.exists():
        return False  # a link to nowhere, or gone since it was found: who tries to read it will say so
    changed = recording.path.stat().st_mtime if recording.path is not None else 0.0
    outputs = [recording.output(format_) for format_ in formats]
    return all(output.is_file() and output.stat().st_mtime >= changed for output in outputs)


class FileRun:
    """Transcribes recordings, some at a time; one that fails is reported and the others go on.

    Args:
        wanted: what is to become of each.
        shown: told how far it is.
        print_text: takes the text of results that are printed.
        account: kept up to date.
    """

    def __init__(
        self, wanted: Wanted, shown: Shown, print_text: Callable[[str], object], account: Account | None = None
    ) -> None:
        self.account = account or Account()
        self._wanted = wanted
        self._shown = shown
        self._print = print_text

    async def transcribe(self, hear: Hear, recordings: Sequence[Recording], jobs: int) -> None:
        """Transcribe them all, ``jobs`` at a time, by ``hear``.

        Raises:
            InvalidSetting: the model cannot do what is asked, of any of them.
            EngineError: what hears them has stopped.
        """
        waiting = iter(recordings)
        began = time.monotonic()
        tasks = [asyncio.create_task(self._work(hear, waiting)) for _ in range(min(jobs, len(recordings)))]
        with self._shown:
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self.account.took_s += time.monotonic() - began

    async def _work(self, hear: Hear, waiting: Iterator[Recording]) -> None:
        for recording in waiting:
            self._shown.begin(recording.source)
            began, transcript, trouble = time.monotonic(), None, ""
            try:
                transcript, trouble = await self._listen(hear, recording)
                await self._keep(recording, transcript)
            except InvalidSetting:
                raise
            except (ClientError, Refused, ConfigError) as error:
                trouble = str(error)
            if trouble:
                self.account.failed += 1
                self._shown.note(_about(recording, trouble))
            elif transcript is not None:
                self.account.done += 1
            if transcript is not None:
                self.account.seconds += transcript.duration
            line = "" if trouble or transcript is None else self._line(recording, transcript, time.monotonic() - began)
            self._shown.end(recording.source, line)

    async def _listen(self, hear: Hear, recording: Recording) -> tuple[Transcript, str]:
        """What is said in a recording, and what is wrong with it, if anything is.

        Raises:
            ClientError, Refused: nothing can be had of it.
        """
        gathered, read = Gathered(), 0.0
        total = await asyncio.to_thread(_seconds, recording, self._wanted.request)
        try:
            async with aclosing(hear(recording)) as messages:
                async for message in messages:
                    gathered.add(message)
                    match message:
                        case SegmentMessage() if self._wanted.streams:
                            self._print(f"{message.text}\n")
                        case ProgressMessage():
                            read = message.read
                            self._shown.advance(recording.source, message.done, total)
                        case DoneMessage():
                            return gathered.transcript(message), _lost(gathered.lost)
        except MediaError as error:
            if not gathered.segments:
                raise
            done = DoneMessage(
                language=gathered.segments[0].language, language_probability=1.0, duration=read, model=""
            )
            return gathered.transcript(done), f"{error} What was said before that is kept."
        raise MediaError("it was not transcribed to its end")

    async def _keep(self, recording: Recording, transcript: Transcript) -> None:
        """Print the results, or write them."""
        if not self._wanted.printed:
            await asyncio.to_thread(_write, recording, transcript, self._wanted)
        elif not self._wanted.streams:
            self._print(_render(transcript, self._wanted))

    def _line(self, recording: Recording, transcript: Transcript, took_s: float) -> str:
        speed = f"{clock_time(transcript.duration)} of audio in {took_s:.1f} s"
        if self._wanted.printed:
            return f"{recording.source}: {speed}"
        first, *more = self._wanted.formats
        written = [str(recording.output(first)), *(FORMATS[format_] for format_ in more)]
        return f"{recording.source}: {speed} -> {', '.join(written)}"


def _seconds(recording: Recording, request: FileRequest) -> float | None:
    """How much of a recording there is to transcribe, if its head tells; what is wrong with it shows later."""
    from streamasr.inference import media

    if recording.path is None or not recording.path.is_file():
        return request.duration_s
    try:
        whole = media.probe(recording.path).duration_s
    except MediaError:
        return None
    rest = None if whole is None else max(0.0, whole - request.offset_s)
    known = [seconds for seconds in (rest, request.duration_s) if seconds is not None]
    return min(known, default=None)


def _write(recording: Recording, transcript: Transcript, wanted: Wanted) -> None:
    """Write every result, each whole or not at all.

    Raises:
        ConfigError: a directory or file cannot be written.
    """
    folder = recording.stem.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error
    for format_ in wanted.formats:
        path = recording.output(format_)
        match format_:
            case "text":
                transcript.save_text(path)
            case "json":
                transcript.save_json(path)
            case "srt":
                transcript.save_srt(path, wanted.limits)
            case "vtt":
                transcript.save_vtt(path, wanted.limits)


def _render(transcript: Transcript, wanted: Wanted) -> str:
    """The one result that is printed at the end."""
    match wanted.formats:
        case ("json",):
            return transcript.to_json() + "\n"
        case ("srt",):
            return transcript.to_srt(wanted.limits)
        case _:
            return transcript.to_vtt(wanted.limits)


def _about(recording: Recording, trouble: str) -> str:
    """A sentence about a recording, which names it once."""
    return trouble if trouble.startswith(recording.source) else f"{recording.source}: {trouble}"


def _lost(stretches: Sequence[LostMessage]) -> str:
    if not stretches:
        return ""
    where = ", ".join(f"{stretch.start:g} to {stretch.end:g} s" for stretch in stretches)
    return f"{where} could not be transcribed ({stretches[0].reason}); the rest was"
