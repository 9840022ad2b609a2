"""The seam that shells know: windows in, hypotheses out.

``LocalBackend`` (``worker.py``) is one in this process; a remote one is the same thing somewhere else.
"""

from typing import Protocol

from streamasr.core.events import Hypothesis, Window


class Backend(Protocol):
    """Where windows go to be transcribed. All methods are called on the event loop."""

    async def start(self) -> None:
        """Load and warm up; returns when the first window can be taken.

        Raises:
            ModelError: the model cannot be run.
        """

    async def submit(self, window: Window) -> Hypothesis:
        """Transcribe one window.

        Partials of one lane replace each other while queued; a final is never dropped.

        Raises:
            WindowSuperseded: a newer partial of the lane came before this one was begun.
            WindowDiscarded: ``discard`` was called for its lane, or the backend closed.
            WindowFailed: the engine could not transcribe this window.
            Unavailable: the engine is stopped.
        """

    def discard(self, lane: str) -> None:
        """Forget the queued windows of a lane whose client has gone."""

    def headroom(self) -> float:
        """The share of the engine's time that was idle lately, 0 (saturated) to 1 (idle)."""

    async def close(self) -> None:
        """Stop. What is queued is discarded; what runs is finished."""
