"""How right and how late: word errors, their confidence, and when each word was shown and became stable.

Pure functions of values: knows nothing of files, sockets, clocks or models. Times are seconds since the
session's first sample; an arrival's time is on the same clock, as though each sample were sent the moment it
had been spoken. Error rates and their differences are in per cent of the reference's words.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

UNSPACED = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km"})
"""Languages written without spaces, whose characters are counted instead of words."""


class TimedWord(msgspec.Struct, frozen=True):
    """A word as written, and when it is spoken: seconds. In JSON as manifests have it."""

    text: str = msgspec.field(name="word")
    start: float
    end: float


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What a client showed of one utterance from ``at`` on: one partial or final as it arrived."""

    at: float
    utterance: int
    stable: str
    """A final is stable as a whole."""
    unstable: str = ""
    final: bool = False
    words: tuple[TimedWord, ...] = ()
    """A final's words."""


class Op(NamedTuple):
    """One step of an alignment; the index that a step does not have is None."""

    kind: Literal["equal", "sub", "ins", "del"]
    ref: int | None
    hyp: int | None


class Errors(msgspec.Struct, frozen=True):
    """Word errors against a reference of ``words`` words; they add up over files."""

    sub: int = 0
    ins: int = 0
    dels: int = 0
    words: int = 0

    @property
    def total(self) -> int:
        """Substitutions, insertions and deletions."""
        return self.sub + self.ins + self.dels

    @property
    def wer(self) -> float:
        """Errors in per cent of the reference's words; nan without words."""
        return 100 * self.total / self.words if self.words else float("nan")

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(self.sub + other.sub, self.ins + other.ins, self.dels + other.dels, self.words + other.words)


class Interval(NamedTuple):
    """A difference of error rates in points, with its 95 % confidence interval."""

    difference: float
    low: float
    high: float


class WordLag(NamedTuple):
    """One spoken word that the final text has right: seconds after its true end, and its times' errors."""

    shown: float
    """Until its first display at its place."""
    kept: float
    """Until the display from which on it never went away again."""
    stable: float
    """Until it was inside the stable text."""
    erased: int
    """How often it went away after having been shown."""
    start_error: float
    """The final's start time minus the true one; nan if the final came without words."""
    end_error: float


def normalise(text: str, language: str = "en") -> list[str]:
    """What is compared: lower case, no punctuation, split into words (into characters if unspaced)."""
    folded = unicodedata.normalize("NFC", text).lower()
    kept = "".join(c for c in folded if c.isalnum() or c.isspace() or c == "_" or unicodedata.category(c)[0] == "M")
    words = kept.split()
    return list("".join(words)) if language in UNSPACED else words


def align(ref: Sequence[str], hyp: Sequence[str]) -> list[Op]:
    """The alignment of fewest edits; of those, one with most equal words, and those early."""
    return _trace(ref, hyp, _costs(ref, hyp), len(ref))


def align_prefix(ref: Sequence[str], hyp: Sequence[str]) -> list[Op]:
    """As ``align``, but ``hyp`` may stop early: what ``ref`` has beyond its end is free and not listed."""
    costs = _costs(ref, hyp)
    return _trace(ref, hyp, costs, int(np.argmin(costs[:, -1])))


def count_errors(ref: Sequence[str], hyp: Sequence[str]) -> Errors:
    """The fewest word errors that turn ``ref`` into ``hyp``."""
    kinds = [op.kind for op in align(ref, hyp)]
    return Errors(kinds.count("sub"), kinds.count("ins"), kinds.count("del"), len(ref))


def wer(pairs: Iterable[tuple[str, str]], language: str = "en") -> float:
    """Word error rate in per cent over (reference, hypothesis) texts: errors over words, both summed."""
    errors = (count_errors(normalise(r, language), normalise(h, language)) for r, h in pairs)
    return sum(errors, Errors()).wer


