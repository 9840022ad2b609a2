"""Decisions on figures: the most streams that are served, broken promises, which of two servers is better."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.search import Limit, Search, broken, compare, server_ms, within
from tests.loadtest.made import figures


def searched(first, most, truly):
    search, tried = Search(first, most), []
    while (streams := search.next) is not None:
        tried.append(streams)
        search.tried(streams, within=streams <= truly)
    return search.limit, tried


def test_a_search_doubles_then_halves_the_gap():
    assert searched(4, 1000, 11) == (11, [4, 8, 16, 12, 10, 11])


def test_a_search_that_began_too_high_goes_down_to_nothing():
    assert searched(4, 1000, 0) == (0, [4, 2, 1])


def test_a_search_stops_at_the_most_that_may_be_tried():
    assert searched(4, 10, 99) == (10, [4, 8, 10])


@given(first=st.integers(1, 64), truly=st.integers(0, 300))
def test_a_search_finds_the_limit_to_one_stream_in_twenty_and_tries_nothing_twice(first, truly):
    limit, tried = searched(first, 4096, truly)
    assert limit <= truly <= limit + max(1, limit // 20) - 1
    assert len(set(tried)) == len(tried) <= 16


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (figures(), ""),
        (figures([2.0]), "shown p95 2.0 s is above 1.5 s"),
        (figures([]), "no word was shown"),
        (figures(troubles={"refused": 2}), "2 refused"),
        (figures(troubles={"failed": 1}), "1 failed"),
        (figures(quality={"stable_violations": 3}), "3 changes of stable text"),
        (figures(quality={"difference": (0.9, -0.1, 1.9)}), ""),
        (figures(quality={"difference": (1.1, 0.2, 2.0)}), "word error rate 10.0 %"),
        (figures(quality={"difference": (0.9, 0.4, 1.4)}), "word error rate 10.0 %"),
        (figures(quality={"difference": (4.0, 0.0, 8.0), "words": 300}), ""),
    ],
)
def test_streams_are_served_if_words_come_in_time_and_are_right(found, why):
    assert within(found, Limit()) == why


def test_without_a_reference_the_fewest_streams_are_the_yardstick():
    few = figures(quality={"wer": 9.5})
    assert not within(figures(quality={"wer": 10.5}), Limit(), few)
    assert within(figures(quality={"wer": 10.6}), Limit(), few) == "word error rate 10.6 %"


def test_broken_promises_are_named():
    assert broken(figures(quality={"lost": 3, "doubled": 2})) == []
    wrong = {"stable_violations": 1, "finals_missing": 2, "idle_words": 3, "unheard": 5, "reference_lost": 1}
    wrong |= {"doubled": 2, "reference_doubled": 2}
    assert broken(figures(quality=wrong, troubles={"failed": 4})) == [
        "stable text was changed 1 times",
        "2 utterances came in no final",
        "3 words came where nobody spoke",
        "4 sessions failed",
        "4 stretches of words were lost",
    ]


def test_two_servers_are_compared_by_the_medians_of_their_rounds():
    a, b = figures([0.25], cpu_s=1.0), figures([1.0], cpu_s=4.0)
    slow = figures([9.0], cpu_s=9.0)
    found = compare("", "--max-batch 1", [(a, b), (a, b), (slow, b)])

    assert (found.a, found.b, found.rounds) == ("", "--max-batch 1", 3)
    assert found.medians["word shown p95 (s)"] == (0.25, 1.0)
    assert found.ratios["word shown p95 (s)"] == 0.25
    assert found.medians["server CPU a stream-second (ms)"] == (10.0, 40.0)
    assert found.ratios["end of speech to final p95 (s)"] is None


def test_two_servers_limits_are_compared_alone():
    found = compare("x", "y", [], [(40, 4), (30, 3), (44, 5)])
    assert found.medians == {"streams within the limit": (40, 4)}
    assert found.ratios == {"streams within the limit": 10.0}
    assert compare("x", "y", [], [(3, 0)]).ratios == {"streams within the limit": None}


def test_the_servers_cost_is_for_each_second_of_speech():
    assert server_ms(figures(cpu_s=2.5)) == 25.0
    assert server_ms(figures()) is None
    assert server_ms(msgspec.structs.replace(figures(cpu_s=2.5), spoken_s=0.0)) is None
