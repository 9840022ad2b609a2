"""Which windows go to the engine next, and which never need to: decided at once, from values.

Owns the queue: at most one partial a lane, the order of a lane's windows, the deadlines, and what may share
a batch. Must not know the engine (only its key and its cost), futures, threads or the clock (``now``).

Nothing here waits for company. A batch is formed from what is queued at the moment the device is free, so it
is as large as the load makes it, a lone window is never delayed, and there is no time to wake up at.
"""

from collections.abc import Callable, Hashable
from itertools import accumulate
from typing import NamedTuple

from streamasr.core.events import Window

FILE_BATCH_S = 0.5
"""Longest a batch with a file's window may take, unless it is alone: what a live session that begins may have to wait,
once. Less would leave a GPU with a large model one window at a time."""
FILE_BATCH_BESIDE_S = 0.04
"""The same while there are live sessions: what a live window waits for such a batch is added to its words' lag."""
LIVE_LATELY_S = 10.0
"""There are live sessions if one has sent a window so lately: people pause."""

_REPR_WINDOWS = 8


class _Queued(NamedTuple):
    """A window in the queue; tuples compare by urgency."""

    later: bool
    """Whether it goes behind those of which somebody waits for the last word: all but finals do."""
    due_at: float
    arrival: int
    window: Window


class Batcher:
    """The queue of one engine.

    Finals go first; then the earliest deadline. A lane's windows leave in the order they came, so a lane is as
    urgent as its most urgent window. The most urgent window heads a batch; others join it, by urgency, if the
    batch gains by it (``_Batch.gains``).

    Args:
        max_batch_size: the most windows in a batch.
        batch_key: windows may share a batch only if their keys are equal.
        cost: predicted seconds for a batch of so many windows of so many encoder samples each.
    """

    def __init__(
        self, max_batch_size: int, batch_key: Callable[[Window], Hashable], cost: Callable[[int, int], float]
    ) -> None:
        self._max_batch_size = max_batch_size
        self._batch_key = batch_key
        self._cost = cost
        self._lanes: dict[str, list[_Queued]] = {}
        self._arrivals = 0
        self._live_at = float("-inf")
        """When a live window came last."""
        self._file_at = float("-inf")
        """When a file's window left last."""

    def submit(self, window: Window, now: float) -> list[Window]:
        """Queue a window, due ``window.budget_s`` from now. Numbers rise within a lane.

        Returns:
            The queued partials of its lane that it replaces. It is due when they were, if that is earlier, so
            that a lane cannot starve by refreshing its own partial. A file's window replaces nothing.
        """
        if window.kind != "file":
            self._live_at = now
        lane = self._lanes.setdefault(window.lane, [])
        replaced = [] if window.kind == "file" else [q for q in lane if q.window.kind in ("first", "partial")]
        for queued in replaced:
            lane.remove(queued)
        due_at = min([now + window.budget_s, *(queued.due_at for queued in replaced)])
        lane.append(_Queued(window.kind != "final", due_at, self._arrivals, window))
        self._arrivals += 1
        return [queued.window for queued in replaced]

    def withdraw(self, lane: str, number: int) -> bool:
        """Forget one window; False if it is not queued (any more)."""
        kept = [queued for queued in self._lanes.get(lane, []) if queued.window.number != number]
        found = len(kept) < len(self._lanes.get(lane, []))
        self._keep(lane, kept)
        return found

    def discard(self, lane: str) -> list[Window]:
        """Forget a lane; returns its windows that were queued, in order."""
        return [queued.window for queued in self._lanes.pop(lane, [])]

    def next_batch(self, now: float) -> list[Window]:
        """Take the windows to run now, the most urgent first; none if none is queued.

        To be called whenever the device is free and something is queued.
        """
        queue = self._by_urgency()
        if not queue:
            return []
        live_lately = now - self._live_at < LIVE_LATELY_S
        batch = _Batch(queue[0], self._cost, FILE_BATCH_BESIDE_S if live_lately else FILE_BATCH_S)
        key = self._batch_key(queue[0].window)
        held_back: set[str] = set()  # lanes of which a window stays behind, and so must all later ones
        for queued in queue[1:]:
            if len(batch.windows) == self._max_batch_size:
                break
            window = queued.window
            if window.lane not in held_back and self._batch_key(window) == key and batch.gains(window, now):
                batch.add(window)
            else:
                held_back.add(window.lane)
        for window in batch.windows:
            self.withdraw(window.lane, window.number)
            if window.kind == "file":
                self._file_at = now
        return batch.windows

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def __repr__(self) -> str:
        queue = self._by_urgency()
        shown = [f"{w.lane}#{w.number} {w.kind} {due_at:.3f}" for _, due_at, _, w in queue[:_REPR_WINDOWS]]
        more = [f"{len(queue) - _REPR_WINDOWS} more"] if len(queue) > _REPR_WINDOWS else []
        return f"<Batcher {' | '.join([*shown, *more]) or 'empty'}>"

    def _by_urgency(self) -> list[_Queued]:
        """Everything queued; each window as urgent as any that came after it in its lane."""
        urgent = []
        for lane in self._lanes.values():
            own = [(queued.later, self._due_at(queued)) for queued in reversed(lane)]
            ranks = list(accumulate(own, min))[::-1]
            urgent += [
                queued._replace(later=later, due_at=due_at) for queued, (later, due_at) in zip(lane, ranks, strict=True)
            ]
        return sorted(urgent, key=lambda queued: queued[:3])

    def _due_at(self, queued: _Queued) -> float:
        """When a window is due; a file's: when no file's window has left for as long as it may wait.

        A file sends more than the device can do in time. All of its windows would be overdue, and go before live ones.
        """
        if queued.window.kind != "file":
            return queued.due_at
        return max(queued.due_at, self._file_at + queued.window.budget_s)

    def _keep(self, lane: str, kept: list[_Queued]) -> None:
        if kept:
            self._lanes[lane] = kept
        else:
            self._lanes.pop(lane, None)


class _Batch:
    """A batch being formed: what it costs so far, and whether it gains by one more window."""

    def __init__(self, head: _Queued, cost: Callable[[int, int], float], file_batch_s: float) -> None:
        self.windows: list[Window] = []
        self._cost_of = cost
        self._file_batch_s = file_batch_s
        self._due_at = head.due_at
        self._longest = 0
        self._cost = 0.0
        self._file = False
        self.add(head.window)

    def add(self, window: Window) -> None:
        """Let it in."""
        self.windows.append(window)
        self._longest = max(self._longest, window.encoder_samples)
        self._cost = self._cost_of(len(self.windows), self._longest)
        self._file = self._file or window.kind == "file"

    def gains(self, window: Window, now: float) -> bool:
        """Whether to let it in. There are three reasons not to.

        Padding every member to the longest costs as much as running it by itself; the first window, which
        would have been on time, would be late; or a file's window would keep the device for too long.
        """
        together = self._cost_of(len(self.windows) + 1, max(self._longest, window.encoder_samples))
        if together >= self._cost + self._cost_of(1, window.encoder_samples):
            return False
        if now + self._cost <= self._due_at < now + together:
            return False
        return together <= self._file_batch_s or not (self._file or window.kind == "file")
