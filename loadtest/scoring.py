"""From one lane's log and its truth to what was right, how late it was, and which promises were kept.

Pure. Times are seconds; those called ``spoken_at`` are on the run's clock, so that lanes that began at different
times can be put side by side.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise

import msgspec

from loadtest.lanes import Lane
from loadtest.pacing import Arrival
from streamasr.bench.scoring import (
    Errors,
    Op,
    Shown,
    TimedWord,
    align,
    count_errors,
    doubled_words,
    errors_by_block,
    lost_runs,
    normalise,
    word_lags,
)

MISSED_WORDS = 3
"""An utterance of fewer words may be misheard altogether without anything having been lost."""

LOST_WORDS = 3
"""As ``lost_runs`` counts."""
BLOCK_WORDS = 25
"""What is resampled for an interval: lanes are too few."""


class Waited(msgspec.Struct, frozen=True):
    """How long somebody waited for something that was spoken at ``spoken_at``."""

    spoken_at: float
    wait: float


class Text(msgspec.Struct, frozen=True):
    """How right a text is."""

    errors: Errors = Errors()
    lost: int = 0
    doubled: int = 0


class LaneScore(msgspec.Struct, frozen=True, kw_only=True):
    """One lane's figures; they are put together over lanes by ``loadtest.summary``."""

    shown: tuple[Waited, ...]
    stable: tuple[Waited, ...]
    finals: tuple[Waited, ...]
    preflights: tuple[Waited, ...]
    text: Text
    reference: Text | None
    """Of the same recordings without streaming."""
    blocks: tuple[tuple[int, int, int], ...]
    """(errors, the reference's errors, words) of each ``BLOCK_WORDS`` words; empty without a reference."""
    stable_violations: int
    erased: int
    shown_words: int
    unheard: tuple[str, ...]
    """Each stretch that was lost: the second of the lane's audio, and what was said there."""
    utterances: int
    finals_missing: int


def score(lane: Lane, arrivals: Sequence[Arrival], began: float, reference: str | None = None) -> LaneScore:
    """The figures of a lane that began ``began`` seconds into the run; ``reference``: its text without streaming."""
    log = shown_log(arrivals)
    finals = [shown for shown in log if shown.final]
    truth = _tokens(lane.truth, lane.language)
    places = [(final, token) for final in finals for token in normalise(final.stable, lane.language)]
    ops = align([word.text for word in truth], [token for _, token in places])
    spoken = [began + truth[op.ref].end for op in ops if op.kind == "equal" and op.ref is not None]
    lags = word_lags(lane.truth, log, lane.language)  # one for each equal step, in their order
    last = last_finals(lane, truth, ops, [final for final, _ in places])
    waits = [(u.end, f.at - u.end) for u, f in zip(lane.utterances, last, strict=True) if f and f.at >= u.end]
    words, said = [word.text for word in truth], [token for _, token in places]
    heard = None if reference is None else normalise(reference, lane.language)
    return LaneScore(
        shown=tuple(Waited(at, lag.shown) for at, lag in zip(spoken, lags, strict=True)),
        stable=tuple(Waited(at, lag.stable) for at, lag in zip(spoken, lags, strict=True)),
        finals=tuple(Waited(began + end, wait) for end, wait in waits),
        preflights=tuple(_preflights(lane, last, arrivals, began)),
        text=_text(words, said),
        reference=None if heard is None else _text(words, heard),
        blocks=() if heard is None else _blocks(words, said, heard),
        stable_violations=stable_violations(arrivals),
        erased=erased_words(log, lane.language),
        shown_words=len(places),
        unheard=unheard(truth, ops, finals),
        utterances=len(lane.utterances),
        finals_missing=sum(f is None and u.words >= MISSED_WORDS for u, f in zip(lane.utterances, last, strict=True)),
    )


def shown_log(arrivals: Sequence[Arrival]) -> list[Shown]:
    """What a client showed, in order: partials and finals."""
    return [
        Shown(
            at=arrival.at,
            utterance=arrival.heard.utterance,
            stable=arrival.heard.stable,
            unstable=arrival.heard.unstable,
            final=arrival.heard.kind == "final",
            words=arrival.heard.words,
        )
        for arrival in arrivals
        if arrival.heard.kind in ("partial", "final")
    ]


