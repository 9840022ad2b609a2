"""How long windows are for the encoder, and where the next one begins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import GRID, Word
from streamasr.core.policy import Policy, ms
from streamasr.core.windows import BUCKETS, encoder_samples, joint, next_anchor, pause_before, token_limit

POLICY = Policy(anchor_margin=32_000)
S = 16_000


def word(start_s, end_s, text=" w"):
    return Word(text, round(start_s * S), round(end_s * S), 0.9, (1,))


@pytest.mark.parametrize(("length_s", "bucket_s"), [(0.1, 1), (1, 1), (1.01, 1.5), (3.2, 4), (10, 12), (29, 30)])
def test_a_window_takes_the_shortest_bucket_that_holds_it(length_s, bucket_s):
    assert encoder_samples(round(length_s * S), POLICY) == bucket_s * S


@pytest.mark.parametrize(("forced_s", "length_s", "seen_s"), [(5, 0.1, 5), (5, 5, 5), (5, 7.01, 7.02), (30, 2, 30)])
def test_a_forced_length_is_exact_unless_the_window_is_longer(forced_s, length_s, seen_s):
    forced = Policy(encoder_forced=ms(1000 * forced_s))
    assert encoder_samples(round(length_s * S), forced) == round(seen_s * S)


def test_floor_and_margin_are_the_models():
    stock = Policy(encoder_floor=ms(10_000), encoder_margin=ms(2_000))
    assert encoder_samples(S, stock) == 12 * S
    assert encoder_samples(11 * S, stock) == 16 * S
    assert encoder_samples(29 * S, stock) == 30 * S


@given(st.integers(0, 30 * S))
def test_no_window_is_longer_than_its_encoder_input(length):
    assert length <= encoder_samples(length, POLICY) in BUCKETS


def test_new_tokens_are_bound_by_the_audio_after_the_stable_text():
    assert token_limit(0) == 8
    assert token_limit(-S) == 8
    assert token_limit(2 * S) == 32
    assert token_limit(100 * S) == 200


def test_the_pause_before_a_word_ignores_marks():
    words = [word(0, 1), word(1, 1.4, ","), word(1.5, 2)]
    assert pause_before(words, 2) == (S, round(1.5 * S))
    assert pause_before(words, 0) == (0, 0)


def test_words_that_overlap_have_no_pause_between_them():
    assert pause_before([word(0, 2), word(1.5, 3)], 1) == (24_000, 24_000)


def test_a_joint_is_the_middle_of_a_pause():
    assert joint([word(0, 1), word(1.5, 2)], 1) == 20_000


def test_without_a_pause_of_120_ms_the_joint_is_40_ms_before_the_word():
    assert joint([word(0, 1), word(1.12, 2)], 1) == joint([word(0, 1), word(1.12, 2)], 1) // GRID * GRID == 16_960
    assert joint([word(0, 1), word(1.119, 2)], 1) == (round(1.119 * S) - 640) // GRID * GRID


def ten_seconds(*gaps_before):
    """A word each second, the given ones late by so much."""
    return [word(i + dict(gaps_before).get(i, 0.1), i + 0.9) for i in range(10)]


def test_the_anchor_goes_into_the_widest_pause():
    assert next_anchor(ten_seconds((4, 0.4), (6, 0.3)), 0, 10 * S, POLICY) == 4


def test_of_equal_pauses_the_last_one_counts():
    assert next_anchor(ten_seconds(), 0, 10 * S, POLICY) == 7


def test_the_anchor_keeps_two_seconds_from_both_edges():
    wide = ten_seconds((1, 0.5), (9, 0.5), (3, 0.2))
    assert next_anchor(wide, 0, 10 * S, POLICY) == 3
    assert next_anchor(wide, 2 * S, 10 * S, POLICY) == 7


def test_at_least_two_words_stay_behind_the_anchor_and_one_before_it():
    words = [word(3, 3.5), word(4, 4.5), word(5, 5.5)]
    assert next_anchor(words, 0, 10 * S, POLICY) == 1
    assert next_anchor(words[:2], 0, 10 * S, POLICY) is None


def test_marks_are_no_place_for_an_anchor():
    words = [word(3, 3.5), word(4.5, 4.5, ","), word(5, 5.5), word(5.6, 6)]
    assert next_anchor(words, 0, 10 * S, POLICY) == 2
