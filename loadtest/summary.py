"""Puts the lanes of a run together to its figures. Pure."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from loadtest.pacing import LaneLog, ShareLog
from loadtest.results import Distribution, Lags, Quality, Step, ToolHealth, Troubles, distribution
from loadtest.scoring import LaneScore, Text, Waited
from streamasr.bench.scoring import Errors, normalise, paired_bootstrap

LATE_P99_S = 0.02
"""A frame later than this is what a listener's lag would be mistaken for."""
CPU_SHARE = 0.8
MESSAGES = 5


class Stretch(msgspec.Struct, frozen=True):
    """The part of a run that counts for lags: seconds on its clock."""

    start: float
    end: float

    def holds(self, waited: Waited) -> bool:
        """Whether it was spoken in this part."""
        return self.start <= waited.spoken_at <= self.end


def lags(scores: Sequence[LaneScore], stretch: Stretch) -> Lags:
    """How long somebody waited for what was spoken in this part of the run."""

    def spread(take: Callable[[LaneScore], Iterable[Waited]]) -> Distribution:
        return distribution(w.wait for s in scores for w in take(s) if stretch.holds(w))

    return Lags(
        shown=spread(lambda s: s.shown),
        stable=spread(lambda s: s.stable),
        final=spread(lambda s: s.finals),
        preflight=spread(lambda s: s.preflights),
    )


def step(streams: int, scores: Sequence[LaneScore], stretch: Stretch) -> Step:
    """The lags while so many were speaking."""
    found = lags(scores, stretch)
    return Step(streams=streams, shown=found.shown, stable=found.stable, final=found.final)


def quality(scores: Sequence[LaneScore], *, idle_words: int = 0) -> Quality:
    """How right all lanes' texts are."""
    errors = sum((s.text.errors for s in scores), Errors())
    references: list[Text] = [s.reference for s in scores if s.reference is not None]
    compared = len(references) == len(scores) > 0
    shown = sum(s.shown_words for s in scores)
    return Quality(
        words=errors.words,
        wer=round(errors.wer, 3) if errors.words else None,
        sub=errors.sub,
        ins=errors.ins,
        dels=errors.dels,
        reference_wer=round(sum((r.errors for r in references), Errors()).wer, 3) if compared else None,
        difference=_difference(scores) if compared else None,
        lost=sum(s.text.lost for s in scores),
        unheard=sum(len(s.unheard) for s in scores),
        unheard_words=tuple(f"lane {n} at {words}" for n, s in enumerate(scores) for words in s.unheard)[:MESSAGES],
        doubled=sum(s.text.doubled for s in scores),
        reference_lost=sum(r.lost for r in references) if compared else None,
        reference_doubled=sum(r.doubled for r in references) if compared else None,
        stable_violations=sum(s.stable_violations for s in scores),
        erased_per_word=round(sum(s.erased for s in scores) / shown, 4) if shown else None,
        utterances=sum(s.utterances for s in scores),
        finals_missing=sum(s.finals_missing for s in scores),
        idle_words=idle_words,
    )


def idle_words(logs: Sequence[LaneLog], language: str) -> int:
    """The words that were shown on sockets where nobody spoke: the most of each utterance."""
    total = 0
    for log in logs:
        most: dict[int, int] = {}
        for heard in (a.heard for a in log.arrivals if a.heard.kind in ("partial", "final")):
            said = len(normalise(heard.stable + heard.unstable, language))
            most[heard.utterance] = max(most.get(heard.utterance, 0), said)
        total += sum(most.values())
    return total


def troubles(logs: Sequence[LaneLog]) -> Troubles:
    """Which connections went wrong."""
    wrong = [log for log in logs if log.error]
    return Troubles(
        refused=sum(log.refused for log in wrong),
        failed=sum(not log.refused for log in wrong),
        messages=tuple(f"lane {log.number}: {log.error}" for log in wrong[:MESSAGES]),
    )


def health(shares: Sequence[ShareLog]) -> ToolHealth:
    """Whether the tool kept up: in time, and with CPU to spare."""
    late = np.concatenate(
        [np.zeros(0, np.float32), *(np.frombuffer(log.late, np.float32) for s in shares for log in s.lanes)]
    )
    found = distribution(float(seconds) for seconds in late)
    cpu_share = max((s.cpu_s / s.wall_s for s in shares if s.wall_s > 0), default=0.0)
    return ToolHealth(
        late=found,
        loop_lag=distribution(seconds for s in shares for seconds in s.loop_lag),
        cpu_share=round(cpu_share, 4),
        cpu_s=round(sum(s.cpu_s for s in shares), 3),
        bottleneck=bottleneck(found.p99 or 0.0, cpu_share),
    )


def bottleneck(late_p99_s: float, cpu_share: float) -> str:
    """Why a run's figures are the tool's own; empty: they are not."""
    if late_p99_s > LATE_P99_S:
        return (
            f"1 % of the frames were sent more than {1000 * late_p99_s:.0f} ms late (at most {1000 * LATE_P99_S:.0f})"
        )
    if cpu_share > CPU_SHARE:
        return f"the tool used {100 * cpu_share:.0f} % of a core (at most {100 * CPU_SHARE:.0f})"
    return ""


def _difference(scores: Sequence[LaneScore]) -> tuple[float, float, float]:
    found = paired_bootstrap([block for s in scores for block in s.blocks])
    return round(found.difference, 3), round(found.low, 3), round(found.high, 3)
