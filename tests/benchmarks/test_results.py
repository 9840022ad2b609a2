"""Scores of recordings and rows of sets, worked out by hand."""

import math

import pytest

from benchmarks.evalset import Recording
from benchmarks.results import Heard, Streamed, rows, score
from streamasr.bench.scoring import Errors, Shown, TimedWord


def recording(text, name="a", set_="seen"):
    """One word each half second."""
    words = tuple(TimedWord(w, i / 2, i / 2 + 0.5) for i, w in enumerate(text.split()))
    return Recording(id=name, set=set_, path="", text=text, duration=9.0, voice="", lang="en", words=words)


def streamed(*texts, waits=()):
    """Each text an utterance's final, one second apart; before each, its first word as a partial."""
    log = []
    for number, text in enumerate(texts):
        log.append(Shown(at=number + 0.75, utterance=number, stable="", unstable=text.split(" ")[0]))
        log.append(Shown(at=number + 1.0, utterance=number, stable=text, final=True))
    return Streamed(log=tuple(log), final_waits=waits)


def test_a_recording_is_scored_against_its_truth_and_beside_the_others():
    truth = recording("one two three four")
    got = score(
        truth,
        streamed("One two.", "three three for", waits=(0.25,)),
        Heard(reference="one two three", whole_file="one two three four", whole_file_alone=""),
        real_time=True,
    )

    assert got.text == "One two. three three for"
    assert got.streamed == Errors(sub=1, ins=1, dels=0, words=4)
    assert got.reference == Errors(dels=1, words=4)
    assert (got.whole_file, got.whole_file_alone) == (Errors(words=4), Errors(dels=4, words=4))
    assert [lag.shown for lag in got.lags] == [0.25, 0.0, 0.25]
    assert got.final_waits == (0.25,)
    assert (got.doubled, got.reference_doubled) == (1, 0)
    assert got.shown_words == 3


def test_words_shown_on_silence_count_even_if_the_final_has_none():
    log = (
        Shown(at=1.0, utterance=0, stable="", unstable=" you"),
        Shown(at=2.0, utterance=0, stable="", final=True),
    )

    got = score(recording("", set_="silence"), Streamed(log=log), Heard(), real_time=True)

    assert got.shown_words == 1
    assert rows([got])[0].files_with_words == 1


def test_there_are_no_lags_when_not_in_real_time():
    got = score(recording("one two"), streamed("one two", waits=(0.1,)), Heard(), real_time=False)

    assert (got.lags, got.final_waits) == ((), ())
    assert math.isnan(rows([got])[0].shown[0])


def test_a_row_sums_its_set_and_sets_are_taken_together():
    scores = [
        score(recording("a b c d", "1", "seen"), streamed("a b c x"), Heard(reference="a b c d"), real_time=True),
        score(recording("a b c d", "2", "seen"), streamed("a b c d"), Heard(reference="a b c d"), real_time=True),
        score(recording("e f", "3", "long"), streamed("e f"), Heard(reference="e"), real_time=True),
        score(recording("g", "4", "noisy"), streamed("h"), Heard(reference="g"), real_time=True),
    ]

    seen, long, noisy, together = rows(scores)

    assert [r.name for r in (seen, long, noisy, together)] == ["seen", "long", "noisy", "seen + long"]
    assert (seen.files, seen.words, seen.streamed, seen.reference) == (2, 8, 12.5, 0.0)
    assert (seen.difference.difference, long.difference.difference) == (12.5, -50.0)
    assert together.difference.difference == pytest.approx(0.0)
    assert together.difference.low < 0 < together.difference.high
    assert seen.shown == (0.0, pytest.approx(0.25))
    assert math.isnan(seen.whole_file)
    assert (seen.doubled, seen.lost) == (0, 0)


def test_a_word_taken_back_is_counted_in_per_cent_of_words():
    truth = recording("one two")
    log = (
        Shown(at=0.75, utterance=0, stable="", unstable="one"),
        Shown(at=1.0, utterance=0, stable="", unstable="won"),
        Shown(at=1.25, utterance=0, stable="one two", final=True),
    )

    row = rows([score(truth, Streamed(log=log), Heard(), real_time=True)])[0]

    assert row.erased_share == 50.0
    assert (row.shown[0], row.kept[0]) == (0.25, 0.5)
