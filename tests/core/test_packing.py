"""Where a recording is cut: told from lists of speech probabilities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import FRAME, GRID
from streamasr.core.packing import Packer, Packing
from streamasr.core.policy import Policy, ms

POLICY = Policy()
PACKING = Packing()


def packed(*runs, policy=POLICY, packing=PACKING):
    """Runs of (speech probability, milliseconds) to complete stretches."""
    packer = Packer(policy, packing)
    for score, length in runs:
        packer.receive_scores([score] * round(ms(length) / FRAME))
    packer.finish(packer.position)
    return packer.take()


def spans(stretches):
    return [(s.start // ms(1), s.end // ms(1)) for s in stretches]


def test_silence_has_no_stretches():
    assert packed((0.0, 20_000)) == []


def test_speech_comes_with_its_pre_roll_and_its_tail():
    (stretch,) = packed((0.0, 2_000), (0.9, 3_000), (0.0, 4_000))

    assert stretch.onset == 62 * FRAME  # 2 s
    assert stretch.last_speech == (62 + 94) * FRAME
    assert stretch.start == (stretch.onset - POLICY.pre_roll) // GRID * GRID
    assert stretch.end == (stretch.last_speech + PACKING.tail) // GRID * GRID
    assert stretch.before_silence


def test_neighbouring_speech_shares_a_stretch_up_to_a_window():
    assert len(packed(*[(0.9, 2_000), (0.0, 600)] * 3, (0.0, 3_000))) == 1
    assert len(packed(*[(0.9, 2_000), (0.0, 600)] * 6, (0.0, 3_000))) == 2


def test_a_pause_too_long_to_be_kept_ends_a_stretch_at_once():
    packer = Packer(POLICY, PACKING)
    packer.receive_scores([0.9] * 60 + [0.0] * (PACKING.longest_pause // FRAME + 1))

    assert [stretch.before_silence for stretch in packer.take()] == [True]


def test_a_model_with_a_long_floor_keeps_longer_pauses():
    """A short window costs it as much as a long one."""
    speech = [(0.9, 2_000), (0.0, 1_500)] * 3

    assert len(packed(*speech, (0.0, 5_000))) == 3
    stock = Policy(encoder_floor=ms(10_000), longest_window=ms(20_000))
    assert len(packed(*speech, (0.0, 5_000), policy=stock, packing=Packing.of(stock))) == 1


def test_long_speech_is_cut_in_its_longest_pause_of_the_later_half():
    first, second = packed((0.9, 3_000), (0.0, 400), (0.9, 3_000), (0.0, 300), (0.9, 2_000), (0.0, 130), (0.9, 5_000))

    assert first.last_speech < ms(6_500) < second.onset  # the pause of 300 ms: that of 400 comes too early
    assert first.end <= second.start


def test_a_short_pause_is_cut_in_its_middle():
    first, second = packed((0.9, 7_000), (0.0, 160), (0.9, 7_000))

    assert first.end == second.start
    assert first.last_speech < first.end < second.onset


def test_speech_without_a_pause_is_handed_out_while_it_grows_and_ends_at_the_next_pause():
    packer = Packer(POLICY, PACKING)
    packer.receive_scores([0.9] * 400)  # 12.8 s
    (stretch,) = packer.take()
    assert stretch.end is None
    assert stretch.last_speech == 400 * FRAME

    packer.receive_scores([0.9] * 100 + [0.0] * 5 + [0.9] * 20)
    assert 500 * FRAME < stretch.end < 505 * FRAME
    assert packer.take() == []


@pytest.mark.parametrize("last", [[0.9], [0.9] * 20, [0.9, 0.0]], ids=["onset", "speech", "fading"])
def test_speech_at_the_very_end_is_kept(last):
    packer = Packer(POLICY, PACKING)
    packer.receive_scores([0.0] * 50 + last)
    packer.finish(packer.position + 100)

    (stretch,) = packer.take()
    assert stretch.last_speech >= packer.position


@given(st.lists(st.tuples(st.sampled_from([0.02, 0.4, 0.6, 0.98]), st.integers(1, 200)), max_size=25))
def test_stretches_are_in_order_apart_and_hold_all_speech(runs):
    scores = [score for score, frames in runs for _ in range(frames)]
    packer = Packer(POLICY, PACKING)
    packer.receive_scores(scores)
    end = len(scores) * FRAME
    packer.finish(end)
    stretches = packer.take()

    edge = 0
    for stretch in stretches:
        assert edge <= stretch.start <= stretch.onset < stretch.last_speech <= stretch.end + PACKING.tail
        assert stretch.start % GRID == 0
        assert stretch.end <= end
        edge = stretch.end
    inside = [any(s.start < (i + 1) * FRAME and i * FRAME < s.end for s in stretches) for i in range(len(scores))]
    for i in range(len(scores) - 1):
        if scores[i] >= 0.5 and scores[i + 1] >= 0.5:
            assert inside[i]
            assert inside[i + 1]
