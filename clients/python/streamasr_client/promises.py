"""The protocol's promises, checked event by event: what ``check=True`` does.

Used by every test and benchmark of the server, so that a broken promise cannot pass unseen. Knows only
events.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from .errors import ProtocolError
from .events import (
    Done,
    Event,
    Failed,
    Final,
    Flushed,
    Id,
    Partial,
    Preflight,
    Ready,
    Settings,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    Unknown,
    Updated,
    Words,
)

CLOCK_S = 0.0011
"""Times are rounded to a millisecond: two of the same sample may differ by one."""


@dataclass(slots=True)
class _Lane:
    """One channel: which utterance is next or open, and what was said of it."""

    utterance: int = 0
    """-1: whatever comes first (a session resumed from somebody else's token)."""
    phase: Literal["closed", "open", "ended"] = "closed"
    stable: str = ""
    preflight: str | None = None
    clock: float = 0.0
    """No later utterance may begin before this second."""
    resumed: bool = False
    """The utterance was open when the connection was lost: it begins again."""


class Promises:
    """Raises ``ProtocolError`` from ``observe`` at the first event that breaks a promise."""

    def __init__(self) -> None:
        self._seq = 0
        self._ready = False
        self._settings: Settings = {}
        self._lanes: list[_Lane] = []
        self._asked: list[Id] = []
        self._over = False

    def flushing(self, flush: Id) -> None:
        """A flush of this id is on its way; the answers are due in the order of the flushes."""
        self._asked.append(flush)

    def reconnected(self, *, resumed: bool, stable_kept: bool) -> None:
        """Over a new connection: the same session, or (not ``resumed``) a new one.

        ``stable_kept``: the stable text shown of the open utterance was handed to the server.
        """
        self._seq, self._ready, self._over = 0, False, False
        for lane in self._lanes:
            lane.resumed = lane.resumed or lane.phase != "closed"
            lane.phase, lane.preflight = "closed", None
            lane.stable = lane.stable if stable_kept else ""
        if not resumed:
            self._lanes = [_Lane() for _ in self._lanes]

    def observe(self, event: Event) -> None:
        """Check the next event of the server, before anything is done with it."""
        self._require(not self._over, event, "comes after the end")
        self._require(event.seq == self._seq, event, f"should have seq {self._seq}")
        self._seq += 1
        if isinstance(event, Failed) and event.fatal:
            self._over = True
            return
        if not self._ready:
            self._first(event)
            return
        self._require(0 <= event.channel < len(self._lanes), event, f"has channel {event.channel}")
        self._next(event, self._lanes[event.channel])

    def _first(self, event: Event) -> None:
        if not isinstance(event, Ready):
            self._require(isinstance(event, Failed | Unknown), event, "comes before ready")
            return
        self._ready, self._settings = True, event.settings
        if not self._lanes:
            first = 0 if event.audio_received == 0 else -1
            self._lanes = [_Lane(first) for _ in range(int(event.settings.get("channels", 1)))]

    def _next(self, event: Event, lane: _Lane) -> None:
        match event:
            case SpeechStarted():
                self._started(event, lane)
            case Partial():
                self._open(event, lane, event.utterance)
                self._require(bool(self._settings.get("interim_results", True)), event, "was not asked for")
                self._grows(event, lane, event.stable)
                self._spells(event, event.words, event.stable)
                lane.stable = event.stable
            case Preflight():
                self._open(event, lane, event.utterance)
                self._require(bool(self._settings.get("preflight", True)), event, "was not asked for")
                self._grows(event, lane, event.text)
                self._spells(event, event.words, event.text)
                lane.preflight = event.text
            case SpeechResumed():
                self._open(event, lane, event.utterance)
                self._require(lane.preflight is not None, event, "takes back no preflight")
                lane.preflight = None
            case SpeechEnded():
                self._open(event, lane, event.utterance)
                lane.phase = "ended"
            case Final():
                self._final(event, lane)
            case Flushed():
                self._require(self._asked[:1] == [event.id], event, f"answers none of {self._asked}")
                del self._asked[0]
            case Updated():
                self._settings = event.settings
            case Done():
                self._done(event)
            case Ready():
                self._require(False, event, "comes twice")

    def _started(self, event: SpeechStarted, lane: _Lane) -> None:
        self._require(lane.phase == "closed", event, f"comes while utterance {lane.utterance} is open")
        if lane.utterance < 0:
            lane.utterance = event.utterance
        self._require(event.utterance == lane.utterance, event, f"should open utterance {lane.utterance}")
        self._require(event.time >= lane.clock - CLOCK_S, event, f"begins before {lane.clock}")
        if not lane.resumed:
            lane.stable = ""
        lane.phase, lane.preflight, lane.resumed = "open", None, False

    def _final(self, event: Final, lane: _Lane) -> None:
        self._require(lane.phase == "ended", event, "comes without speech_ended")
        self._require(event.utterance == lane.utterance, event, f"should close utterance {lane.utterance}")
        self._grows(event, lane, event.text)
        self._spells(event, event.words, event.text)
        self._require(lane.clock - CLOCK_S <= event.start <= event.end, event, f"overlaps what ended at {lane.clock}")
        if lane.preflight is not None and event.reason == "endpoint":
            self._require(event.text == lane.preflight, event, f"differs from its preflight {lane.preflight!r}")
        lane.utterance += 1
        lane.phase, lane.stable, lane.preflight, lane.clock = "closed", "", None, event.end

    def _done(self, event: Done) -> None:
        still = [lane.utterance for lane in self._lanes if lane.phase != "closed"]
        self._require(not still, event, f"leaves utterance {still} open")
        self._require(not self._asked, event, f"leaves flushes {self._asked} unanswered")
        finals = [lane.utterance for lane in self._lanes]
        if min(finals) >= 0:
            self._require(event.utterances == sum(finals), event, f"follows {sum(finals)} finals")
        self._over = True

    def _open(self, event: Event, lane: _Lane, utterance: int) -> None:
        self._require(lane.phase == "open", event, "comes while no utterance is open")
        self._require(utterance == lane.utterance, event, f"is not of utterance {lane.utterance}")

    def _grows(self, event: Event, lane: _Lane, text: str) -> None:
        self._require(text.startswith(lane.stable), event, f"changes the stable text {lane.stable!r}")

    def _spells(self, event: Event, words: Words, text: str) -> None:
        """Whatever joins words in their language, without spaces they spell the text; their times ascend."""
        if not self._settings.get("word_timestamps", True):
            self._require(not words, event, "carries words that were not asked for")
            return
        said = "".join("".join(w.word.split()) for w in words)
        self._require(said == "".join(text.split()), event, f"has words that spell {said!r}")
        for word in words:
            self._require(word.word == word.word.strip() != "", event, f"has spaces around {word}")
            self._require(word.start <= word.end and 0 <= word.confidence <= 1, event, f"has a bad {word}")
        for one, next_ in pairwise(words):
            self._require(one.start <= next_.start, event, f"has {next_} after {one}")

    def _require(self, truth: bool, event: Event, otherwise: str) -> None:  # noqa: FBT001
        if not truth:
            raise ProtocolError(f"a promise is broken: {event} {otherwise}")