def paired_bootstrap(files: Sequence[tuple[int, int, int]], n: int = 10_000, seed: int = 0) -> Interval:
    """The difference a − b of two error rates on the same files, with its 95 % interval from resampled files.

    ``files`` holds (errors of a, errors of b, reference words) for each file. Each resample draws as many
    files as there are and takes the ratio of the sums; the interval is between the 2.5 and 97.5 percentiles.
    """
    table = np.asarray(files, dtype=np.int64).reshape(-1, 3)
    difference, words = table[:, 0] - table[:, 1], table[:, 2]
    if not words.sum():
        return Interval(float("nan"), float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).multinomial(len(table), np.full(len(table), 1 / len(table)), size=n)
    sums = drawn @ words
    resampled = 100 * (drawn @ difference)[sums > 0] / sums[sums > 0]
    low, high = np.percentile(resampled, (2.5, 97.5))
    return Interval(100 * float(difference.sum()) / float(words.sum()), float(low), float(high))


def errors_by_block(ref: Sequence[str], hyp: Sequence[str], size: int = 25) -> list[Errors]:
    """The errors of each ``size`` words of ``ref`` in a row: what can be resampled where there are few files.

    An inserted word counts where the word before it stands. Without words there is one block.
    """
    table = [[0, 0, 0, min(size, len(ref) - at)] for at in range(0, max(1, len(ref)), size)]
    place = 0
    for op in align(ref, hyp):
        place = place if op.ref is None else op.ref
        if op.kind != "equal":
            table[place // size][("sub", "ins", "del").index(op.kind)] += 1
    return [Errors(*row) for row in table]


def doubled_words(ref: Sequence[str], hyp: Sequence[str]) -> int:
    """Words of ``hyp`` that repeat up to 10 words right before them, though nobody said them twice.

    This is what a joint of windows that doubles would do; models that stammer do it too.
    """
    right = {op.hyp for op in align(ref, hyp) if op.kind == "equal"}
    doubled, place = 0, 0
    while place < len(hyp):
        size = next((n for n in range(10, 0, -1) if _repeats(hyp, place, n)), 0)
        if size and not right.issuperset(range(place - size, place + size)):
            doubled += size
        place += max(1, size)
    return doubled


def lost_runs(ref: Sequence[str], hyp: Sequence[str], at_least: int = 3) -> int:
    """How often ``at_least`` words or more in a row are missing: what a window joint that loses would do."""
    return sum(len(run) >= at_least for run in _runs(align(ref, hyp), "del"))


def word_lags(truth: Sequence[TimedWord], log: Sequence[Shown], language: str = "en") -> list[WordLag]:
    """When each spoken word was shown and stable, for the words that the final text has right.

    The finals' texts in a row are aligned with the truth. A matched word has its place in the final of its
    utterance. Each arrival of that utterance is aligned with that final (``align_prefix``): the word is
    displayed at its place in those where it is equal. ``log`` is in order of arrival; an utterance without
    a final has no lags.
    """
    spoken = _tokens(truth, language)
    places = _final_places(log, language)
    histories = {
        utterance: _history(utterance, [p.token for p in group], log, language)
        for utterance, group in _by_utterance(places)
    }
    lags = []
    for op in align([word.text for word in spoken], [place.token for place in places]):
        if op.kind != "equal" or op.ref is None or op.hyp is None:
            continue
        word, place = spoken[op.ref], places[op.hyp]
        seen = histories[place.utterance][place.position]
        times = place.word or TimedWord("", float("nan"), float("nan"))
        lags.append(
            WordLag(
                seen.shown - word.end,
                seen.kept - word.end,
                seen.stable - word.end,
                seen.erased,
                times.start - word.start,
                times.end - word.end,
            )
        )
    return lags


def percentile(values: Iterable[float], q: float) -> float:
    """The ``q``-th percentile (0 to 100) of the values that are numbers; nan without any."""
    array = np.asarray([v for v in values if not np.isnan(v)], dtype=float)
    return float(np.percentile(array, q)) if array.size else float("nan")


def mean_absolute(values: Iterable[float]) -> float:
    """The mean size of the values that are numbers; nan without any."""
    array = np.abs(np.asarray([v for v in values if not np.isnan(v)], dtype=float))
    return float(array.mean()) if array.size else float("nan")


class _Place(NamedTuple):
    """A word's place in its utterance's final."""

    utterance: int
    position: int
    token: str
    word: TimedWord | None


class _Seen(NamedTuple):
    """When one place of a final was shown, was shown for good, and became stable; how often it went away."""

    shown: float
    kept: float
    stable: float
    erased: int


def _costs(ref: Sequence[str], hyp: Sequence[str]) -> NDArray[np.int64]:
    """Least costs of every pair of prefixes: an edit costs more than all equal words together earn."""
    edit = len(ref) + len(hyp) + 1
    ids = {token: number for number, token in enumerate({*ref, *hyp})}
    column = np.array([ids[token] for token in hyp], dtype=np.int64)
    ladder = edit * np.arange(len(hyp) + 1)
    costs = np.empty((len(ref) + 1, len(hyp) + 1), dtype=np.int64)
    costs[0] = ladder
    for i, token in enumerate(ref):
        row = costs[i] + edit
        row[1:] = np.minimum(row[1:], costs[i, :-1] + np.where(column == ids[token], -1, edit))
        costs[i + 1] = np.minimum.accumulate(row - ladder) + ladder
    return costs


def _trace(ref: Sequence[str], hyp: Sequence[str], costs: NDArray[np.int64], row: int) -> list[Op]:
    """The steps that lead to ``costs[row, -1]``; the one whose pairs stand earliest."""
    edit = len(ref) + len(hyp) + 1
    ops: list[Op] = []
    i, j = row, len(hyp)
    while i or j:
        equal = bool(i and j) and ref[i - 1] == hyp[j - 1]
        if i and costs[i, j] == costs[i - 1, j] + edit:
            i -= 1
            ops.append(Op("del", i, None))
        elif j and costs[i, j] == costs[i, j - 1] + edit:
            j -= 1
            ops.append(Op("ins", None, j))
        else:
            i, j = i - 1, j - 1
            ops.append(Op("equal" if equal else "sub", i, j))
    return ops[::-1]


def _repeats(words: Sequence[str], place: int, size: int) -> bool:
    """Whether the ``size`` words from ``place`` on are those before it once more."""
    again = words[place : place + size]
    return place >= size and len(again) == size and list(words[place - size : place]) == list(again)


def _runs(ops: Sequence[Op], kind: str) -> list[list[Op]]:
    """Maximal runs of one kind of step."""
    runs: list[list[Op]] = []
    before = ""
    for op in ops:
        if op.kind == kind:
            if before != kind:
                runs.append([])
            runs[-1].append(op)
        before = op.kind
    return runs


def _tokens(words: Sequence[TimedWord], language: str) -> list[TimedWord]:
    """The words as they are compared; a word that is several of those gives each of them its times."""
    return [TimedWord(t, word.start, word.end) for word in words for t in normalise(word.text, language)]


def _final_places(log: Sequence[Shown], language: str) -> list[_Place]:
    """Every word of every final, in order, with its times if the final's words spell its text."""
    places = []
    for final in (shown for shown in log if shown.final):
        tokens = normalise(final.stable + final.unstable, language)
        timed = _tokens(final.words, language)
        times: list[TimedWord | None] = [*timed] if [t.text for t in timed] == tokens else [None] * len(tokens)
        places += [
            _Place(final.utterance, i, token, word) for i, (token, word) in enumerate(zip(tokens, times, strict=True))
        ]
    return places


def _by_utterance(places: Sequence[_Place]) -> list[tuple[int, list[_Place]]]:
    groups: dict[int, list[_Place]] = {}
    for place in places:
        groups.setdefault(place.utterance, []).append(place)
    return list(groups.items())


def _history(utterance: int, final: Sequence[str], log: Sequence[Shown], language: str) -> list[_Seen]:
    """When each word of one utterance's final was shown, kept and stable, from that utterance's arrivals."""
    never = float("nan")
    seen = [_Seen(never, never, never, 0)] * len(final)
    for arrival in (shown for shown in log if shown.utterance == utterance):
        text = normalise(arrival.stable + arrival.unstable, language)
        stable = normalise(arrival.stable, language)
        places = {op.ref for op in align_prefix(final, text) if op.kind == "equal"}
        for i, (shown, kept, since, erased) in enumerate(seen):
            here, gone = i in places, not np.isnan(kept) and i not in places
            seen[i] = _Seen(
                arrival.at if here and np.isnan(shown) else shown,
                never if gone else arrival.at if here and np.isnan(kept) else kept,
                arrival.at if np.isnan(since) and list(stable[: i + 1]) == list(final[: i + 1]) else since,
                erased + gone,
            )
    return seen
