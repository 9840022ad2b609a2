"""The measuring stick itself: alignments, error rates, intervals and lags on cases worked out by hand."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.bench.scoring import (
    Errors,
    Op,
    Shown,
    TimedWord,
    align,
    align_prefix,
    count_errors,
    doubled_words,
    errors_by_block,
    lost_runs,
    mean_absolute,
    normalise,
    paired_bootstrap,
    percentile,
    wer,
    word_lags,
)

sentences = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=9)


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("And, once again, I'm glad!", "en", ["and", "once", "again", "im", "glad"]),
        ("Voll süß, ihre Stupsnase!", "de", ["voll", "süß", "ihre", "stupsnase"]),
        ("¿Cuándo? Mañana…", "es", ["cuándo", "mañana"]),
        ("Man\u0303ana", "es", ["ma\u00f1ana"]),
        ("你好，世界。", "zh", ["你", "好", "世", "界"]),
        ("नमस्ते", "hi", ["नमस्ते"]),
        (" - … ", "en", []),
    ],
)
def test_normalise_keeps_what_is_compared(text, language, words):
    assert words == normalise(text, language)


def test_the_word_of_a_repetition_that_is_missing_is_the_later_one():
    """Equal words stand as early as they can, as words are shown as they are spoken."""
    ops = align(["very", "very", "good"], ["very", "good"])

    assert [Op("equal", 0, 0), Op("del", 1, None), Op("equal", 2, 1)] == ops


def test_the_word_of_a_doubling_that_is_too_much_is_the_later_one():
    ops = align(["very", "good"], ["very", "very", "good"])

    assert ops == [Op("equal", 0, 0), Op("ins", None, 1), Op("equal", 1, 2)]


def test_among_alignments_of_equal_cost_the_one_with_most_equal_words_is_taken():
    assert [op.kind for op in align(["x", "the"], ["the", "y"])] == ["del", "equal", "ins"]


def test_a_prefix_is_aligned_with_the_beginning_only():
    """A partial of one word is the first of two equal words, and what follows it costs nothing."""
    assert [Op("equal", 0, 0)] == align_prefix(["the", "cat", "the", "mat"], ["the"])
    assert align_prefix(["the"], []) == []


@given(sentences, sentences)
def test_an_alignment_uses_every_word_once_and_costs_the_edit_distance(ref, hyp):
    ops = align(ref, hyp)
    previous = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, 1):
        row = [i]
        for j, h in enumerate(hyp, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (r != h)))
        previous = row

    assert list(range(len(ref))) == [op.ref for op in ops if op.ref is not None]
    assert list(range(len(hyp))) == [op.hyp for op in ops if op.hyp is not None]
    assert all((op.kind == "equal") == (ref[op.ref] == hyp[op.hyp]) for op in ops if op.kind in ("equal", "sub"))
    assert previous[-1] == sum(op.kind != "equal" for op in ops)


@given(sentences, st.integers(0, 9))
def test_a_true_prefix_is_aligned_without_edits(ref, size):
    ops = align_prefix(ref, ref[:size])

    assert [("equal", i, i) for i in range(len(ref[:size]))] == ops


def test_errors_are_counted_by_kind_and_add_up():
    errors = count_errors(["a", "b", "c", "d"], ["a", "x", "c", "d", "e"])

    assert Errors(sub=1, ins=1, dels=0, words=4) == errors
    assert errors.wer == 50.0
    assert Errors(1, 1, 2, 6) == errors + Errors(0, 0, 2, 2)
    assert math.isnan(Errors(ins=3).wer)


def test_wer_is_the_ratio_of_sums():
    assert wer([("One, two three.", "one two three"), ("four", "five")]) == 25.0


def test_the_bootstrap_finds_the_difference_and_its_interval():
    """100 files of 10 words; in every tenth of them a makes one error more: 1 point, give or take 0.6."""
    files = [(3 if i % 10 else 4, 3, 10) for i in range(100)]

    difference, low, high = paired_bootstrap(files, seed=1)

    assert difference == pytest.approx(1.0)
    assert low == pytest.approx(0.5, abs=0.15)
    assert high == pytest.approx(1.6, abs=0.15)
    assert (difference, low, high) == paired_bootstrap(files, seed=1)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    """Noise without a difference: the 95 % interval holds 0 in most repetitions, not in all."""
    rng = random.Random(7)
    hits = 0
    for seed in range(100):
        files = [(rng.randrange(5), rng.randrange(5), 10) for _ in range(40)]
        _, low, high = paired_bootstrap(files, n=1000, seed=seed)
        hits += low <= 0 <= high

    assert 88 <= hits <= 99


def test_the_bootstrap_of_nothing_is_not_a_number():
    assert all(math.isnan(v) for v in paired_bootstrap([(0, 0, 0)]))
    assert all(math.isnan(v) for v in paired_bootstrap([]))


@pytest.mark.parametrize(
    ("heard", "doubled"),
    [
        ("we went to the to the river bank", 2),
        ("we went to the river river bank", 1),
        ("we went oh to the river bank", 0),
        ("we we went to the the to reefer bang", 2),
    ],
)
def test_doubled_words_repeat_those_right_before_them(heard, doubled):
    assert doubled_words(["we", "went", "to", "the", "river", "bank"], heard.split(" ")) == doubled


def test_lost_runs_are_three_or_more_words_missing_in_a_row():
    ref = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]

    assert lost_runs(ref, ["a", "e", "f", "i"]) == 1
    assert lost_runs(ref, ["a", "e", "f", "i"], at_least=2) == 2
    assert lost_runs(ref, ["a", "b", "x", "y", "z", "f", "g", "h", "i"]) == 0


def test_percentiles_and_means_leave_out_what_is_not_a_number():
    assert percentile([1.0, math.nan, 2.0, 3.0], 50) == 2.0
    assert mean_absolute([-1.0, math.nan, 3.0]) == 2.0
    assert math.isnan(percentile([], 95))
    assert math.isnan(mean_absolute([math.nan]))


def word(text, start, end):
    return TimedWord(text, start, end)


def test_lags_of_one_utterance():
    """Shown at once, erased and shown again, stable with the third partial or the final."""
    truth = [word("One,", 0.25, 0.5), word("two", 0.5, 1.0), word("three.", 1.0, 1.5)]
    log = [
        Shown(at=0.75, utterance=0, stable="", unstable="One"),
        Shown(at=1.25, utterance=0, stable="", unstable="One two"),
        Shown(at=1.5, utterance=0, stable="", unstable="One tooth"),
        Shown(at=1.75, utterance=0, stable="One", unstable=" two three"),
        Shown(
            at=2.25,
            utterance=0,
            stable="One, two three.",
            final=True,
            words=(word("One,", 0.25, 0.625), word("two", 0.625, 1.0), word("three.", 1.0, 1.625)),
        ),
    ]

    assert word_lags(truth, log) == [
        (0.25, 0.25, 1.25, 0, 0.0, 0.125),
        (0.25, 0.75, 1.25, 1, 0.125, 0.0),
        (0.25, 0.25, 0.75, 0, 0.0, 0.125),
    ]


def test_only_words_that_the_final_has_right_have_lags():
    """A word shown rightly that ended up wrong has none; nor has one in an utterance without a final."""
    truth = [word("red", 0.0, 0.5), word("green", 0.5, 1.0), word("blue", 5.0, 6.0)]
    log = [
        Shown(at=1.0, utterance=0, stable="", unstable="red green"),
        Shown(at=2.0, utterance=0, stable="red grin", final=True),
        Shown(at=6.0, utterance=1, stable="blue"),
    ]

    lags = word_lags(truth, log)

    assert [lag[:4] for lag in lags] == [(0.5, 0.5, 1.5, 0)]
    assert math.isnan(lags[0].start_error)


def test_a_word_belongs_to_the_final_it_stands_in():
    """The same word in two utterances is not taken for shown when the first one is."""
    truth = [word("stop", 0.0, 0.5), word("stop", 3.0, 3.5)]
    log = [
        Shown(at=1.0, utterance=0, stable="Stop.", final=True),
        Shown(at=4.0, utterance=1, stable="", unstable="Stop"),
        Shown(at=4.5, utterance=1, stable="Stop.", final=True),
    ]

    assert [(lag.shown, lag.stable) for lag in word_lags(truth, log)] == [(0.5, 0.5), (0.5, 1.0)]


def test_words_of_unspaced_scripts_are_timed_by_character():
    truth = [word("你好", 0.0, 1.0), word("世界。", 1.0, 2.0)]
    log = [
        Shown(at=1.5, utterance=0, stable="", unstable="你好"),
        Shown(at=2.5, utterance=0, stable="你好世界。", final=True),
    ]

    assert [lag.shown for lag in word_lags(truth, log, "zh")] == [0.5, 0.5, 0.5, 0.5]


def test_a_long_session_is_scored_quickly_and_exactly():
    """500 words in utterances of ten, one word a half second, each shown 0.25 s after its end."""
    rng = np.random.default_rng(0)
    spoken = [f"w{n}" for n in rng.integers(0, 40, 500)]
    truth = [word(text, i * 0.5, i * 0.5 + 0.5) for i, text in enumerate(spoken)]
    log = [
        Shown(
            at=0.75 + 0.5 * i,
            utterance=i // 10,
            stable=" ".join(spoken[i - i % 10 : i + (i % 10 == 9)]),
            unstable="" if i % 10 == 9 else " " + spoken[i],
            final=i % 10 == 9,
        )
        for i in range(500)
    ]

    lags = word_lags(truth, log)

    assert len(lags) == 500
    assert {0.25} == {lag.shown for lag in lags}
    assert {0.25, 0.75} == {lag.stable for lag in lags}


def test_what_was_said_twice_is_not_doubled():
    assert doubled_words(["no", "no", "no", "never"], ["no", "no", "no", "never"]) == 0
    assert doubled_words(["no", "no", "never"], ["no", "no", "no", "never"]) == 1


@given(sentences, sentences, st.integers(1, 4))
def test_blocks_hold_all_errors_and_words_once(ref, hyp, size):
    blocks = errors_by_block(ref, hyp, size)

    assert sum(blocks, Errors()) == count_errors(ref, hyp)
    assert [block.words for block in blocks[:-1]] == [size] * (len(blocks) - 1)


def test_an_inserted_word_belongs_to_the_block_of_the_word_before_it():
    assert errors_by_block(["a", "b", "c"], ["a", "b", "x", "c"], 2) == [Errors(ins=1, words=2), Errors(words=1)]
