"""A model on a user's recordings: what is measured, in which order, and the figures that come of it.

Knows nothing of files or terminals. Times are seconds, rates and their differences per cent of words.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from streamasr.bench import memory
from streamasr.bench.capacity import Capacity, Search
from streamasr.bench.meter import Batch, Meter, Ran
from streamasr.bench.offline import FULL, Listener, Offline, Phase, text_of, utterances
from streamasr.bench.recordings import Recording
from streamasr.bench.scoring import (
    Errors,
    Interval,
    WordLag,
    count_errors,
    errors_by_block,
    normalise,
    paired_bootstrap,
    percentile,
    word_lags,
)
from streamasr.bench.streamed import Played, Player, broken_promises, erased_words, final_words
from streamasr.bench.sweep import ENOUGH_FILES, Sweep, Swept
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.windows import encoder_samples
from streamasr.inference.models import Guards
from streamasr.inference.scorer import VadSource


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """Word errors; without a truth, words that differ from what the model hears offline with 30 s of input."""

    truth: bool
    words: int
    """Of the truth, or of what stands in for it."""
    streamed: float
    short: float
    """Offline, each utterance with the encoder input that live windows have."""
    full: float
    """Offline, each utterance with 30 s."""
    streaming: Interval
    """What streaming costs: streamed − short."""
    shortness: Interval
    """What short inputs cost: short − full."""
    together: Interval
    """streamed − full."""


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How soon and how steady: seconds after each word's end, at 50, 95 and 99 per cent of the words."""

    words: int
    true_times: bool
    """Whether all word ends are the truth's; else the model's own stand in for them."""
    shown: tuple[float, float, float]
    stable: tuple[float, float, float]
    final: tuple[float, float, float]
    """Until an utterance's final is there: after the end of its last word, as the model has it."""
    erased: float
    """Shown words that were changed or taken back, for each word in the end."""
    broken_promises: int
    """How often stable text changed. There must be none."""


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """What the guards stopped."""

    windows: int
    reasons: dict[str, int]
    """How many windows each guard stopped, by its name in ``meter.GUARDS``."""
    again: int
    """Windows that were run a second time, with 30 s."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What one stream costs: seconds for each second of audio."""

    audio_s: float
    engine: float
    """The real-time factor."""
    stages: dict[str, float]
    """The engine's time by stage; empty if the engine does not tell."""
    gate: float
    session: float
    windows: float
    """Windows for each second of audio."""
    window_s: tuple[float, float]
    """Of a window alone: p50, p95."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    recordings: int
    languages: dict[str, int]
    """Recordings in each language."""
    accuracy: Accuracy
    lag: Lag
    guards: Stopped
    speed: Speed
    memory_peak: int | None
    """The most bytes that the process held while single streams were measured; None where that is not known."""
    capacity: Capacity | None
    sweep: Swept | None


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """What was said and heard in one recording."""

    name: str
    truth: str | None
    streamed: str
    short: str
    full: str


class Measured(NamedTuple):
    """The figures, and the texts they are of."""

    figures: Figures
    texts: list[Text]


class Setup(NamedTuple):
    """What is measured, with what."""

    meter: Meter
    vad: VadSource
    policy: Policy
    guards: Guards
    options: SessionOptions
    clock: Callable[[], float]
    phase: Phase


class Plan(NamedTuple):
    """What is to be measured besides accuracy and lag."""

    streams: bool
    floors_s: Sequence[float]
    """To be tried; none: no sweep."""
    margins_s: Sequence[float]


class _Case(NamedTuple):
    """One recording, heard both ways."""

    recording: Recording
    options: SessionOptions
    offline: Offline
    played: Played

    @property
    def language(self) -> str:
        """By which its words are told apart."""
        told = self.recording.truth.language if self.recording.truth else None
        return told or self.offline.language


def measure(recordings: Sequence[Recording], setup: Setup, plan: Plan) -> Measured:
    """Measure everything; at least one recording, and a truth for all of them or for none."""
    listener = Listener(setup.meter, setup.policy)
    seconds = sum(recording.seconds for recording in recordings)
    hearing = setup.phase("without streaming", seconds)
    offline = []
    for recording in recordings:
        offline.append(_offline(recording, setup, listener))
        hearing(recording.seconds)
    streaming = setup.phase("streaming", seconds)
    player = Player(setup.meter, setup.vad, setup.policy, setup.clock)
    cases = []
    for recording, heard in zip(recordings, offline, strict=True):
        options = _options(recording, setup.options)
        cases.append(_Case(recording, options, heard, player.play(recording.pcm, options, streaming)))
    memory_peak, accuracy = memory.peak(), _accuracy(cases)
    capacity, swept = None, None
    if plan.streams and any(case.played.text for case in cases):
        search = Search(setup.meter, setup.vad, setup.policy, [recording.pcm for recording in recordings])
        trying = setup.phase("several streams at a time", 0)
        capacity = search.run([c.played for c in cases], cases[0].options, cases[0].language, trying)
    if plan.floors_s and accuracy.words:
        sweep = Sweep([(case.recording, case.options, case.offline) for case in cases], listener)
        swept = sweep.run(plan.floors_s, plan.margins_s, setup.guards, setup.phase)
    figures = Figures(
        recordings=len(cases),
        languages=dict(Counter(case.language for case in cases)),
        accuracy=accuracy,
        lag=_lag(cases),
        guards=_stopped([batch for case in cases for batch in case.played.batches]),
        speed=_speed(cases),
        memory_peak=memory_peak,
        capacity=capacity,
        sweep=swept,
    )
    return Measured(figures, [_text(case) for case in cases])


def _options(recording: Recording, options: SessionOptions) -> SessionOptions:
    """The session's options: a truth that names its language decides it, unless one was asked for."""
    told = recording.truth.language if recording.truth else None
    return msgspec.structs.replace(options, language=told) if told and options.language == "auto" else options


