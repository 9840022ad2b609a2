"""Words -> caption cues -> SubRip and WebVTT: where cues and lines break, and how long each is shown.

Owns the limits of a cue and their precedence. Works for a whole transcript and for one that grows: every cue but
the last stays as it is when more words come. Must not know who shows the captions.

What holds, first things first:

1. Every word appears once, in order. A word wider than a line is split, as there is no other way.
2. Cues do not overlap and none is shown for nothing: ``_SHORTEST`` at least.
3. No more lines, no wider lines and no longer cues than the limits say: a word of 9 s is shown for 7.
4. A cue begins with its first word (later only where rule 2 pushes it).
5. No cue is shorter than the minimum: it stays after its last word, until the next one begins. Where words come
   too fast for that, breaks that would cut it short are avoided, but rule 3 goes first.
6. A cue stays until it can be read at ``characters_per_second``, if nothing above forbids.
7. Breaks lie at ends of sentences, else at clauses, else at pauses, else anywhere but after a short function word.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from streamasr.core.events import SAMPLE_RATE, Segment, Word
from streamasr.core.language import UNSPACED
from streamasr.errors import ConfigError

_SHORTEST = SAMPLE_RATE // 50
"""No cue is shown for less: a step of the alignment."""

_PAUSE = SAMPLE_RATE * 3 // 10
"""A silence between two words that is worth a break."""

_LATIN = re.compile(r"[!-~]+|[^!-~]+")
_SENTENCE_ENDS = frozenset(".?!…。！？．｡؟۔।॥")
_CLAUSE_ENDS = frozenset(",;:—–،؛、，；：､")
_CLOSERS = "\"'»”’)]}」』）】》›"
_LEANING = (
    "a an the and or but of to in on at by for with from as is are was were my your his her our their this that "
    "der die das ein eine und oder von zu mit im le la les un une et ou de du des el los y o en e il lo i "
    "mr. mrs. ms. dr. st. prof."
)
_WEAK = frozenset(_LEANING.split())
"""Words that lean on the next one: a line had better not end with them."""


class CueLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a cue may hold and how long it is shown. ConfigError if no cue can be so."""

    lines: int = 2
    line_width: int = 42
    """In columns: a wide (Chinese, Japanese, Korean) character takes two."""
    min_ms: int = 1_000
    max_ms: int = 7_000
    characters_per_second: float = 20.0
    """Reading speed to aim at, a wide character being two: a cue is kept on after its last word, while nothing
    else is said."""
    gap_ms: int = 0
    """Kept free before the next cue, where that costs no cue its minimum."""
    pause_ms: int = 1_000
    """A silence between two words that always ends a cue."""

    def __post_init__(self) -> None:
        if self.lines < 1 or self.line_width < 2:
            raise ConfigError("A cue must have 1 line or more, of 2 columns or more.")
        if not 0 < self.min_ms <= self.max_ms:
            raise ConfigError("A cue's shortest time must be above 0 and not above its longest.")
        if self.characters_per_second <= 0 or self.gap_ms < 0 or self.pause_ms <= 0:
            raise ConfigError("A cue's reading speed and pause must be above 0, its gap not below 0.")


class Cue(msgspec.Struct, frozen=True):
    """Some lines and when they are shown, in samples at 16 kHz."""

    start: int
    end: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines, one below the other."""
        return "\n".join(self.lines)


class _Piece(msgspec.Struct, frozen=True):
    """A word, or a part of one that is wider than a line."""

    text: str
    start: int
    end: int
    glued: bool
    """Whether it follows what stands before it without a space."""
    columns: int


def cues(words: Iterable[Word], limits: CueLimits, language: str | None = None) -> tuple[Cue, ...]:
    """Cues of words in order, each with its punctuation; blank ones are left out.

    ``language``, a Whisper code, tells whether it writes spaces. If more words follow later, all cues but the last
    are the same again.
    """
    return _timed(_Breaker(limits).break_up(_pieces(words, limits, language)), limits)


def cues_of_segments(segments: Iterable[Segment], limits: CueLimits) -> tuple[Cue, ...]:
    """Cues of segments, each in its own language. Without words, their times are guessed from the text's."""
    broken: list[tuple[_Piece, ...]] = []
    for language, group in groupby(segments, key=lambda segment: segment.language):
        words = (word for segment in group for word in segment.words or _guessed_words(segment))
        broken += _Breaker(limits).break_up(_pieces(words, limits, language))
    return _timed(broken, limits)


