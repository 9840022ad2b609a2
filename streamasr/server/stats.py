"""What the server knows of itself: counters since its start, and how long things took lately.

Pure: times are passed in. Knows neither sessions nor the engine, only what it is told of them. Two reads of the
counters give what happened between them; percentiles are of the last ``LATELY_S`` seconds.
"""

from collections import Counter, deque

import msgspec
import numpy as np

from streamasr.core.events import SAMPLE_RATE
from streamasr.inference.engine import Stages
from streamasr.inference.worker import BatchRecord
from streamasr.server.load import Load, LoadMeter

LATELY_S = 60.0
"""What percentiles are taken over."""
MOST_TIMES = 1 << 14
"""Times kept for percentiles; past so many in ``LATELY_S`` the oldest are passed over."""

MOST_PIECES = 1 << 10
"""Pieces of audio whose arrival is kept: about a minute."""


class Times(msgspec.Struct, frozen=True):
    """How long something took lately, in seconds; None if it has not happened."""

    count: int = 0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """Live sessions and recordings over HTTP."""

    open: int
    """Now."""
    speaking: int
    """Those of which a live window ran in the last ``load.SPAN_S`` seconds."""
    refused: int
    """Live sessions refused since the start, for whatever reason."""
    started: int
    ended: int


class Batches(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine was given since the start."""

    count: int
    windows: int
    mean_size: float
    sizes: dict[int, int]
    """Batches by the number of their windows."""
    encoder_s: float
    """Seconds of audio that the encoder saw, padding included."""
    padded_s: float
    """How much of that padded windows to the longest of their batch."""
    padded_share: float
    engine_s: float
    """Seconds in which the engine worked, retries included; devices added up."""


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """What became of windows since the start, by what they were for."""

    partial: int
    final: int
    file: int
    superseded: int
    """Partials that never ran, because a newer one took their place."""
    failed: int
    """Those of the first three that the engine could not transcribe."""


class StageSeconds(msgspec.Struct, frozen=True, kw_only=True):
    """Where the time went since the start: the engine's stages on the wall, the gate in CPU."""

    features: float
    encode: float
    decode: float
    align: float
    assembly: float
    gate: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``GET /v1/stats``."""

    uptime_s: float
    model: str | None
    sessions: Sessions
    headroom: float
    """The share of the last five seconds in which the engine was idle, 0 to 1."""
    load: Load
    """What admission decides from."""
    queue_age_s: Times
    """How long live windows waited for the engine."""
    final_queue_age_s: Times
    """Finals alone."""
    speech_to_final_s: Times
    """From the arrival of an utterance's last speech to its final going out, where silence ended the utterance."""
    batches: Batches
    windows: Windows
    stages_s: StageSeconds
    cpu_s: float
    """CPU seconds of the process since its start."""
    rss_bytes: int | None


class Stats:
    """Adds up what it is told. ``stages`` may be called from any thread, everything else from one."""

    def __init__(self, now: float, min_headroom: float = 0.0) -> None:
        self.load = LoadMeter(1 - min_headroom)
        self._started_at = now
        self._sessions = Counter[str]()
        self._windows = Counter[str]()
        self._sizes = Counter[int]()
        self._encoder_samples = 0.0
        self._padded_samples = 0.0
        self._engine_s = 0.0
        self._features_s = self._encode_s = self._decode_s = self._align_s = self._assembly_s = 0.0
        self._handed = deque[Stages]()  # by the engine's threads
        self._queue = _Recent()
        self._final_queue = _Recent()
        self._to_final = _Recent()

    def stages(self, stages: Stages) -> None:
        """A batch's time; on any thread."""
        self._handed.append(stages)

    def batch(self, record: BatchRecord) -> None:
        """A batch has run."""
        now = record.ended_at
        self.load.batch(record)
        self._take_stages()
        self._sizes[record.size] += 1
        seen = record.encoder_samples * record.size
        self._encoder_samples += seen
        self._padded_samples += seen * record.padded_share
        self._engine_s += record.engine_s
        self._windows["failed"] += record.failed
        self._windows["superseded"] += record.superseded
        for kind, age in zip(record.kinds, record.queue_ages, strict=True):
            self._windows[kind] += 1
            if kind == "file":
                continue
            self._queue.add(now, age)
            if kind == "final":
                self._final_queue.add(now, age)

    def session_started(self, session: object, now: float) -> None:
        """One more is open."""
        self._sessions["started"] += 1
        self.load.opened(session, now)

    def session_ended(self, session: object, now: float) -> None:
        """It has gone."""
        self._sessions["ended"] += 1
        self.load.ended(session, now)

    def session_refused(self) -> None:
        """One was not let in."""
        self._sessions["refused"] += 1

    def final_said(self, seconds: float, now: float) -> None:
        """An utterance that silence ended was said so long after its last speech had arrived."""
        self._to_final.add(now, seconds)

    def report(
        self, now: float, *, headroom: float, gate_s: float, cpu_s: float, rss_bytes: int | None, model: str | None
    ) -> Report:
        """All of it, with what others know.

        Args:
            now: the time.
            headroom: the engine's idle share lately, 0 to 1.
            gate_s: CPU seconds of the voice-activity model.
            cpu_s: CPU seconds of the process.
            rss_bytes: the process's memory; None if its system does not tell.
            model: its name; None while it is being loaded.
        """
        self._take_stages()
        count, windows = self._sizes.total(), sum(size * times for size, times in self._sizes.items())
        return Report(
            uptime_s=now - self._started_at,
            model=model,
            sessions=Sessions(
                open=self._sessions["started"] - self._sessions["ended"],
                speaking=self.load.spoke(now),
                refused=self._sessions["refused"],
                started=self._sessions["started"],
                ended=self._sessions["ended"],
            ),
            headroom=headroom,
            load=self.load.load(now),
            queue_age_s=self._queue.times(now),
            final_queue_age_s=self._final_queue.times(now),
            speech_to_final_s=self._to_final.times(now),
            batches=Batches(
                count=count,
                windows=windows,
                mean_size=windows / count if count else 0.0,
                sizes=dict(sorted(self._sizes.items())),
                encoder_s=self._encoder_samples / SAMPLE_RATE,
                padded_s=self._padded_samples / SAMPLE_RATE,
                padded_share=self._padded_samples / self._encoder_samples if self._encoder_samples else 0.0,
                engine_s=self._engine_s,
            ),
            windows=Windows(
                partial=self._windows["first"] + self._windows["partial"],
                final=self._windows["final"],
                file=self._windows["file"],
                superseded=self._windows["superseded"],
                failed=self._windows["failed"],
            ),
            stages_s=StageSeconds(
                features=self._features_s,
                encode=self._encode_s,
                decode=self._decode_s,
                align=self._align_s,
                assembly=self._assembly_s,
                gate=gate_s,
            ),
            cpu_s=cpu_s,
            rss_bytes=rss_bytes,
        )

    def _take_stages(self) -> None:
        while self._handed:
            stages = self._handed.popleft()
            self._features_s += stages.features_s
            self._encode_s += stages.encode_s
            self._decode_s += stages.decode_s
            self._align_s += stages.align_s
            self._assembly_s += stages.assembly_s


class Arrivals:
    """When a lane's audio came: to tell how long ago its last speech was."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[int, float]] = deque(maxlen=MOST_PIECES)

    def add(self, received: int, now: float) -> None:
        """A piece has come, with which so many samples have been received."""
        self._pieces.append((received, now))

    def of(self, sample: int) -> float | None:
        """When the audio before ``sample`` was there; None if it is not, or was too long ago. Samples only rise."""
        while self._pieces and self._pieces[0][0] < sample:
            self._pieces.popleft()
        return self._pieces[0][1] if self._pieces else None


class _Recent:
    """Times of the last ``LATELY_S`` seconds."""

    def __init__(self) -> None:
        self._times: deque[tuple[float, float]] = deque(maxlen=MOST_TIMES)

    def add(self, now: float, seconds: float) -> None:
        self._forget(now)
        self._times.append((now, seconds))

    def times(self, now: float) -> Times:
        self._forget(now)
        if not self._times:
            return Times()
        seconds = [seconds for _, seconds in self._times]
        return Times(len(seconds), *np.percentile(seconds, (50, 95, 99)).tolist())

    def _forget(self, now: float) -> None:
        while self._times and self._times[0][0] <= now - LATELY_S:
            self._times.popleft()
