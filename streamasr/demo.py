"""``streamasr demo``: the server, a recording spoken to it in real time, and the captions as they come.

Starts a server of its own as anybody would, streams through the client library, and shows what a program using
it gets to know. Knows nothing of the server's inside. What is measured is in ``Latencies``, what is shown in
``Screen``; both are fed with the client's events and the seconds at which they came.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import IO, NoReturn, Self

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from streamasr.errors import ConfigError
from streamasr_client import (
    AudioFileError,
    Event,
    Final,
    Partial,
    Recording,
    SpeechEnded,
    SpeechStarted,
    StreamError,
    connect,
    paced,
    read_wav,
)

DATA = Path(__file__).parent / "data"
READY_S = 120.0
"""A model loads in seconds; a server that is not ready by then will not be."""
STOP_S = 15.0
CHUNK_S = 0.04
MAX_SPEED = 100.0
LEVELS = " ▁▂▃▄▅▆▇█"
BAR = 20
"""Columns of the progress bar, where the terminal has 96."""
CAPTION_LINES = 2
QUIET_DB, LOUD_DB = -50.0, -10.0


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word of the recording and when it was said, in seconds."""

    word: str
    start: float
    end: float


def read_truth(path: Path) -> list[Spoken]:
    """Read the words of a recording from the JSON beside it."""
    return [Spoken(**word) for word in json.loads(path.read_text())["words"]]


@dataclass
class Latencies:
    """Seconds from the end of a word, as it was spoken, to its being shown and being stable.

    A word counts if it is in the final: shown when it first stood at its place, stable when it first stood at its
    place in stable text. Without ``truth`` the final's own word times stand in for it.
    """

    truth: Sequence[Spoken] | None
    speed: float = 1.0
    shown: list[float] = field(default_factory=list)
    stable: list[float] = field(default_factory=list)
    finals: list[float] = field(default_factory=list)
    """From the endpoint (``speech_ended``) to the final."""
    words: int = 0
    """Words in the finals."""
    _partials: list[tuple[float, list[str], int]] = field(default_factory=list)
    _ended_at: float = 0.0

    def observe(self, event: Event, at: float) -> None:
        """Learn from an event that came ``at`` seconds after the recording began."""
        match event:
            case SpeechStarted():
                self._partials = []
            case Partial():
                self._partials.append((at, _plain(event.text), len(event.stable.split())))
            case SpeechEnded():
                self._ended_at = at
            case Final():
                self.finals.append(at - self._ended_at)
                self._partials.append((at, _plain(event.text), len(event.text.split())))
                self._measure(event)

    def _measure(self, final: Final) -> None:
        heard = _plain(final.text)
        self.words += len(heard)
        for place, end in self._true_ends(final, heard):
            word = heard[place]
            shown = [at for at, words, _ in self._partials if words[place : place + 1] == [word]]
            stable = [at for at, words, count in self._partials if place < count]
            self.shown.append(shown[0] - end / self.speed)
            self.stable.append(stable[0] - end / self.speed)

    def _true_ends(self, final: Final, heard: list[str]) -> list[tuple[int, float]]:
        """Which words of the final were really said, and when they ended."""
        if self.truth is None:
            ends = [(place, word.end) for place, word in enumerate(final.words)]
            return ends if len(ends) == len(heard) else []  # a script without spaces has no places
        said = [word for word in self.truth if final.start <= (word.start + word.end) / 2 <= final.end]
        matcher = SequenceMatcher(None, _plain(" ".join(word.word for word in said)), heard, autojunk=False)
        return [
            (block.b + i, said[block.a + i].end) for block in matcher.get_matching_blocks() for i in range(block.size)
        ]


def _plain(text: str) -> list[str]:
    """Words without case and punctuation, one for each word of the text."""
    return [re.sub(r"[^\w']", "", word).lower() for word in text.split()]


