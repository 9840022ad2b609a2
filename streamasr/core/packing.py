"""A recording's speech probabilities to stretches of speech, each about as long as a window may be.

Owns where a recording is cut: in a pause wherever there is one. Knows nothing of audio, words or windows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from streamasr.core.events import FRAME, GRID
from streamasr.core.gate import Gate, State
from streamasr.core.policy import Policy, ms


class Packing(msgspec.Struct, frozen=True, kw_only=True):
    """How a recording is cut; lengths are counts of 16 kHz samples."""

    tail: int = ms(250)
    """Audio after the last speech frame that belongs to a stretch."""
    endpoint: int = ms(500)
    """Silence after which it takes two frames of speech, not one, to go on."""
    longest_pause: int = ms(1_000)
    """A longer pause is not kept inside a stretch."""
    cut_pause: int = ms(96)
    """In a shorter pause (three frames) nothing is cut: it may be a consonant."""

    @classmethod
    def of(cls, policy: Policy) -> "Packing":
        """What suits a model: where short windows cost as much as long ones, longer pauses are worth keeping."""
        return cls(longest_pause=max(cls().longest_pause, policy.encoder_floor // 4))


class Pause(NamedTuple):
    """Silence between two speech frames."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How long it is."""
        return self.end - self.start


class Stretch:
    """Speech, with the pauses inside it, from its pre-roll to its tail."""

    def __init__(self, start: int, onset: int) -> None:
        self.start = start
        self.onset = onset
        """Where its first speech frame begins."""
        self.last_speech = onset
        """The sample after its last speech frame so far."""
        self.end: int | None = None
        """None while it may still grow."""
        self.before_silence = False
        """Whether a pause too long to be kept inside a stretch follows it, or the recording's end."""
        self.pauses: list[Pause] = []
        """Those in which it may be cut."""

    def __repr__(self) -> str:
        return f"<Stretch [{self.start}, {self.end}), last speech {self.last_speech}>"


class Packer:
    """One recording's speech, packed into stretches that one window each can hold.

    Speech that goes on for longer than a window without a pause is handed out while it still grows: windows must
    walk through it. It ends at the next pause.
    """

    def __init__(self, policy: Policy, packing: Packing) -> None:
        self._policy = policy
        self._packing = packing
        self._gate = Gate(policy)
        self._open: Stretch | None = None
        self._walking = False
        self._free_from = 0
        """Samples before this belong to a stretch that has ended."""
        self._ready: list[Stretch] = []

    @property
    def position(self) -> int:
        """The sample after the last frame scored."""
        return self._gate.position

    @property
    def needed_from(self) -> int:
        """The first sample that a stretch not handed out yet may begin with."""
        if self._open is not None:
            return self._open.last_speech if self._walking else self._open.start
        return max(self._free_from, self._gate.position - self._policy.pre_roll - 4 * FRAME)

    def take(self) -> list[Stretch]:
        """Stretches that are new: complete, or too long for a window and still growing."""
        ready, self._ready = self._ready, []
        return ready

    def receive_scores(self, scores: Sequence[float]) -> None:
        """Take speech probabilities of consecutive frames."""
        for score in scores:
            self._step(score)

    def finish(self, end: int) -> None:
        """The recording ends at sample ``end``."""
        gate = self._gate
        if self._open is None and gate.hesitant():
            self._begin(gate.onset)
        if self._open is not None:
            if gate.state is State.SPEECH or gate.hesitant():
                self._open.last_speech = end
            self._open.before_silence = True
            self._end(min(end, self._open.last_speech + self._packing.tail))

    def _step(self, score: float) -> None:
        gate, packing = self._gate, self._packing
        spoken_to = gate.last_speech
        change = gate.step(score)
        if change in ("started", "resumed"):
            self._go_on(Pause(spoken_to, gate.onset if change == "started" else gate.position - FRAME))
        if self._open is None:
            return
        if gate.state is State.SPEECH:
            self._open.last_speech = gate.last_speech
            self._keep_short(self._open)
        elif gate.state is State.TRAILING and gate.silence >= packing.endpoint:
            gate.end(gate.position, speech_goes_on=False)
        silence = gate.position - self._open.last_speech
        limit = packing.endpoint if self._walking else packing.longest_pause
        if silence >= limit and not gate.speaking and not gate.hesitant():
            self._open.before_silence = silence >= packing.longest_pause
            self._end(self._open.last_speech + packing.tail)

    def _go_on(self, pause: Pause) -> None:
        """Speech after a pause."""
        stretch = self._open
        if stretch is None:
            self._begin(pause.end)
        elif pause.length >= self._packing.cut_pause:
            if self._walking:
                self._cut(stretch, pause)
            else:
                stretch.pauses.append(pause)

    def _begin(self, onset: int) -> None:
        self._open = Stretch(max(self._free_from, (onset - self._policy.pre_roll) // GRID * GRID), onset)

    def _end(self, end: int) -> None:
        """The open stretch is complete."""
        stretch, self._open = self._open, None
        if stretch is None:
            return
        stretch.end = self._free_from = max(stretch.start, end // GRID * GRID)
        if not self._walking:
            self._ready.append(stretch)
        self._walking = False

    def _keep_short(self, stretch: Stretch) -> None:
        """Cut a stretch that has outgrown a window in its deepest pause; without one, walking begins."""
        if self._walking or stretch.last_speech + self._packing.tail - stretch.start <= self._policy.longest_window:
            return
        late = [p for p in stretch.pauses if p.start - stretch.start >= self._policy.longest_window // 2]
        pauses = late or stretch.pauses
        if pauses:
            self._cut(stretch, max(pauses, key=lambda pause: (pause.length, pause.start)))
        else:
            self._walking = True
            self._ready.append(stretch)

    def _cut(self, stretch: Stretch, pause: Pause) -> None:
        """End a stretch in one of its pauses; what follows is the next one."""
        last_speech, later = stretch.last_speech, [p for p in stretch.pauses if p.start > pause.start]
        stretch.last_speech, stretch.pauses = pause.start, []
        self._end(min(pause.start + self._packing.tail, (pause.start + pause.end) // 2))
        self._begin(pause.end)
        if self._open is not None:
            self._open.last_speech, self._open.pauses = max(last_speech, pause.end), later
            self._keep_short(self._open)