def stable_violations(arrivals: Sequence[Arrival]) -> int:
    """How often stable text was changed, said again after its final, or contradicted by a preflight."""
    stable: dict[int, str] = {}
    closed: set[int] = set()
    broken = 0
    for heard in (arrival.heard for arrival in arrivals):
        before = stable.get(heard.utterance, "")
        match heard.kind:
            case "partial" | "final":
                broken += heard.utterance in closed or not heard.stable.startswith(before)
                stable[heard.utterance] = heard.stable
            case "preflight":
                broken += not (heard.stable + heard.unstable).startswith(before)
        if heard.kind == "final":
            closed.add(heard.utterance)
    return broken


def erased_words(log: Sequence[Shown], language: str) -> int:
    """How many words went away from one display of an utterance to the next."""
    displays: dict[int, list[list[str]]] = {}
    for shown in log:
        displays.setdefault(shown.utterance, []).append(normalise(shown.stable + shown.unstable, language))
    return sum(_gone(before, after) for shown in displays.values() for before, after in pairwise(shown))


def last_finals(
    lane: Lane, truth: Sequence[TimedWord], ops: Sequence[Op], finals: Sequence[Shown]
) -> list[Shown | None]:
    """For each true utterance the final with its last word that was heard; None if none of it was.

    ``truth`` are the lane's words as they were aligned; ``finals`` holds the final of each word that was said.
    """
    right: list[Shown | None] = [None] * len(lane.utterances)
    heard: list[Shown | None] = [None] * len(lane.utterances)
    number = 0
    for op in ops:
        if op.ref is None or op.hyp is None:
            continue
        while truth[op.ref].start > lane.utterances[number].end:
            number += 1
        heard[number] = finals[op.hyp]
        right[number] = finals[op.hyp] if op.kind == "equal" else right[number]
    return [sure or other for sure, other in zip(right, heard, strict=True)]  # a misheard word's place is a guess


def unheard(truth: Sequence[TimedWord], ops: Sequence[Op], finals: Sequence[Shown]) -> tuple[str, ...]:
    """The missing stretches in whose place no final has a word: the second of each, and what was said there.

    Where several words were misheard as one, words are missing too, but that one lies there.
    """
    heard = [word for final in finals for word in final.words]
    found = []
    for kind, run in groupby(ops, key=lambda op: op.kind):
        words = [truth[op.ref] for op in run if op.ref is not None] if kind == "del" else []
        if len(words) < LOST_WORDS:
            continue
        start, end = (words[0].start + words[0].end) / 2, (words[-1].start + words[-1].end) / 2
        if not any(word.start < end and word.end > start for word in heard):
            found.append(f"{words[0].start:.1f} s: {' '.join(word.text for word in words)}")
    return tuple(found)


def _preflights(lane: Lane, last: Sequence[Shown | None], arrivals: Sequence[Arrival], began: float) -> list[Waited]:
    """From the end of each utterance to the preflight that its final kept."""
    kept: dict[int, tuple[str, float]] = {}
    for arrival in arrivals:
        heard = arrival.heard
        if heard.kind == "speech_resumed":
            kept.pop(heard.utterance, None)
        elif heard.kind == "preflight":
            text = heard.stable + heard.unstable
            if kept.get(heard.utterance, ("", 0.0))[0] != text:
                kept[heard.utterance] = (text, arrival.at)
    waits = []
    for utterance, final in zip(lane.utterances, last, strict=True):
        text, at = kept.get(final.utterance, ("", 0.0)) if final else ("", 0.0)
        if final and text and text == final.stable and at >= utterance.end:
            waits.append(Waited(began + utterance.end, at - utterance.end))
    return waits


def _gone(before: list[str], after: list[str]) -> int:
    """Words of ``before`` that ``after`` has not."""
    same = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    if same == len(before):
        return 0
    return sum(op.kind in ("sub", "del") for op in align(before[same:], after[same:]))


def _text(truth: list[str], said: list[str]) -> Text:
    return Text(count_errors(truth, said), lost_runs(truth, said, LOST_WORDS), doubled_words(truth, said))


def _blocks(truth: list[str], said: list[str], reference: list[str]) -> tuple[tuple[int, int, int], ...]:
    ours, theirs = errors_by_block(truth, said, BLOCK_WORDS), errors_by_block(truth, reference, BLOCK_WORDS)
    return tuple((a.total, b.total, a.words) for a, b in zip(ours, theirs, strict=True))


def _tokens(words: Sequence[TimedWord], language: str) -> list[TimedWord]:
    """The words as they are compared, each with its times."""
    return [TimedWord(t, word.start, word.end) for word in words for t in normalise(word.text, language)]