class Screen:
    """What the terminal shows: finals above, the open utterance, a line of figures. Plain lines if it is none."""

    def __init__(self, console: Console, seconds: float, latencies: Latencies) -> None:
        self.finals: list[Final] = []
        self._console = console
        self._seconds = seconds
        self._latencies = latencies
        self._partial: Partial | None = None
        self._open = False
        self._elapsed = 0.0
        self._levels = deque([QUIET_DB] * 12, maxlen=12)
        self._live = Live(self, console=console, refresh_per_second=10) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def observe(self, event: Event) -> None:
        """Take in an event; a final is printed for good."""
        match event:
            case SpeechStarted():
                self._open = True
            case Partial():
                self._partial = event
            case SpeechEnded():
                self._open = False
            case Final():
                self._partial = None
                self.finals.append(event)
                if event.text:
                    self._console.print(_line(event.start, Text(event.text)))
        if self._live:
            self._live.refresh()

    def hear(self, chunk: bytes, elapsed: float) -> None:
        """Take in a chunk of audio that ends ``elapsed`` seconds into the recording."""
        self._elapsed = elapsed
        samples = np.frombuffer(chunk, np.int16).astype(np.float64) / 32768.0
        power = float(np.mean(samples**2)) if len(samples) else 0.0
        self._levels.append(10 * float(np.log10(power + 1e-9)))

    def __rich__(self) -> Group:
        return Group(self._caption(), Text(), self._figures())

    def _caption(self) -> Table:
        """Render the open utterance in a field of constant height, so that nothing jumps."""
        partial = self._partial
        text = Text()
        if partial is not None:
            text = Text.assemble(partial.stable, (partial.unstable, "dim italic"))
        lines = list(text.wrap(self._console, max(20, self._console.width - 11)))[-CAPTION_LINES:]
        padded = Text("\n").join([*lines, *[Text()] * (CAPTION_LINES - len(lines))])
        return _line(partial.start if partial else None, padded)

    def _figures(self) -> Text:
        share = min(1.0, self._elapsed / max(self._seconds, 0.001))
        bar = max(4, min(BAR, self._console.width - 96 + BAR))
        done = round(bar * share)
        light = ("● speech ", "bold green") if self._open else ("○ silence", "dim")
        meter = "".join(LEVELS[_level(level)] for level in tuple(self._levels))
        figures = Text.assemble("  ", light, "  ", (meter, "green"), "  ")
        figures.append("━" * done, "cyan").append("━" * (bar - done), "bright_black")
        figures.append(f" {self._elapsed:4.1f}/{self._seconds:.1f} s")
        if self._latencies.shown:
            shown, stable = np.median(self._latencies.shown), np.median(self._latencies.stable)
            figures.append(f"   word shown {shown:.2f} s, stable {stable:.2f} s", "dim")
        figures.truncate(self._console.width)
        return figures


def _level(db: float) -> int:
    """Choose a bar for a level, between quiet and loud."""
    highest = len(LEVELS) - 1
    return round(float(np.clip((db - QUIET_DB) / (LOUD_DB - QUIET_DB), 0.0, 1.0)) * highest)


def _line(start: float | None, text: Text) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=7, justify="right", style="cyan")
    table.add_column()
    table.add_row("" if start is None else f"{start:.1f} s", text)
    return table


def introduce(console: Console, url: str, recording: Recording, speed: float) -> None:
    """Print what is about to be seen."""
    pace = "as it is spoken" if speed == 1.0 else f"at {speed:g} times its speed"
    console.print(f"\n[bold]streamasr[/] at {url}", highlight=False)
    console.print(f"[dim]{recording.seconds:.1f} s of speech, streamed {pace}[/]\n", highlight=False)


def report(console: Console, finals: Sequence[Final], latencies: Latencies) -> None:
    """Print the finals with their word times, and what was measured."""
    console.print("\n[bold]Every word with its times[/] (seconds)\n")
    for final in finals:
        if final.words:
            console.print(_line(final.start, _timed(final, console.width - 11)))
    against = "the recording's" if latencies.truth is not None else "the finals' own (no truth is known)"
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="bold")
    table.add_column(f"Measured against {against} word times")
    table.add_column("p50", justify="right")
    table.add_column("p95", justify="right")
    for name, seconds in (
        ("a word is shown after its end", latencies.shown),
        ("a word is stable after its end", latencies.stable),
        ("a final comes after its endpoint", latencies.finals),
    ):
        if seconds:
            table.add_row(name, *(f"{at:.2f} s" for at in np.percentile(seconds, [50, 95])))
    console.print()
    console.print(table)
    if latencies.truth is not None:
        right = f"{len(latencies.shown)} of {len(latencies.truth)} words as they were spoken"
        console.print(f"{right}; no stable word changed (checked).", style="dim", highlight=False)


def _timed(final: Final, width: int) -> Text:
    """Every word with its times, as many to a line as fit."""
    lines, free = [Text()], width
    for word in final.words:
        item = Text.assemble(word.word, (f" {word.start:.2f}–{word.end:.2f}   ", "bright_black"))
        if item.cell_len > free:
            lines.append(Text())
            free = width
        lines[-1].append_text(item)
        free -= item.cell_len
    return Text("\n").join(lines)


