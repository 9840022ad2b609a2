"""The gate, from lists of floats: when utterances begin, pause, resume and end, and that none overlap."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import FRAME, GRID
from streamasr.core.gate import TRANSITIONS, Gate, State
from streamasr.core.policy import Policy

POLICY = Policy()
PRE_ROLL = 7_200
LOUD, MIDDLE, QUIET = 0.9, 0.4, 0.1


def step(gate, *scores):
    return [gate.step(score) for score in scores]


def gated(*scores, policy=POLICY, start=0):
    gate = Gate(policy, start)
    return gate, step(gate, *scores)


def test_every_state_has_a_transition_for_every_loudness():
    assert set(TRANSITIONS) == set(itertools.product(State, ["high", "middle", "low"]))


def test_every_state_but_cut_is_reached_by_scores_alone():
    """An utterance is cut from outside; nothing else leads there."""
    reached = {State.SILENT}
    while more := {new for (old, _), (new, _) in TRANSITIONS.items() if old in reached} - reached:
        reached |= more
    assert reached == set(State) - {State.CUT}


def test_an_utterance_begins_exactly_when_the_gate_comes_to_speak():
    speaking = {State.SPEECH, State.TRAILING}
    for (old, _), (new, change) in TRANSITIONS.items():
        assert (change == "started") == (old not in speaking and new in speaking)
        assert (change == "resumed") == (old is State.TRAILING and new is State.SPEECH)
        assert (change == "paused") == (new is State.TRAILING and old is not State.TRAILING)


@pytest.mark.parametrize(
    ("scores", "changes"),
    [
        ([LOUD, LOUD], [None, "started"]),
        ([LOUD, QUIET, LOUD], [None, None, "started"]),
        ([LOUD, MIDDLE, LOUD], [None, None, "started"]),
        ([LOUD, QUIET, QUIET, LOUD], [None] * 4),
        ([MIDDLE] * 9, [None] * 9),
        ([0.49, 0.49, 0.5, 0.5], [None, None, None, "started"]),
    ],
)
def test_two_of_three_loud_frames_begin_an_utterance(scores, changes):
    assert gated(*scores)[1] == changes


def test_speech_holds_on_below_the_threshold_that_began_it():
    """Hysteresis: 0.5 begins it, only below 0.35 it pauses."""
    gate, changes = gated(LOUD, LOUD, 0.36, 0.35, 0.34, 0.35)
    assert changes == [None, "started", None, None, "paused", "resumed"]
    assert gate.last_speech == 6 * FRAME


def test_silence_counts_from_the_last_speech_frame():
    gate, _ = gated(LOUD, LOUD, LOUD, QUIET, QUIET)
    assert (gate.last_speech, gate.silence, gate.speaking) == (3 * FRAME, 2 * FRAME, True)


def test_an_utterance_begins_before_its_first_speech_frame():
    gate, _ = gated(*[QUIET] * 30, LOUD, QUIET, LOUD)
    assert gate.onset == 30 * FRAME
    assert gate.start == (30 * FRAME - PRE_ROLL) // GRID * GRID


def test_the_pre_roll_stops_at_the_beginning_of_the_session():
    gate, _ = gated(QUIET, LOUD, LOUD)
    assert gate.start == 0
    gate, _ = gated(QUIET, LOUD, LOUD, start=48_000)
    assert gate.start == 48_000


def test_the_pre_roll_stops_where_the_utterance_before_ended():
    gate, _ = gated(LOUD, LOUD, *[QUIET] * 10)
    gate.end(5_120, speech_goes_on=False)
    step(gate, LOUD, LOUD)
    assert gate.onset == 12 * FRAME
    assert gate.start == 5_120


def test_after_a_cut_in_speech_the_next_frame_of_speech_begins_an_utterance_at_the_cut():
    """It takes one frame, and a quieter one will do: speech is going on."""
    gate, _ = gated(LOUD, LOUD, LOUD)
    gate.end(1_500, speech_goes_on=True)
    assert not gate.speaking
    assert step(gate, MIDDLE) == ["started"]
    assert gate.start == 1_500


def test_after_a_cut_silence_is_silence():
    gate, _ = gated(LOUD, LOUD, LOUD)
    gate.end(1_500, speech_goes_on=True)
    assert step(gate, QUIET, MIDDLE, LOUD) == [None, None, None]


def test_one_speech_frame_is_hesitant_until_two_quiet_ones_follow():
    gate = Gate(POLICY)
    hesitant = []
    for score in (QUIET, LOUD, QUIET, QUIET):
        gate.step(score)
        hesitant.append(gate.hesitant())
    assert hesitant == [False, True, True, False]


def test_speech_without_words_raises_what_it_takes_to_begin():
    gate = Gate(POLICY)
    gate.raised = True
    assert step(gate, 0.6, 0.64, 0.6) == [None] * 3
    assert step(gate, 0.65, 0.65) == [None, "started"]
    assert step(gate, 0.2, 0.5) == ["paused", "resumed"]  # not what it takes to go on


def test_a_raised_threshold_may_miss_a_beginning_so_the_next_start_reaches_back_twice_as_far():
    gate = Gate(POLICY)
    gate.raised = True
    step(gate, *[QUIET] * 60, LOUD, LOUD)
    assert gate.start == (60 * FRAME - 2 * PRE_ROLL) // GRID * GRID


@given(st.lists(st.floats(0, 1), max_size=200), st.integers(0, 20), st.data())
def test_no_sample_is_in_two_utterances_whatever_the_scores(scores, patience, data):
    """Ended by endpoints and from outside, boundaries never go back and starts lie inside what is free."""
    gate, free, begun = Gate(POLICY), 0, None
    for score in scores:
        change = gate.step(score)
        if change == "started":
            assert begun is None
            begun = gate.start
            assert free <= begun <= gate.onset < gate.position
            assert begun >= gate.onset - PRE_ROLL - GRID
        assert gate.speaking == (begun is not None)
        assert gate.last_speech <= gate.position
        outside = begun is not None and data.draw(st.integers(0, 9)) == 0
        if begun is not None and (outside or gate.silence > patience * FRAME):
            end = max(begun, gate.position - data.draw(st.integers(0, FRAME)))
            gate.end(end, speech_goes_on=gate.state is State.SPEECH)
            free, begun = end, None
