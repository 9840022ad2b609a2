"""What several commands show alike: how a model comes, as a bar at a terminal and as lines elsewhere.

Knows nothing of what is being waited for: it is told stages and shares, from any thread.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from streamasr.inference.loading import Watcher

STEP = 0.1
"""Without a terminal a line is printed whenever a stage has come so much further."""


def at_terminal() -> bool:
    """Whether a person sees what is printed on stderr."""
    return sys.stderr.isatty()


@contextmanager
def loading_shown(*, quiet: bool = False) -> Iterator[Watcher]:
    """What to tell of the model's coming; shown on stderr while the block runs."""
    if quiet:
        yield _unseen
    elif at_terminal():
        with _bar() as watcher:
            yield watcher
    else:
        yield Lines(sys.stderr).show


def _unseen(_stage: str, _share: float | None) -> None:
    """Where nobody wants to know."""


@contextmanager
def _bar() -> Iterator[Watcher]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def show(stage: str, share: float | None) -> None:
            first, _, rest = stage.partition("\n")
            if rest:  # what is worth keeping on the screen
                console.print(rest, highlight=False, markup=False)
            progress.update(task, description=first, completed=share or 0, total=None if share is None else 1)

        yield show


class Lines:
    """A line for each new stage, and for each tenth of it."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._stage = ""
        self._shown = 0.0
        self._lock = threading.Lock()

    def show(self, stage: str, share: float | None) -> None:
        """Print what is worth a line."""
        with self._lock:
            if stage != self._stage:
                self._stage, self._shown = stage, 0.0
                self._print(stage if share is None else f"{stage}: {share:.0%}")
            elif share is not None and (share >= self._shown + STEP or share == 1.0 > self._shown):
                self._print(f"{stage.partition(chr(10))[0]}: {share:.0%}")
            else:
                return
            self._shown = share or 0.0

    def _print(self, line: str) -> None:
        print(f"streamasr: {line}", file=self._out, flush=True)
