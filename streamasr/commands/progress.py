"""How far a run over several recordings is: bars at a terminal, lines elsewhere, on stderr.

Shows what it is told; the clock is passed in. Knows nothing of how recordings are transcribed.
"""

import sys
from collections.abc import Callable
from pathlib import PurePath
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

LINE_EVERY_S = 10.0
"""Without a terminal each recording that is being transcribed gets a line so often."""
NAME = 32
"""Columns of a recording's name, beside its bar."""


class Shown:
    """What is told how far each recording, named by its source, is; this one shows nothing but notes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin(self, source: str) -> None:
        """Work on a recording begins."""

    def advance(self, source: str, done_s: float, total_s: float | None) -> None:
        """So many of its seconds are done, of so many if that is known."""

    def end(self, source: str, line: str) -> None:
        """It has ended well; ``line`` is worth keeping on the screen, if it is not empty."""

    def note(self, line: str) -> None:
        """Something that must be seen."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def shown(console: Console, recordings: int, clock: Callable[[], float], *, quiet: bool) -> Shown:
    """What suits the console: bars for ``recordings`` of them, lines, or only notes."""
    if quiet:
        return Shown(console)
    return Bars(console, recordings, clock) if console.is_terminal else Lines(console, clock)


class Lines(Shown):
    """A line for what ends, and one every few seconds for what has not."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        super().__init__(console)
        self._clock = clock
        self._began: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def begin(self, source: str) -> None:
        """Work on a recording begins."""
        self._began[source] = self._said[source] = self._clock()

    def advance(self, source: str, done_s: float, total_s: float | None) -> None:
        """A line, if there was none for some time."""
        now = self._clock()
        if now - self._said[source] < LINE_EVERY_S:
            return
        self._said[source] = now
        of = f" of {clock_time(total_s)}" if total_s is not None else ""
        speed = done_s / (now - self._began[source])
        self.note(f"{source}: {clock_time(done_s)}{of}, {speed:.1f} times real time")

    def end(self, source: str, line: str) -> None:
        """It has ended."""
        del self._began[source], self._said[source]
        if line:
            self.note(line)


class Bars(Shown):
    """A bar for each recording that is being transcribed, and one for all."""

    def __init__(self, console: Console, recordings: int, clock: Callable[[], float]) -> None:
        super().__init__(console)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}", justify="right"),
            _Speed(),
            _Remaining(),
            console=console,
            transient=True,
            expand=True,
            get_time=clock,
            # What is printed at this terminal goes above the bars; what is piped elsewhere must get there.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._count = recordings
        self._ended = 0
        self._all: TaskID | None = None
        if recordings > 1:
            self._all = self._progress.add_task("all", total=recordings, done=f"0 of {recordings}", timed=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, source: str) -> None:
        """A new bar."""
        self._tasks[source] = self._progress.add_task(_short(source), total=None, done="", timed=True)

    def advance(self, source: str, done_s: float, total_s: float | None) -> None:
        """Move its bar."""
        done = clock_time(done_s) + (f" of {clock_time(total_s)}" if total_s is not None else "")
        self._progress.update(self._tasks[source], completed=done_s, total=total_s, done=done)

    def end(self, source: str, line: str) -> None:
        """Its bar goes; the one of all moves."""
        self._progress.remove_task(self._tasks.pop(source))
        self._ended += 1
        if self._all is not None:
            self._progress.update(self._all, completed=self._ended, done=f"{self._ended} of {self._count}")
        if line:
            self.note(line)


class _Speed(ProgressColumn):
    """Times real time."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed / task.elapsed:.1f}×" if _runs(task) and task.elapsed else "", "cyan")


class _Remaining(ProgressColumn):
    """Time left at the speed so far."""

    def render(self, task: Task) -> Text:
        if not _runs(task) or not task.elapsed or task.remaining is None:
            return Text("")
        return Text(f"{clock_time(max(0.0, task.remaining) * task.elapsed / task.completed)} left", "green")


def _runs(task: Task) -> bool:
    """Whether it is the task of one recording, and some of it is done."""
    return bool(task.fields["timed"]) and task.completed > 0


def clock_time(seconds: float) -> str:
    """``3:07``, or ``1:02:03`` from an hour on."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _short(source: str) -> str:
    """The end of a name, which tells more than its beginning."""
    name = source if "://" in source else PurePath(source).name
    return name if len(name) <= NAME else f"…{name[1 - NAME :]}"
