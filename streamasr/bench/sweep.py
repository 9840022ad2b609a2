"""How short an encoder input a model bears: floors and margins tried on a user's own speech.

Whisper was trained on 30 s; every shorter input is cheaper, and may cost words. Each utterance is tried whole and
cut off at two random places, as a partial hears it. Owns the trials and the verdict; knows nothing of streaming.
"""

import math
import random
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec

from streamasr.bench.offline import FULL, Heard, Listener, Offline, Phase, Span, timed_truth, within
from streamasr.bench.recordings import Recording
from streamasr.bench.scoring import Errors, Interval, count_errors, normalise, paired_bootstrap, percentile
from streamasr.core.events import SAMPLE_RATE
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy, ms
from streamasr.core.windows import encoder_samples
from streamasr.inference.models import Guards

FLOORS_S = (0.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 30.0)
"""Lengths that windows come in: a floor between two of those is as the upper one."""
MARGINS_S = (0.0, 0.5, 1.0, 2.0)
CUTS = 2
SHORTEST_S = 0.5
SAFE_POINTS = 1.0
"""A setting is safe if, at the upper end of its 95 % interval, it costs at most so much: word errors, in points."""
PROMISING_POINTS = 0.5
"""A setting that seems to cost no more than this, but is not known to be safe, is worth more speech."""
THREE = 300.0
"""The rule of three, in per cent: what was not seen in n words may still be in 3 / n of them."""
GOOD_SHARE = 0.5
"""A window is good if fewer of its words than this are wrong."""
GOOD_STOPPED = 0.01
"""The share of good windows that guards may stop."""
ENOUGH_FILES = 10
"""From so many recordings on, they are what is resampled; below, utterances are."""

