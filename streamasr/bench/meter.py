"""An engine under observation: how long each batch took, and which guard would stop each answer.

Keeps figures only, no audio, so that hours can be measured. Knows nothing of what is done with the figures.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import msgspec

from streamasr.core.events import Hypothesis, Window
from streamasr.core.policy import Policy
from streamasr.core.utterance import believable
from streamasr.errors import WindowFailed
from streamasr.inference.engine import Engine, Stages

NEVER = float("inf")
GUARDS = ("no speech", "compression", "speed", "loop", "failed")
"""Why an answer was not taken: silence taken for speech; text that repeats itself; more tokens than can be said in
the time; a phrase said again and again; no answer at all."""


class Ran(NamedTuple):
    """One window that was run."""

    again: bool
    """Whether it is the second try of a window that a guard had stopped."""
    trip: str | None
    """One of ``GUARDS``."""


class Batch(NamedTuple):
    """One call of the engine."""

    windows: tuple[Ran, ...]
    seconds: float
    stages: Stages | None
    """Where its time went, if the engine tells."""


class Meter:
    """Does what ``engine`` does and keeps a ``Batch`` of every call. For one thread."""

    def __init__(self, engine: Engine, policy: Policy, clock: Callable[[], float], stages: list[Stages]) -> None:
        """Set up.

        Args:
            engine: what is measured.
            policy: the guards.
            clock: seconds.
            stages: where the engine puts the stages of each batch before it answers; emptied here.
        """
        self._engine = engine
        self._policy = policy
        self._clock = clock
        self._stages = stages
        self.batches: list[Batch] = []

    @property
    def parallel(self) -> int:
        """As the engine."""
        return self._engine.parallel

    @property
    def max_batch_size(self) -> int:
        """As the engine."""
        return self._engine.max_batch_size

    def batch_key(self, window: Window) -> Hashable:
        """As the engine."""
        return self._engine.batch_key(window)

    def cost(self, windows: int, encoder_samples: int) -> float:
        """As the engine."""
        return self._engine.cost(windows, encoder_samples)

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """As the engine."""
        self._stages.clear()
        before = self._clock()
        answers = self._engine.transcribe(batch)
        seconds = self._clock() - before
        ran = tuple(self._ran(window, answer) for window, answer in zip(batch, answers, strict=True))
        self.batches.append(Batch(ran, seconds, self._stages[-1] if self._stages else None))
        return answers

    def close(self) -> None:
        """As the engine."""
        self._engine.close()

    def last_cost(self, batch: Sequence[Window]) -> float:  # noqa: ARG002 - what a simulation asks of a cost
        """Seconds that the batch just run took."""
        return self.batches[-1].seconds

    def take(self) -> tuple[Batch, ...]:
        """What was run since this was last called."""
        batches, self.batches = tuple(self.batches), []
        return batches

    def _ran(self, window: Window, answer: Hypothesis | WindowFailed) -> Ran:
        return Ran(
            again=window.beam_size > 1,
            trip=trip(answer, window, self._policy),
        )


def trip(answer: Hypothesis | WindowFailed, window: Window, policy: Policy) -> str | None:
    """Which of ``GUARDS`` stops an answer to this window; None: it is taken."""
    if not isinstance(answer, Hypothesis):
        return "failed"
    if believable(answer, window, policy):
        return None
    off = {"no_speech": NEVER, "compression_ratio": NEVER, "tokens_per_second": NEVER}
    fields = {"no speech": "no_speech", "compression": "compression_ratio", "speed": "tokens_per_second"}
    for name, field in fields.items():
        rest = {other: value for other, value in off.items() if other != field}
        alone = believable(answer, window, msgspec.structs.replace(policy, **rest))
        if not alone and believable(answer, window, msgspec.structs.replace(policy, **off)):
            return name
    return "loop"
