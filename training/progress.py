"""One progress bar for each long step, on standard error; nothing when that is no terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Bar(Protocol):
    """A bar that can be moved."""

    def __call__(self, done: float, note: str = "") -> None:
        """So much is done, and this is to be said beside the bar."""


@contextmanager
def progress_bar(title: str, total: float, done: float = 0.0) -> Iterator[Bar]:
    """A bar of length ``total``, of which ``done`` was done before."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(title, total=total, note="")
        bars.update(task, completed=done)

        def move(done: float, note: str = "") -> None:
            bars.update(task, completed=done, note=note)

        yield move