@asynccontextmanager
async def server(port: int) -> AsyncIterator[str]:
    """Run ``streamasr serve`` with the embedded model as a process of its own; yields its WebSocket's address.

    Raises:
        ConfigError: it did not start; the sentence is its own.
    """
    command = [sys.executable, "-m", "streamasr", "serve", "--model", "nano", "--port", str(port)]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("STREAMASR_")}
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=log, env=settings
        )
        try:
            yield await _address(process, log)
        finally:
            await _stop(process)


async def _address(process: asyncio.subprocess.Process, log: IO[bytes]) -> str:
    assert process.stdout is not None  # noqa: S101 - asked for when it was made
    try:
        async with asyncio.timeout(READY_S):
            async for line in process.stdout:
                if found := re.search(r"ws://\S+", line.decode()):
                    return found[0]
            await process.wait()
    except TimeoutError as error:
        raise ConfigError(f"the server was not ready in {READY_S:g} s") from error
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines() or ["the server did not start"]
    raise ConfigError(lines[-1].removeprefix("streamasr: "))


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def stream(url: str, recording: Recording, language: str, screen: Screen, latencies: Latencies) -> None:
    """Speak a recording to a server; ``screen`` and ``latencies`` get to know all that comes back."""
    loop = asyncio.get_running_loop()
    async with connect(url, check=True, language=language, **recording.settings) as session:
        began_at = loop.time()

        async def spoken() -> AsyncIterator[bytes]:
            sent = 0
            async for chunk in paced(recording, chunk_s=CHUNK_S, speed=latencies.speed, started_at=began_at):
                sent += len(chunk)
                screen.hear(chunk, sent / recording.bytes_per_second)
                yield chunk

        session.feed(spoken())
        async for event in session:
            latencies.observe(event, loop.time() - began_at)
            screen.observe(event)


async def run(console: Console, recording: Recording, truth: Sequence[Spoken] | None, speed: float, port: int) -> None:
    """The whole demonstration: starts the server, streams, stops the server, reports."""
    latencies = Latencies(truth, speed)
    screen = Screen(console, recording.seconds, latencies)
    async with AsyncExitStack() as stack:
        with console.status("starting the server with its built-in model …"):
            url = await stack.enter_async_context(server(port))
        introduce(console, url, recording, speed)
        with screen:
            await stream(url, recording, "en" if truth else "auto", screen, latencies)
    report(console, screen.finals, latencies)
    console.print(f"\n{about_nano()}", soft_wrap=not console.is_terminal, highlight=False, markup=False)


def about_nano() -> str:
    """What the demonstration was, and the command for the real thing as it can be typed here."""
    command = Path(sys.argv[0])
    known = shutil.which(command.name)
    if command.name == "__main__.py":
        name = "python -m streamasr"
    elif known and Path(known).resolve() == command.resolve():
        name = command.name
    else:
        name = min(os.path.relpath(command), str(command.absolute()), key=len)
    return (
        "This was nano, a built-in test model that knows only synthetic voices; for real ones run"
        f" {name} serve --model DIRECTORY, with a Whisper model in CTranslate2 format."
    )


def main(arguments: argparse.Namespace) -> int:
    """``streamasr demo`` with ``speed``, ``audio`` (a path, or None for the bundled recording) and ``port``.

    Raises:
        ConfigError: it cannot be done like this.
    """
    if not 0 < arguments.speed <= MAX_SPEED:
        raise ConfigError(f"--speed takes a number above 0, at most {MAX_SPEED:g}")
    try:
        recording = read_wav(arguments.audio or DATA / "demo.wav")
    except AudioFileError as error:
        raise ConfigError(str(error)) from error
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}") from error
    if recording.channels > 1:
        raise ConfigError(f"{arguments.audio} has {recording.channels} channels; the demo takes one")
    truth = None if arguments.audio else read_truth(DATA / "demo.json")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        asyncio.run(run(Console(), recording, truth, arguments.speed, arguments.port))
    except StreamError as error:
        Console(stderr=True).print(f"streamasr: the demo broke off: {error}", soft_wrap=True, markup=False)
        return 1
    return 0


def _terminated(number: int, _: object) -> NoReturn:
    """End like Ctrl-C does, so that the server is stopped too."""
    raise SystemExit(128 + number)
