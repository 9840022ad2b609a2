"""A run over several recordings: who is transcribed when, what is written, what is said of it at the end.

Owns the order, the files of the results and the account of what succeeded. What hears a recording is passed in;
how the run is shown is ``progress.py``'s affair.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import msgspec

from streamasr.commands.inputs import FORMATS, Recording
from streamasr.commands.ledger import Ledger, foreign
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
    overwrite: bool = False
    """Whether recordings are done again whose results are there, and files replaced that are nobody's results."""

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
    left: int = 0
    """Those still to be done; at the end, those that a run which ended early did not come to the end of."""
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
        if self.left:
            parts.append(f"{self.left} not transcribed")
        return ", ".join(parts)


class Sorted(NamedTuple):
    """What is to be done of a list of recordings."""

    todo: tuple[Recording, ...]
    skipped: int
    """So many were finished before."""
    problems: tuple[str, ...]
    """One sentence for each whose results would replace a file that is none of ours."""


def sort_out(recordings: Sequence[Recording], wanted: Wanted) -> Sorted:
    """Which recordings are to be transcribed.

    Raises:
        ConfigError: a directory's list of results cannot be read.
    """
    if wanted.overwrite or wanted.printed:
        return Sorted(tuple(recordings), 0, ())
    ledgers = {folder: Ledger(folder) for folder in {recording.stem.parent for recording in recordings}}
    todo, skipped, problems = [], 0, []
    for recording in recordings:
        ledger = ledgers[recording.stem.parent]
        outputs = [recording.output(format_) for format_ in wanted.formats]
        if all(ledger.knows(output) for output in outputs) and _is_newer(outputs, recording):
            skipped += 1
        elif in_the_way := [output for output in outputs if not ledger.may_replace(output)]:
            problems.append(f"{recording.source}: {foreign(in_the_way[0])}")
        else:
            todo.append(recording)
    return Sorted(tuple(todo), skipped, tuple(problems))


def _is_newer(outputs: Sequence[Path], recording: Recording) -> bool:
    """Whether all results are there, and none is older than the recording."""
    if recording.path is not None and not recording.path.exists():
        return False  # a link to nowhere, or gone since it was found: who tries to read it will say so
    changed = recording.path.stat().st_mtime if recording.path is not None else 0.0
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
                trouble += await self._keep(recording, transcript, partial=bool(trouble))
            except InvalidSetting:
                raise
            except (ClientError, Refused, ConfigError) as error:
                trouble = f"{trouble} {error}".strip()
            self.account.left -= 1
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
            return gathered.transcript(done), str(error)
        raise MediaError("it was not transcribed to its end")

    async def _keep(self, recording: Recording, transcript: Transcript, *, partial: bool) -> str:
        """Print the results, or write them; where the part is, if it is one."""
        if not self._wanted.printed:
            await asyncio.to_thread(_write, recording, transcript, self._wanted, partial=partial)
            return f" What was heard is in {self._written(recording, partial=True)}." if partial else ""
        if not self._wanted.streams:
            self._print(_render(transcript, self._wanted.formats[0], self._wanted.limits))
        return ""

    def _line(self, recording: Recording, transcript: Transcript, took_s: float) -> str:
        speed = f"{clock_time(transcript.duration)} of audio in {took_s:.1f} s"
        if self._wanted.printed:
            return f"{recording.source}: {speed}"
        return f"{recording.source}: {speed} -> {self._written(recording)}"

    def _written(self, recording: Recording, *, partial: bool = False) -> str:
        """The names of the results."""
        first, *more = self._wanted.formats
        return ", ".join([str(recording.output(first, partial=partial)), *(FORMATS[format_] for format_ in more)])


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


def _write(recording: Recording, transcript: Transcript, wanted: Wanted, *, partial: bool) -> None:
    """Write every result, each whole or not at all; of a part, under names that nobody takes for the whole.

    Raises:
        ConfigError: a directory or file cannot be written.
    """
    folder = recording.stem.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error
    ledger = Ledger(folder)
    for format_ in wanted.formats:
        path, text = recording.output(format_, partial=partial), _render(transcript, format_, wanted.limits)
        ledger.save(path, text, partial=partial, overwrite=wanted.overwrite)
        if not partial:
            ledger.drop_part(recording.output(format_, partial=True))


def _render(transcript: Transcript, format_: str, limits: CueLimits) -> str:
    """One result."""
    match format_:
        case "text":
            return transcript.to_text()
        case "json":
            return transcript.to_json() + "\n"
        case "srt":
            return transcript.to_srt(limits)
        case _:
            return transcript.to_vtt(limits)


def _about(recording: Recording, trouble: str) -> str:
    """A sentence about a recording, which names it once."""
    return trouble if trouble.startswith(recording.source) else f"{recording.source}: {trouble}"


def _lost(stretches: Sequence[LostMessage]) -> str:
    if not stretches:
        return ""
    where = ", ".join(f"{stretch.start:g} to {stretch.end:g} s" for stretch in stretches)
    return f"{where} could not be transcribed ({stretches[0].reason}); the rest was."
