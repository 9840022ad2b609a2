"""Who is let in, from values."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.errors import Refused
from streamasr.server.admission import FULL_RETRY_S, LONGEST_RETRY_S, admit, crowding, expected_busy, time_to_places
from streamasr.server.load import Load

FLOOR = 0.1
shares = st.floats(0, 1)
loads = st.builds(
    Load,
    busy=shares,
    speaker=st.none() | st.floats(0.001, 1),
    speaking=st.integers(0, 200),
    sessions=st.integers(0, 500),
    young=st.integers(0, 100),
    speaking_share=shares,
    ends_per_s=st.floats(0, 10),
)


def load(**fields):
    """Twenty sessions that all speak, each of which takes two per cent of the engine."""
    values = {
        "busy": 0.4,
        "speaker": 0.02,
        "speaking": 20,
        "sessions": 20,
        "young": 0,
        "speaking_share": 1.0,
        "ends_per_s": 0.0,
    }
    return Load(**values | fields)


@pytest.mark.parametrize(
    ("open_sessions", "max_sessions", "loading", "draining", "why"),
    [
        (0, None, None, False, None),
        (10_000, None, None, False, None),
        (3, 4, None, False, None),
        (4, 4, None, False, "all 4 sessions are taken"),
        (5, 4, None, False, "all 4 sessions are taken"),
        (0, None, "downloading (42 %)", False, "the model is not ready yet: downloading (42 %)"),
        (0, None, None, True, "the server is shutting down"),
        (9, 4, "downloading", True, "the server is shutting down"),
    ],
)
def test_a_session_is_admitted_or_refused_with_a_reason(open_sessions, max_sessions, loading, draining, why):
    refused = admit(open_sessions=open_sessions, max_sessions=max_sessions, loading=loading, draining=draining)

    assert (refused and refused.message) == why
    assert refused is None or refused.retry_after_s > 0


def test_the_fixed_limit_is_told_before_the_measured_one():
    crowded = Refused("busy", retry_after_s=3)

    assert admit(open_sessions=1, max_sessions=2, loading=None, draining=False, crowded=crowded) is crowded
    full = admit(open_sessions=2, max_sessions=2, loading=None, draining=False, crowded=crowded, load=load())
    assert full.message == "all 2 sessions are taken"
    assert full.retry_after_s == FULL_RETRY_S


@pytest.mark.parametrize(
    ("fields", "admitted"),
    [
        ({}, True),
        ({"busy": 0.88, "speaking": 44, "sessions": 44}, True),  # 45 would take 0.9
        ({"busy": 0.9, "speaking": 45, "sessions": 45}, False),
        ({"busy": 0.6, "speaking": 30, "sessions": 90, "speaking_share": 0.3}, True),  # 27 + 4.3 speak at a time
        ({"busy": 0.6, "speaking": 30, "sessions": 150, "speaking_share": 0.3}, False),  # 45 + 5.6: a lull
        ({"busy": 0.7, "speaking": 35, "sessions": 45, "young": 10}, False),  # ten have only just come
        ({"busy": 0.7, "speaking": 35, "sessions": 45, "young": 10, "speaking_share": 0.5}, True),
        ({"busy": 1.0, "speaker": 0.01, "speaking": 70, "sessions": 70}, False),  # saturated, whatever was learnt
        ({"busy": 0.99, "speaker": None}, True),  # nobody has spoken yet
    ],
)
def test_one_more_is_let_in_while_it_harms_nobody(fields, admitted):
    assert (crowding(load(**fields), FLOOR, already=False) is None) == admitted


@given(loads, st.floats(0.01, 0.9), st.booleans())
def test_a_server_that_is_lightly_loaded_never_refuses(load, floor, already):
    light = msgspec.structs.replace(load, busy=load.busy * (1 - floor) / 2)

    assert crowding(light, floor, already=already) is None


@given(loads, st.floats(0.01, 0.9), st.integers(1, 50))
def test_more_load_never_lets_in_who_was_refused_with_less(load, floor, more):
    if crowding(load, floor, already=False):
        for fuller in (
            {"busy": min(1.0, load.busy + more / 50)},
            {"speaking": load.speaking + more},
            {"young": load.young + more},
        ):
            assert crowding(msgspec.structs.replace(load, **fuller), floor, already=False)


@given(loads, st.floats(0.01, 0.9))
def test_after_a_refusal_there_must_be_room_for_two(load, floor):
    first, again = (crowding(load, floor, already=already) for already in (False, True))

    assert again or not first
    if first is None and again is not None:
        assert expected_busy(load, 2) > 1 - floor >= expected_busy(load, 1)


@given(loads, st.floats(0.01, 0.9))
def test_a_refusal_says_when_to_ask_again(load, floor):
    if refused := crowding(load, floor, already=False):
        assert 1 <= refused.retry_after_s <= LONGEST_RETRY_S
        assert str(load.speaking) in refused.message


def test_one_is_told_to_ask_again_when_enough_will_have_ended():
    assert time_to_places(1, None) == FULL_RETRY_S
    assert time_to_places(1, load()) == FULL_RETRY_S
    assert time_to_places(3, load(ends_per_s=0.25)) == 12
    assert time_to_places(300, load(ends_per_s=0.25)) == LONGEST_RETRY_S
    # 50 speakers take 1.0; with one more 1.02, so 0.12 too much: six have to go
    refused = crowding(load(busy=1.0, speaking=50, sessions=50, ends_per_s=0.5), FLOOR, already=False)
    assert refused.retry_after_s == 12
