"""From one recording's texts and arrivals to the figures of a set: scores, sums, rows.

Pure: knows nothing of servers, files or of how a table is drawn. Rates and differences are in per cent of the
reference's words, times in seconds.
"""

from collections.abc import Sequence

import msgspec

from benchmarks.evalset import Recording
from streamasr.bench.scoring import (
    Errors,
    Interval,
    Shown,
    WordLag,
    count_errors,
    doubled_words,
    lost_runs,
    mean_absolute,
    normalise,
    paired_bootstrap,
    percentile,
    word_lags,
)

TOGETHER = ("seen", "unseen", "long")
"""The sets whose difference from the reference is also taken over all of their files at once."""


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """One recording through a server: what arrived, and when on the audio's clock."""

    log: tuple[Shown, ...]
    """Partials and finals in order of arrival."""
    final_waits: tuple[float, ...] = ()
    """Seconds from an endpoint's ``speech_ended`` to its final."""
    late: float = 0.0
    """By how many seconds the latest chunk was sent too late: above some hundredths, lags mean nothing."""

    @property
    def text(self) -> str:
        """The finals' texts, joined."""
        return " ".join(shown.stable for shown in self.log if shown.final and shown.stable)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of the same recording without streaming; None where not asked for."""

    reference: str | None = None
    whole_file: str | None = None
    whole_file_alone: str | None = None
    """As ``whole_file``, each window decoded without the text before it."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One recording's figures."""

    id: str
    set: str
    text: str
    heard: Heard
    streamed: Errors
    reference: Errors | None
    whole_file: Errors | None
    whole_file_alone: Errors | None
    lags: tuple[WordLag, ...]
    """Empty unless streamed in real time."""
    word_errors: tuple[tuple[float, float], ...]
    """Start and end time of a final's word minus the true ones."""
    final_waits: tuple[float, ...]
    late: float
    shown_words: int
    """The most words that were shown of one utterance at once: on silence there must be none."""
    doubled: int
    lost: int
    reference_doubled: int
    reference_lost: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A set's figures; nan where there is nothing to measure."""

    name: str
    files: int
    words: int
    streamed: float
    reference: float
    difference: Interval
    whole_file: float
    whole_file_alone: float
    shown: tuple[float, float]
    """Seconds from a word's true end to its first display: p50, p95."""
    kept: tuple[float, float]
    stable: tuple[float, float]
    final_wait: tuple[float, float]
    erased_share: float
    """Per cent of the words that went away at least once after having been shown."""
    start_error: float
    """Mean absolute error of word starts."""
    end_error: float
    files_with_words: int
    """Files in which any word was shown."""
    doubled: int
    lost: int
    reference_doubled: int
    reference_lost: int


def score(recording: Recording, streamed: Streamed, heard: Heard, *, real_time: bool) -> Score:
    """The figures of one recording; lags only if it was streamed in ``real_time``."""
    language = recording.lang
    truth, text = normalise(recording.text, language), normalise(streamed.text, language)
    reference = None if heard.reference is None else normalise(heard.reference, language)
    lags = word_lags(recording.words, streamed.log, language)

    def errors(other: str | None) -> Errors | None:
        return None if other is None else count_errors(truth, normalise(other, language))

    return Score(
        id=recording.id,
        set=recording.set,
        text=streamed.text,
        heard=heard,
        streamed=count_errors(truth, text),
        reference=errors(heard.reference),
        whole_file=errors(heard.whole_file),
        whole_file_alone=errors(heard.whole_file_alone),
        lags=tuple(lags) if real_time else (),
        word_errors=tuple((lag.start_error, lag.end_error) for lag in lags),
        final_waits=streamed.final_waits if real_time else (),
        late=streamed.late,
        shown_words=max((len(normalise(s.stable + s.unstable, language)) for s in streamed.log), default=0),
        doubled=doubled_words(truth, text),
        lost=lost_runs(truth, text),
        reference_doubled=doubled_words(truth, reference) if reference is not None else 0,
        reference_lost=lost_runs(truth, reference) if reference is not None else 0,
    )


def rows(scores: Sequence[Score]) -> list[Row]:
    """A row for each set, in order, and one for the ``TOGETHER`` sets if there are two or more of them."""
    sets = list(dict.fromkeys(s.set for s in scores))
    result = [_row(name, [s for s in scores if s.set == name]) for name in sets]
    together = [name for name in sets if name in TOGETHER]
    if len(together) > 1:
        result.append(_row(" + ".join(together), [s for s in scores if s.set in together]))
    return result


def _row(name: str, scores: Sequence[Score]) -> Row:
    lags = [lag for s in scores for lag in s.lags]
    pairs = [(s.streamed.total, s.reference.total, s.streamed.words) for s in scores if s.reference is not None]
    return Row(
        name=name,
        files=len(scores),
        words=sum(s.streamed.words for s in scores),
        streamed=_wer([s.streamed for s in scores]),
        reference=_wer([s.reference for s in scores]),
        difference=paired_bootstrap(pairs),
        whole_file=_wer([s.whole_file for s in scores]),
        whole_file_alone=_wer([s.whole_file_alone for s in scores]),
        shown=_p50_p95([lag.shown for lag in lags]),
        kept=_p50_p95([lag.kept for lag in lags]),
        stable=_p50_p95([lag.stable for lag in lags]),
        final_wait=_p50_p95([wait for s in scores for wait in s.final_waits]),
        erased_share=100 * sum(lag.erased > 0 for lag in lags) / len(lags) if lags else float("nan"),
        start_error=mean_absolute(start for s in scores for start, _ in s.word_errors),
        end_error=mean_absolute(end for s in scores for _, end in s.word_errors),
        files_with_words=sum(s.shown_words > 0 for s in scores),
        doubled=sum(s.doubled for s in scores),
        lost=sum(s.lost for s in scores),
        reference_doubled=sum(s.reference_doubled for s in scores),
        reference_lost=sum(s.reference_lost for s in scores),
    )


def _wer(errors: Sequence[Errors | None]) -> float:
    return sum((e for e in errors if e is not None), Errors()).wer


def _p50_p95(values: Sequence[float]) -> tuple[float, float]:
    return percentile(values, 50), percentile(values, 95)