def srt(shown: Iterable[Cue]) -> str:
    """The cues as SubRip."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n\n"
        for number, cue in enumerate(shown, start=1)
    )


def vtt(shown: Iterable[Cue]) -> str:
    """The cues as WebVTT."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_escaped(cue.text)}\n\n" for cue in shown
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(samples: int, point: str) -> str:
    seconds, milliseconds = divmod(samples * 1000 // SAMPLE_RATE, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"


def _columns(text: str) -> int:
    """Columns a text takes: wide characters two, marks that stand on others and controls none."""
    return len(text) if text.isascii() else sum(_character_columns(character) for character in text)


def _character_columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def _guessed_words(segment: Segment) -> Iterator[Word]:
    """A segment's text cut to words, each with a share of its time by its length."""
    texts = segment.text.split()
    if segment.language in UNSPACED:
        runs = (run for text in texts for run in _LATIN.findall(text))
        texts = [part for run in runs for part in ([run] if run.isascii() else _clusters(run))]
    yield from _shared_out(texts, segment.start, segment.end)


def _shared_out(texts: Sequence[str], start: int, end: int) -> Iterator[Word]:
    total, done = max(1, sum(map(len, texts))), 0
    for text in texts:
        begun, done = done, done + len(text)
        yield Word(text, start + (end - start) * begun // total, start + (end - start) * done // total, 1.0)


def _clusters(text: str) -> list[str]:
    """A text in the smallest parts that may stand on different lines: characters with the marks that belong to them."""
    clusters: list[str] = []
    for character in text:
        joins = clusters and (
            unicodedata.category(character) in {"Mn", "Mc", "Me", "Cf", "Pe", "Pf", "Po"}
            or clusters[-1][-1] == "\u200d"
            or unicodedata.category(clusters[-1][-1]) in {"Ps", "Pi"}
        )
        if joins:
            clusters[-1] += character
        else:
            clusters.append(character)
    return clusters


def _pieces(words: Iterable[Word], limits: CueLimits, language: str | None) -> Iterator[_Piece]:
    """Words as they are set: without spaces inside them, none wider than a line."""
    last = ""
    for word in words:
        texts = word.text.split()
        parts = [[text] if _columns(text) <= limits.line_width else _chopped(text, limits.line_width) for text in texts]
        firsts = {sum(map(len, parts[:i])) for i in range(len(parts))}
        flat = [part for of_text in parts for part in of_text]
        for number, part in enumerate(_shared_out(flat, word.start, max(word.start, word.end))):
            glued = number not in firsts or _unspaced(last, part.text, language)
            yield _Piece(part.text, part.start, part.end, glued, _columns(part.text))
            last = part.text


def _unspaced(before: str, after: str, language: str | None) -> bool:
    """Whether two words stand together without a space: not even Chinese runs "GPT 4" together."""
    return language in UNSPACED and not (before[-1:].isascii() and after[:1].isascii())


def _chopped(text: str, width: int) -> list[str]:
    """A word wider than a line, in parts that are not."""
    parts, part, columns = [], "", 0
    for cluster in _clusters(text):
        if _columns(cluster) > width:  # "!!!!!!!!" may be longer than a line, too
            return [text[i : i + width // 2] for i in range(0, len(text), width // 2)]
        wide = _columns(cluster)
        if part and columns + wide > width:
            parts.append(part)
            part, columns = "", 0
        part, columns = part + cluster, columns + wide
    return [*parts, part]


def _break_cost(piece: _Piece, after: _Piece | None) -> float:
    """How bad it is to break between two pieces: 0 at a sentence's end, 4 after a word that leans on the next one."""
    if after is not None and after.columns == 0:
        return 20.0  # a vowel sign of Thai, say, that the engine took for a word
    bare = piece.text.rstrip(_CLOSERS)
    weak = piece.text.casefold() in _WEAK
    if bare[-1:] in _SENTENCE_ENDS and not weak:
        return 0.0
    if bare[-1:] in _CLAUSE_ENDS:
        return 1.0
    if after is not None and after.start - piece.end >= _PAUSE:
        return 1.6
    return 4.0 if weak else 3.0


class _Breaker:
    """Breaks pieces into cues, from left to right, each as soon as the first piece that does not fit is there."""

    def __init__(self, limits: CueLimits) -> None:
        self._limits = limits
        self._longest = limits.max_ms * SAMPLE_RATE // 1000
        self._least = limits.min_ms * SAMPLE_RATE // 1000
        self._pause = limits.pause_ms * SAMPLE_RATE // 1000

    def break_up(self, pieces: Iterable[_Piece]) -> Iterator[tuple[_Piece, ...]]:
        """The pieces of each cue."""
        waiting: list[_Piece] = []
        for piece in pieces:
            if waiting and piece.start - waiting[-1].end >= self._pause:
                yield tuple(waiting)
                waiting = []
            waiting.append(piece)
            while not self._fits(waiting):
                count = self._best_break(waiting)
                yield tuple(waiting[:count])
                del waiting[:count]
        if waiting:
            yield tuple(waiting)

    def _fits(self, pieces: Sequence[_Piece]) -> bool:
        if len(pieces) == 1:
            return True
        if pieces[-1].end - pieces[0].start > self._longest:
            return False
        return len(_filled(pieces, self._limits.line_width)) <= self._limits.lines

    def _best_break(self, pieces: Sequence[_Piece]) -> int:
        """How many of the pieces, of which all but the last fit, make the next cue."""
        return min(range(1, len(pieces)), key=lambda count: (self._cost(pieces, count), -count))

    def _cost(self, pieces: Sequence[_Piece], count: int) -> float:
        held, after = pieces[:count], pieces[count]
        cost = _break_cost(held[-1], after)
        room = self._limits.lines * self._limits.line_width
        full = max(
            sum(piece.columns + (not piece.glued) for piece in held) / room,
            (held[-1].end - held[0].start) / self._longest,
        )
        cost += 3 * max(0.0, 1 - full) ** 2
        if after.start - held[0].start < self._least:
            cost += 10
        if count == len(pieces) - 1 and cost and _break_cost(after, None) == 0:
            cost += 2  # the last word of a sentence, alone in the next cue
        return cost


def _filled(pieces: Sequence[_Piece], width: int) -> list[int]:
    """How many pieces each line takes, filled one after the other: the fewest lines there can be."""
    counts: list[int] = []
    columns = 0
    for piece in pieces:
        added = piece.columns + (not piece.glued)
        if counts and columns + added <= width:
            counts[-1] += 1
            columns += added
        else:
            counts.append(1)
            columns = piece.columns
    return counts


def _text(pieces: Sequence[_Piece]) -> str:
    return "".join(piece.text if piece.glued else " " + piece.text for piece in pieces).lstrip()


def _lines(pieces: Sequence[_Piece], width: int) -> tuple[str, ...]:
    """The pieces on as few lines as they need, broken where it reads best and the lines are most alike."""
    count = len(_filled(pieces, width))
    if count == 1:
        return (_text(pieces),)
    best: tuple[float, int] | None = None
    for first in range(1, len(pieces)):
        line, rest = pieces[:first], pieces[first:]
        columns = _columns(_text(line))
        if columns > width:
            break
        if len(_filled(rest, width)) >= count:
            continue
        uneven = abs(columns - _columns(_text(rest)) / (count - 1)) / width
        cost = _break_cost(line[-1], rest[0]) + 4 * uneven
        if best is None or cost < best[0]:
            best = cost, first
    first = best[1] if best else _filled(pieces, width)[0]
    return (_text(pieces[:first]), *_lines(pieces[first:], width))


def _timed(broken: Iterable[Sequence[_Piece]], limits: CueLimits) -> tuple[Cue, ...]:
    """Cues with their times: each is shown until it can be read, but no longer than until the next begins."""
    per_ms = SAMPLE_RATE // 1000
    pieces = list(broken)
    starts: list[int] = []
    for held in pieces:
        starts.append(max(held[0].start, starts[-1] + _SHORTEST if starts else 0))
    timed: list[Cue] = []
    for i, held in enumerate(pieces):
        start = starts[i]
        lines = _lines(held, limits.line_width)
        reading = int(sum(map(_columns, lines)) / limits.characters_per_second * SAMPLE_RATE)
        least = start + max(_SHORTEST, limits.min_ms * per_ms)
        end = min(max(held[-1].end, start + reading, least), start + limits.max_ms * per_ms)
        if i + 1 < len(pieces):
            free = max(starts[i + 1] - limits.gap_ms * per_ms, min(least, starts[i + 1]))
            end = min(end, free)
        timed.append(Cue(start, end, lines))
    return tuple(timed)