def _offline(recording: Recording, setup: Setup, listener: Listener) -> Offline:
    options = _options(recording, setup.options)
    spans = utterances(recording, setup.vad, setup.policy, options.endpointing_ms)
    lengths = [encoder_samples(span.end - span.start, setup.policy) for span in spans]
    short = [listener.hear(recording, options, span, length) for span, length in zip(spans, lengths, strict=True)]
    full = [listener.hear(recording, options, span, FULL) for span in spans]
    return Offline(tuple(spans), tuple(short), tuple(full))


def _text(case: _Case) -> Text:
    return Text(
        name=case.recording.name,
        truth=case.recording.truth.text if case.recording.truth else None,
        streamed=case.played.text,
        short=text_of(case.offline.short),
        full=text_of(case.offline.full),
    )


def _accuracy(cases: Sequence[_Case]) -> Accuracy:
    """Errors of each way, and their differences, resampled by recordings if there are enough, else by 25 words."""
    units: list[tuple[Errors, Errors, Errors]] = []
    for case in cases:
        text = _text(case)
        truth = normalise(text.full if text.truth is None else text.truth, case.language)
        ways = [normalise(way, case.language) for way in (text.streamed, text.short, text.full)]
        if len(cases) >= ENOUGH_FILES:
            streamed, short, full = (count_errors(truth, way) for way in ways)
            units.append((streamed, short, full))
        else:
            units += zip(*(errors_by_block(truth, way) for way in ways), strict=True)
    streamed, short, full = (sum((unit[way] for unit in units), Errors()) for way in range(3))

    def difference(a: int, b: int) -> Interval:
        return paired_bootstrap([(unit[a].total, unit[b].total, unit[a].words) for unit in units])

    return Accuracy(
        truth=all(case.recording.truth is not None for case in cases),
        words=streamed.words,
        streamed=streamed.wer,
        short=short.wer,
        full=full.wer,
        streaming=difference(0, 1),
        shortness=difference(1, 2),
        together=difference(0, 2),
    )


def _lag(cases: Sequence[_Case]) -> Lag:
    lags, finals = list[WordLag](), list[float]()
    erased, broken, words, true_times = 0, 0, 0, True
    for case in cases:
        log, truth = case.played.log, case.recording.truth
        true_times = true_times and truth is not None and bool(truth.words or not truth.text)
        said = truth.words if truth and truth.words else final_words(log)
        lags += word_lags(said, log, case.language)
        finals += [arrival.at - arrival.words[-1].end for arrival in log if arrival.final and arrival.words]
        words += len(normalise(case.played.text, case.language))
        erased += erased_words(log, case.language)
        broken += broken_promises(log)
    return Lag(
        words=len(lags),
        true_times=true_times,
        shown=_percentiles([lag.shown for lag in lags]),
        stable=_percentiles([lag.stable for lag in lags]),
        final=_percentiles(finals),
        erased=erased / words if words else float("nan"),
        broken_promises=broken,
    )


def _stopped(batches: Sequence[Batch]) -> Stopped:
    ran: list[Ran] = [window for batch in batches for window in batch.windows]
    reasons = Counter(window.trip for window in ran if window.trip is not None)
    return Stopped(windows=len(ran), reasons=dict(reasons), again=sum(window.again for window in ran))


def _speed(cases: Sequence[_Case]) -> Speed:
    audio_s = sum(case.played.audio_s for case in cases)
    batches = [batch for case in cases for batch in case.played.batches]
    stages = [msgspec.structs.asdict(batch.stages) for batch in batches if batch.stages is not None]
    names = stages[0] if stages else {}
    seconds = [batch.seconds for batch in batches]
    return Speed(
        audio_s=audio_s,
        engine=sum(seconds) / audio_s,
        stages={name.removesuffix("_s"): sum(stage[name] for stage in stages) / audio_s for name in names},
        gate=sum(case.played.gate_s for case in cases) / audio_s,
        session=sum(case.played.session_s for case in cases) / audio_s,
        windows=sum(len(batch.windows) for batch in batches) / audio_s,
        window_s=(percentile(seconds, 50), percentile(seconds, 95)),
    )


def _percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    return percentile(values, 50), percentile(values, 95), percentile(values, 99)
