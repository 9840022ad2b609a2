"""Speech probabilities to utterance boundaries. A policy, tested from lists of floats.

Knows nothing of audio or words. One transition table decides; the positions beside it are bookkeeping. It
is stepped one frame at a time and says what that frame changed.
"""

from enum import Enum, auto
from typing import Literal

from streamasr.core.events import FRAME, GRID
from streamasr.core.policy import Policy


class State(Enum):
    """Where a lane is."""

    SILENT = auto()
    ONSET = auto()
    """The last frame was speech, those before were not."""
    FADING = auto()
    """The frame before the last was speech: one more makes two of three."""
    SPEECH = auto()
    TRAILING = auto()
    """Silence inside an utterance, short of its endpoint."""
    CUT = auto()
    """An utterance was ended from outside while speech went on."""


Loudness = Literal["high", "middle", "low"]
Change = Literal["started", "resumed", "paused"]

TRANSITIONS: dict[tuple[State, Loudness], tuple[State, Change | None]] = {
    (State.SILENT, "high"): (State.ONSET, None),
    (State.SILENT, "middle"): (State.SILENT, None),
    (State.SILENT, "low"): (State.SILENT, None),
    (State.ONSET, "high"): (State.SPEECH, "started"),
    (State.ONSET, "middle"): (State.FADING, None),
    (State.ONSET, "low"): (State.FADING, None),
    (State.FADING, "high"): (State.SPEECH, "started"),
    (State.FADING, "middle"): (State.SILENT, None),
    (State.FADING, "low"): (State.SILENT, None),
    (State.SPEECH, "high"): (State.SPEECH, None),
    (State.SPEECH, "middle"): (State.SPEECH, None),
    (State.SPEECH, "low"): (State.TRAILING, "paused"),
    (State.TRAILING, "high"): (State.SPEECH, "resumed"),
    (State.TRAILING, "middle"): (State.SPEECH, "resumed"),
    (State.TRAILING, "low"): (State.TRAILING, None),
    (State.CUT, "high"): (State.SPEECH, "started"),
    (State.CUT, "middle"): (State.SPEECH, "started"),
    (State.CUT, "low"): (State.SILENT, None),
}
"""(state, frame) → (state, what changed). The endpoint is no transition: it is a count of trailing silence."""


class Gate:
    """One lane's gate."""

    def __init__(self, policy: Policy, start: int = 0) -> None:
        self._policy = policy
        self.state = State.SILENT
        self.position = start
        """The sample after the last frame scored."""
        self.onset = start
        """Where the first speech frame of this utterance begins."""
        self.last_speech = start
        """The sample after the last speech frame."""
        self.free_from = start
        """Samples before this belong to an utterance that has ended."""
        self.raised = False
        """Whether beginning an utterance takes more than usual, because the last speech had no words."""

    def __repr__(self) -> str:
        return f"<Gate {self.state.name} at {self.position}, last speech {self.last_speech}>"

    def step(self, score: float) -> Change | None:
        """Take the next frame's speech probability; say what it changed."""
        loudness = self._loudness(score)
        before = self.state
        self.state, change = TRANSITIONS[before, loudness]
        frame_start = self.position
        self.position += FRAME
        if self.state is State.ONSET or (before is State.CUT and change == "started"):
            self.onset = frame_start
        if self.state is State.SPEECH:
            self.last_speech = self.position
        return change

    def _loudness(self, score: float) -> Loudness:
        start = self._policy.start_score
        if self.raised:
            start += self._policy.raised_score
        if score >= start:
            return "high"
        return "middle" if score >= self._policy.stop_score else "low"

    @property
    def speaking(self) -> bool:
        """Whether an utterance is open."""
        return self.state in (State.SPEECH, State.TRAILING)

    @property
    def silence(self) -> int:
        """How long the open utterance has been silent."""
        return self.position - self.last_speech if self.speaking else 0

    @property
    def start(self) -> int:
        """Where the utterance that has just started begins: its pre-roll takes no sample of the one before.

        It reaches back twice as far where a raised threshold may have missed the beginning.
        """
        reach = self._policy.pre_roll * (2 if self.raised else 1)
        return max(self.free_from, (self.onset - reach) // GRID * GRID)

    def hesitant(self) -> bool:
        """Whether speech may just have begun: one speech frame is too little for a start, but is not silence."""
        return self.state in (State.ONSET, State.FADING)

    def end(self, at: int, *, speech_goes_on: bool) -> None:
        """The open utterance ends at sample ``at``; what follows may begin the next one there."""
        self.free_from = at
        self.state = State.CUT if speech_goes_on else State.SILENT