Verdict = Literal["safe", "full", "unclear"]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One floor with one margin."""

    floor_s: float
    margin_s: float
    errors: float
    """Word errors in per cent."""
    loss: Interval
    """Points more than with 30 s; its upper end holds at least what chance can hide in so few words."""
    stopped: float
    """Per cent of the windows that a guard stopped."""
    window_s: float
    """Mean time of a window, those that were run again included."""

    @property
    def safe(self) -> bool:
        """Whether it is known to cost at most ``SAFE_POINTS``."""
        return self.loss.high <= SAFE_POINTS

    @property
    def promising(self) -> bool:
        """Whether it may well be safe, for all that is known."""
        return not self.safe and self.loss.difference <= PROMISING_POINTS


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    cells: tuple[Cell, ...]
    """The cheapest first. Of settings that made no difference to any window the most careful one stands for all."""
    windows: int
    words: int
    """Of the utterances, each counted once."""
    verdict: Verdict
    """``safe``: ``chosen`` is; ``full``: nothing shorter than 30 s is; ``unclear``: a cheaper one is promising."""
    chosen: Cell
    """The cheapest that is safe; nothing is safer than 30 s."""
    promising: Cell | None
    """The cheapest that is promising, if it is cheaper than the chosen one."""
    words_needed: int
    """About how many would tell."""
    guards: Guards
    """Under which at most ``GOOD_STOPPED`` of the good windows are stopped."""
    good_stopped: float
    """Per cent of the good windows that these guards stop: loops have no threshold to raise."""


class _Trial(NamedTuple):
    """One window to be tried."""

    unit: int
    """What is resampled together."""
    whole: bool
    """Whether it is an utterance to its end."""
    recording: Recording
    options: SessionOptions
    span: Span
    truth: list[str]
    language: str


class Sweep:
    """The trials, and what was heard in each with each length of encoder input."""

    def __init__(self, heard: Sequence[tuple[Recording, SessionOptions, Offline]], listener: Listener) -> None:
        self._listener = listener
        self._trials = list(_trials(heard))
        self._words = sum(len(trial.truth) for trial in self._trials if trial.whole)
        self._heard: dict[tuple[int, int], Heard] = {}

    def run(self, floors_s: Sequence[float], margins_s: Sequence[float], guards: Guards, phase: Phase) -> Swept:
        """Try every floor with every margin."""
        pairs = sorted({(floor, margin) for floor in (*floors_s, FULL / SAMPLE_RATE) for margin in margins_s})
        # Of pairs that give every window the same length the last, and most careful, is kept.
        lengths = {tuple(_length(trial.span, *pair) for trial in self._trials): pair for pair in pairs}
        wanted = {(i, length) for row in lengths for i, length in enumerate(row)}
        advance = phase("short windows", sum(self._listener.predicted_s(length) for _, length in wanted))
        for index, length in sorted(wanted):
            trial = self._trials[index]
            self._heard[index, length] = self._listener.hear(trial.recording, trial.options, trial.span, length)
            advance(self._listener.predicted_s(length))
        cells = sorted((self._cell(pair, row) for row, pair in lengths.items()), key=lambda cell: cell.window_s)
        chosen, promising = _choose(cells)
        best = next(row for row, pair in lengths.items() if pair == (chosen.floor_s, chosen.margin_s))
        fitted, good_stopped = fit_guards(guards, self._good(best))
        return Swept(
            cells=tuple(cells),
            windows=len(self._trials),
            words=self._words,
            verdict="unclear" if promising else "safe" if chosen.floor_s < FULL / SAMPLE_RATE else "full",
            chosen=chosen,
            promising=promising,
            words_needed=_words_needed(promising, self._words) if promising else self._words,
            guards=fitted,
            good_stopped=good_stopped,
        )

    def _cell(self, pair: tuple[float, float], lengths: Sequence[int]) -> Cell:
        units: dict[int, list[Errors]] = {}
        stopped, seconds = 0, 0.0
        for index, length in enumerate(lengths):
            trial, heard, full = self._trials[index], self._heard[index, length], self._heard[index, FULL]
            stopped += heard.trip is not None
            seconds += heard.seconds
            if heard.trip is not None and length < FULL:  # then it is heard once more, with 30 s
                seconds += full.seconds
                heard = full
            both = units.setdefault(trial.unit, [Errors(), Errors()])
            both[0] += _errors(trial, heard)
            both[1] += _errors(trial, full)
        loss = paired_bootstrap([(a.total, b.total, a.words) for a, b in units.values()])
        if any(length < FULL for length in lengths) and self._words:
            loss = loss._replace(high=max(loss.high, loss.difference + THREE / self._words))
        return Cell(
            floor_s=pair[0],
            margin_s=pair[1],
            errors=sum((short for short, _ in units.values()), Errors()).wer,
            loss=loss,
            stopped=100 * stopped / max(1, len(lengths)),
            window_s=seconds / max(1, len(lengths)),
        )

    def _good(self, lengths: Sequence[int]) -> list[Heard]:
        """What was heard in the windows that are mostly right."""
        good = []
        for index, length in enumerate(lengths):
            trial, heard = self._trials[index], self._heard[index, length]
            if trial.truth and heard.words and _errors(trial, heard).total < GOOD_SHARE * len(trial.truth):
                good.append(heard)
        return good


def fit_guards(guards: Guards, good: Sequence[Heard]) -> tuple[Guards, float]:
    """The guards, raised where they stop more than ``GOOD_STOPPED`` of these; per cent of them still stopped.

    They are never lowered: what a guard lets through on a small sample says nothing of what it must stop.
    """
    if not good or sum(h.trip is not None for h in good) <= GOOD_STOPPED * len(good):
        return guards, 100 * sum(h.trip is not None for h in good) / max(1, len(good))
    reach = 100 * (1 - GOOD_STOPPED / 3)  # each of three guards may stop its share

    def bound(values: Iterable[float]) -> float:
        return math.ceil(percentile(values, reach) * 10) / 10

    by_trip = {name: [h for h in good if h.trip == name] for name in ("compression", "speed", "no speech")}
    fitted = msgspec.structs.replace(
        guards,
        **({"compression_ratio": bound(h.compression for h in good)} if by_trip["compression"] else {}),
        **({"tokens_per_second": bound(h.tokens_per_second for h in good)} if by_trip["speed"] else {}),
        **({"no_speech": min(1.0, bound(h.no_speech for h in good))} if by_trip["no speech"] else {}),
    )
    still = [
        h
        for h in good
        if h.trip in ("loop", "failed")
        or (h.trip == "compression" and h.compression > fitted.compression_ratio)
        or (h.trip == "speed" and h.tokens_per_second > fitted.tokens_per_second)
        or (h.trip == "no speech" and h.no_speech > fitted.no_speech)
    ]
    return fitted, 100 * len(still) / len(good)


def _trials(heard: Sequence[tuple[Recording, SessionOptions, Offline]]) -> Iterable[_Trial]:
    """Every utterance whole, and its beginnings."""
    chance = random.Random(0)  # noqa: S311 - where to cut is no secret
    unit = 0
    for number, (recording, options, offline) in enumerate(heard):
        language = recording.truth.language if recording.truth and recording.truth.language else offline.language
        words = timed_truth(recording, offline.full, language)
        for span in offline.spans:
            unit = number if len(heard) >= ENOUGH_FILES else unit + 1
            earliest = min(span.end, span.start + round(SHORTEST_S * SAMPLE_RATE))
            ends = (span.end, *(chance.randint(earliest, span.end) for _ in range(CUTS)))
            for place, end in enumerate(ends):
                cut = Span(span.start, end)
                yield _Trial(unit, place == 0, recording, options, cut, within(words, cut), language)


def _length(span: Span, floor_s: float, margin_s: float) -> int:
    policy = Policy(encoder_floor=ms(1000 * floor_s), encoder_margin=ms(1000 * margin_s))
    return encoder_samples(span.end - span.start, policy)


def _errors(trial: _Trial, heard: Heard) -> Errors:
    return count_errors(trial.truth, normalise(heard.text, trial.language))


def _choose(cells: Sequence[Cell]) -> tuple[Cell, Cell | None]:
    """The first safe one of these, which stand in the order of their price, and the first promising one before it."""
    chosen = next((cell for cell in cells if cell.safe), cells[-1])
    return chosen, next((cell for cell in cells[: cells.index(chosen)] if cell.promising), None)


def _words_needed(cell: Cell, words: int) -> int:
    """About how many words would tell whether it is safe: an interval shrinks with the root of their number.

    If none of them was any worse, all there is is the rule of three, which shrinks with their number.
    """
    width, room = cell.loss.high - cell.loss.difference, SAFE_POINTS - cell.loss.difference
    needed = max(THREE / room, words * (width / room) ** 2 if width > 1.01 * THREE / words else 0)
    return math.ceil(needed / 100) * 100
