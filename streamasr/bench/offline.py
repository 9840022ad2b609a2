"""What the same model hears without streaming: one window for each utterance, greedy.

The utterances are those that the gate finds in the whole recording. Owns the yardstick by which streaming and
short encoder inputs are judged; knows nothing of sessions or of the clock's meaning.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamasr.bench.meter import Meter
from streamasr.bench.recordings import Recording
from streamasr.bench.scoring import TimedWord, align, normalise
from streamasr.core.events import FRAME, GRID, SAMPLE_RATE, Hypothesis, Window
from streamasr.core.gate import Gate, State
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy, ms
from streamasr.core.windows import MAX_NEW_TOKENS
from streamasr.inference.scorer import VadSource

FULL = 30 * SAMPLE_RATE
"""The encoder input that Whisper was trained with."""
LONGEST = 28 * SAMPLE_RATE
"""An utterance longer than this is cut, so that a margin still fits."""
CUT_FROM = 15 * SAMPLE_RATE
"""Where a cut is looked for: the most silent frame from here to ``LONGEST``."""
AT_ONCE = 64
"""Frames scored in a call."""


class Span(NamedTuple):
    """Samples [start, end) of a recording."""

    start: int
    end: int


class Heard(NamedTuple):
    """What was heard in one window."""

    words: tuple[TimedWord, ...]
    """With their spaces and marks, times in seconds of the recording."""
    language: str
    seconds: float
    """That the engine took."""
    trip: str | None
    """Which guard would stop it."""
    compression: float
    tokens_per_second: float
    no_speech: float

    @property
    def text(self) -> str:
        """The words, joined."""
        return "".join(word.text for word in self.words).strip()


NOTHING = Heard((), "", 0.0, "failed", 1.0, 0.0, 0.0)
"""A window that the engine could not transcribe."""


def utterances(recording: Recording, vad: VadSource, policy: Policy, endpointing_ms: int) -> list[Span]:
    """Where speech is, as live sessions would cut it; at most ``LONGEST`` each."""
    count = len(recording.pcm) // FRAME
    frames = recording.pcm[: count * FRAME].reshape(count, FRAME).astype(np.float32) / np.float32(32768)
    lane = vad.lane()
    scores = [score for at in range(0, count, AT_ONCE) for score in lane.score(frames[at : at + AT_ONCE])]
    gate = Gate(policy)
    spans: list[Span] = []
    start = 0
    for score in scores:
        if gate.step(score) == "started":
            start = gate.start
        if gate.state is State.TRAILING and gate.silence >= ms(endpointing_ms):
            end = min(gate.position, gate.last_speech + policy.tail) // GRID * GRID
            gate.end(end, speech_goes_on=False)
            spans += _short(Span(start, end), scores)
    if gate.speaking:
        spans += _short(Span(start, len(recording.pcm)), scores)
    return spans


class Listener:
    """Gives the engine single windows."""

    def __init__(self, meter: Meter, policy: Policy) -> None:
        self._meter = meter
        self._policy = policy

    def predicted_s(self, encoder_samples: int) -> float:
        """About how long such a window takes."""
        return self._meter.cost(1, encoder_samples)

    def hear(self, recording: Recording, options: SessionOptions, span: Span, encoder_samples: int) -> Heard:
        """One window with so much encoder input (more, if the span is longer)."""
        window = Window(
            lane=recording.name,
            number=0,
            kind="final",
            anchor=span.start,
            pcm=recording.pcm[span.start : span.end].tobytes(),
            encoder_samples=max(encoder_samples, -(-(span.end - span.start) // (2 * GRID)) * 2 * GRID),
            language=None if options.language == "auto" else options.language,
            languages=options.languages,
            max_new_tokens=MAX_NEW_TOKENS,
        )
        answer = self._meter.transcribe([window])[0]
        [batch] = self._meter.take()
        if not isinstance(answer, Hypothesis):
            return NOTHING._replace(seconds=batch.seconds)
        return Heard(
            words=tuple(TimedWord(w.text, w.start / SAMPLE_RATE, w.end / SAMPLE_RATE) for w in answer.words),
            language=answer.language,
            seconds=batch.seconds,
            trip=batch.windows[0].trip,
            compression=answer.compression_ratio,
            tokens_per_second=sum(len(word.tokens) for word in answer.words) * SAMPLE_RATE / window.samples,
            no_speech=answer.no_speech_probability,
        )


class Offline(NamedTuple):
    """A recording as it is heard without streaming."""

    spans: tuple[Span, ...]
    short: tuple[Heard, ...]
    """Each span with the encoder input that the model's entry gives it."""
    full: tuple[Heard, ...]
    """Each span with 30 s of encoder input."""

    @property
    def language(self) -> str:
        """The language heard most; English if nothing was heard."""
        heard = [h.language for h in self.full if h.words]
        return max(set(heard), key=heard.count) if heard else "en"


def text_of(heard: Sequence[Heard]) -> str:
    """The texts, joined."""
    return " ".join(h.text for h in heard if h.text)


def timed_truth(recording: Recording, full: Sequence[Heard], language: str) -> list[TimedWord]:
    """What was said, word for word and with times.

    The truth's own times, if it has any; else those of the words that the model heard with 30 s of input where
    both agree, and in between evenly; without a truth, what the model heard with 30 s stands in for it.
    """
    heard = [TimedWord(t, w.start, w.end) for h in full for w in h.words for t in normalise(w.text, language)]
    if recording.truth is None:
        return heard
    if recording.truth.words:
        return [TimedWord(t, w.start, w.end) for w in recording.truth.words for t in normalise(w.text, language)]
    said = normalise(recording.truth.text, language)
    pairs = align(said, [word.text for word in heard])
    known = {op.ref: heard[op.hyp] for op in pairs if op.ref is not None and op.hyp is not None}
    return _placed(said, known, recording.seconds)


def _placed(said: Sequence[str], known: dict[int, TimedWord], seconds: float) -> list[TimedWord]:
    """Words with the times of those known, the others spread evenly between these."""
    fixed = [-1, *sorted(known), len(said)]
    words = []
    for before, after in pairwise(fixed):
        begin = known[before].end if before >= 0 else 0.0
        end = known[after].start if after < len(said) else seconds
        step = max(0.0, end - begin) / max(1, after - before - 1)
        words += [
            TimedWord(said[i], begin + (i - before - 1) * step, begin + (i - before) * step)
            for i in range(before + 1, after)
        ]
        if after < len(said):
            words.append(TimedWord(said[after], known[after].start, known[after].end))
    return words


def within(words: Sequence[TimedWord], span: Span) -> list[str]:
    """The words of which the greater part is spoken inside a span."""
    return [w.text for w in words if span.start <= SAMPLE_RATE * (w.start + w.end) / 2 < span.end]


def _short(span: Span, scores: Sequence[float]) -> list[Span]:
    """The span in pieces that one window can hold, cut where it is most silent."""
    if span.end - span.start <= LONGEST:
        return [span]
    first, last = (span.start + CUT_FROM) // FRAME, (span.start + LONGEST) // FRAME
    quietest: NDArray[np.intp] = np.argmin(np.asarray(scores[first:last])).reshape(1)
    cut = (first + int(quietest[0])) * FRAME
    return [Span(span.start, cut), *_short(Span(cut, span.end), scores)]


Advance = Callable[[float], None]
"""Told how much has been done since it was last called."""
Phase = Callable[[str, float], Advance]
"""Begins a phase of so much work, in words; what to tell of its progress."""
