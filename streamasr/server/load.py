"""How busy the people who speak keep the engine, and how busy they will: measured, nothing assumed.

Pure: times are passed in. A file's windows are left out throughout, since they give way to live ones.
"""

from collections import deque
from math import exp

import msgspec

from streamasr.core.events import SAMPLE_RATE
from streamasr.inference.worker import BatchRecord

SPAN_S = 5
"""So many whole seconds count as now."""
ENDS_S = 60.0
"""Seconds over which the sessions that ended are counted."""
SPEAKER_S = 20.0
"""How fast the load of one speaker is learnt."""
SHARE_S = 120.0
"""How fast the share of sessions that speak is learnt: over many turns of a conversation."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What admission decides from."""

    busy: float
    """The share of the engine's time that live windows took lately, 0 to 1."""
    speaker: float | None
    """The share that one speaking session takes: engine seconds a second of speech. None: nobody has spoken yet."""
    speaking: float
    """Sessions that speak at a time now: seconds of speech a second. So a short burst of old audio is many."""
    sessions: int
    """Sessions that are open."""
    young: int
    """Those opened so lately that ``busy`` does not show them."""
    speaking_share: float
    """How many of the open sessions speak at a time, 0 to 1."""
    ends_per_s: float
    """Sessions that end, a second."""


class LoadMeter:
    """Learns from batches, and from sessions that come and go."""

    def __init__(self, most: float = 1.0) -> None:
        """``most``: the busy share above which partials give way, so that a speaker's load looks smaller than it is."""
        self._most = most
        self._seconds = deque([_Second(0)])
        self._heard: dict[str, tuple[int, float]] = {}
        """The sample to which a lane was heard, and when: of those that were lately."""
        self._opened_at: dict[object, float] = {}
        self._ended_at: deque[float] = deque()
        self._engine = _Mean(SPEAKER_S)
        self._speakers = _Mean(SPEAKER_S)
        self._share = _Mean(SHARE_S)

    def batch(self, record: BatchRecord) -> None:
        """A batch has run."""
        second = self._roll(record.ended_at)
        each_s = record.engine_s / record.size / record.devices
        for lane, kind, (begin, end) in zip(record.lanes, record.kinds, record.spans, strict=True):
            if kind != "file":
                heard_to, _ = self._heard.get(lane, (begin, 0.0))
                self._heard[lane] = max(heard_to, end), record.ended_at
                second.engine_s += each_s
                second.speech_s += max(0, end - max(heard_to, begin)) / SAMPLE_RATE

    def opened(self, session: object, now: float) -> None:
        """A session has been let in."""
        self._opened_at[session] = now

    def ended(self, session: object, now: float) -> None:
        """It has gone."""
        self._opened_at.pop(session, None)
        self._ended_at.append(now)
        _forget(self._ended_at, now - ENDS_S)

    def spoke(self, now: float) -> int:
        """Sessions of which a live window ran in the last ``SPAN_S`` seconds."""
        return len({session_of(lane) for lane, (_, at) in self._heard.items() if at > now - SPAN_S})

    def load(self, now: float) -> Load:
        """All that is known now."""
        self._roll(now)
        _forget(self._ended_at, now - ENDS_S)
        return Load(
            busy=self._busy,
            speaker=self._speaker,
            speaking=self._speaking,
            sessions=len(self._opened_at),
            young=self._young(now),
            speaking_share=1.0 if self._share.value is None else self._share.value,
            ends_per_s=len(self._ended_at) / ENDS_S,
        )

    @property
    def _whole(self) -> list["_Second"]:
        """The seconds that count as now: not the one that still runs."""
        return [second for second in self._seconds if second.begin < self._seconds[-1].begin]

    @property
    def _busy(self) -> float:
        return min(1.0, sum(second.engine_s for second in self._whole) / SPAN_S)

    @property
    def _speaking(self) -> float:
        return sum(second.speech_s for second in self._whole) / SPAN_S

    @property
    def _speaker(self) -> float | None:
        """One speaker's share: of means, so that a second with many speakers counts for more."""
        if self._engine.value is None or self._speakers.value is None:
            return None
        return self._engine.value / self._speakers.value

    def _young(self, now: float) -> int:
        return sum(at > now - SPAN_S for at in self._opened_at.values())

    def _roll(self, now: float) -> "_Second":
        """The second that runs; learns from those before it."""
        begin = int(now)
        if (passed := begin - self._seconds[-1].begin) > 0:
            self._seconds.append(_Second(begin))
            while self._seconds[0].begin < begin - SPAN_S:
                self._seconds.popleft()
            self._heard = {lane: heard for lane, heard in self._heard.items() if heard[1] > now - SPAN_S}
            self._learn(now, passed)
        return self._seconds[-1]

    def _learn(self, now: float, passed: float) -> None:
        busy, speaking = self._busy, self._speaking
        known = self._speaker
        if speaking and (known is None or busy <= self._most or busy / speaking > known):
            self._engine.add(busy, passed)
            self._speakers.add(speaking, passed)
        if settled := len(self._opened_at) - self._young(now):
            self._share.add(min(1.0, speaking / settled), passed)


class _Second:
    """What ran in one second."""

    def __init__(self, begin: int) -> None:
        self.begin = begin
        self.engine_s = 0.0
        self.speech_s = 0.0


def session_of(lane: str) -> str:
    """The session of a lane, which is named ``session/channel``."""
    return lane.rpartition("/")[0] or lane


class _Mean:
    """A mean that forgets: plain while it is young, then over about ``memory_s`` seconds."""

    def __init__(self, memory_s: float) -> None:
        self.value: float | None = None
        self._memory_s = memory_s
        self._seen = 0

    def add(self, value: float, passed: float) -> None:
        """What was seen, ``passed`` seconds after what was seen before."""
        self._seen += 1
        weight = max(1 / self._seen, 1 - exp(-passed / self._memory_s))
        self.value = value if self.value is None else self.value + weight * (value - self.value)


def _forget(times: deque[float], before: float) -> None:
    while times and times[0] <= before:
        times.popleft()
