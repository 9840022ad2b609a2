"""How many streams are too many, and which of two servers is better: decisions on figures. Pure."""

from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from loadtest.results import Comparison, Figures

ENOUGH_WORDS = 2000
"""With fewer, an error rate is too uncertain for its estimate alone to decide."""
LOWER_END_POINTS = 0.3
"""The lower end of the difference's interval may not lie above this: then it is no accident."""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What counts as being served."""

    shown_p95_s: float = 1.5
    wer_points: float = 1.0
    """Above the same recordings without streaming, or above the fewest streams that were tried."""


class Search:
    """Finds the most streams that are within a limit: doubles, then halves the gap. Deterministic."""

    def __init__(self, first: int, most: int = 4096) -> None:
        """Begin with ``first`` streams; never try more than ``most``."""
        self._next: int | None = min(first, most)
        self._most = most
        self._good = 0
        self._bad: int | None = None

    @property
    def next(self) -> int | None:
        """How many streams to try now; None: the limit is found."""
        return self._next

    @property
    def limit(self) -> int:
        """The most that were within; 0: not even one was."""
        return self._good

    def tried(self, streams: int, *, within: bool) -> None:
        """What came of ``next``."""
        if within:
            self._good = max(self._good, streams)
        else:
            self._bad = streams if self._bad is None else min(self._bad, streams)
        self._next = self._choose()

    def _choose(self) -> int | None:
        if self._bad is None:
            return min(2 * self._good, self._most) if self._good < self._most else None
        if self._bad - self._good <= max(1, self._good // 20):  # 5 %: a finer answer would be noise
            return None
        return (self._good + self._bad) // 2


def within(figures: Figures, limit: Limit, fewest: Figures | None = None) -> str:
    """Why these many streams are too many; empty: they are served. ``fewest``: the run with the fewest streams."""
    quality, troubles = figures.quality, figures.troubles
    p95 = figures.lags.shown.p95
    reasons = [
        (troubles.refused > 0, f"{troubles.refused} refused"),
        (troubles.failed > 0, f"{troubles.failed} failed"),
        (quality.stable_violations > 0, f"{quality.stable_violations} changes of stable text"),
        (p95 is None, "no word was shown"),
        (p95 is not None and p95 > limit.shown_p95_s, f"shown p95 {p95} s is above {limit.shown_p95_s:g} s"),
        (not accurate(figures, limit, fewest), f"word error rate {quality.wer} %"),
    ]
    return next((text for true, text in reasons if true), "")


def accurate(figures: Figures, limit: Limit, fewest: Figures | None) -> bool:
    """Whether the text is as right as that of the same recordings without streaming, or under less load."""
    quality = figures.quality
    if quality.difference is not None:
        estimate, low, _ = quality.difference
        return low <= LOWER_END_POINTS and (estimate <= limit.wer_points or quality.words < ENOUGH_WORDS)
    if fewest is None or fewest.quality.wer is None or quality.wer is None:
        return True
    return quality.words < ENOUGH_WORDS or quality.wer - fewest.quality.wer <= limit.wer_points


def broken(figures: Figures) -> list[str]:
    """The promises that were not kept, in words."""
    quality, troubles = figures.quality, figures.troubles
    found = [
        (quality.stable_violations, "stable text was changed {} times"),
        (quality.finals_missing, "{} utterances came in no final"),
        (quality.idle_words, "{} words came where nobody spoke"),
        (troubles.failed, "{} sessions failed"),
        (troubles.refused, "{} sessions were refused"),
    ]
    if quality.reference_lost is not None and quality.reference_doubled is not None:
        found += [
            (max(0, quality.unheard - quality.reference_lost), "{} stretches of words were lost"),
            (max(0, quality.doubled - quality.reference_doubled), "{} words were doubled"),
        ]
    return [text.format(count) for count, text in found if count]


def server_ms(figures: Figures) -> float | None:
    """CPU of the server for each second of a stream, milliseconds; None: it does not tell."""
    if figures.server is None or figures.server.cpu_s is None or not figures.spoken_s:
        return None
    return 1000 * figures.server.cpu_s / figures.spoken_s


FIGURES: dict[str, Callable[[Figures], float | None]] = {
    "word shown p50 (s)": lambda f: f.lags.shown.p50,
    "word shown p95 (s)": lambda f: f.lags.shown.p95,
    "word stable p50 (s)": lambda f: f.lags.stable.p50,
    "word stable p95 (s)": lambda f: f.lags.stable.p95,
    "end of speech to final p50 (s)": lambda f: f.lags.final.p50,
    "end of speech to final p95 (s)": lambda f: f.lags.final.p95,
    "WER (%)": lambda f: f.quality.wer,
    "server CPU a stream-second (ms)": server_ms,
}
"""What two servers are compared by."""


def compare(
    a: str, b: str, pairs: Sequence[tuple[Figures, Figures]], limits: Sequence[tuple[int, int]] = ()
) -> Comparison:
    """Medians over the rounds, and their ratio; ``limits``: the most streams of a and of b in each round."""
    medians: dict[str, tuple[float | None, float | None]] = {}
    for name, take in FIGURES.items() if pairs else ():
        medians[name] = (_median([take(x) for x, _ in pairs]), _median([take(y) for _, y in pairs]))
    if limits:
        medians["streams within the limit"] = (median(n for n, _ in limits), median(n for _, n in limits))
    ratios = {name: left / right if left is not None and right else None for name, (left, right) in medians.items()}
    return Comparison(a=a, b=b, rounds=max(len(pairs), len(limits)), medians=medians, ratios=ratios)


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
