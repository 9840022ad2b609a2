"""Lanes put together; and whether the tool itself was the bottleneck."""

from array import array

import pytest

from loadtest import summary
from loadtest.pacing import Arrival, LaneLog, ShareLog
from loadtest.scoring import LaneScore, Text, Waited
from loadtest.summary import Stretch, bottleneck
from loadtest.targets import Heard
from streamasr.bench.scoring import Errors


def lane(**fields):
    nothing = {"shown": (), "stable": (), "finals": (), "preflights": (), "text": Text(), "reference": None}
    nothing |= {"blocks": (), "stable_violations": 0, "erased": 0, "shown_words": 0, "unheard": ()}
    return LaneScore(**(nothing | {"utterances": 0, "finals_missing": 0} | fields))


def test_only_what_was_spoken_in_the_stretch_counts_for_lags():
    one = lane(shown=(Waited(4.9, 9.0), Waited(5.0, 0.25)), finals=(Waited(6.0, 0.5),))
    other = lane(shown=(Waited(10.0, 0.75), Waited(10.1, 9.0)))
    found = summary.lags([one, other], Stretch(5.0, 10.0))

    assert (found.shown.count, found.shown.p50, found.shown.max) == (2, 0.5, 0.75)
    assert (found.final.count, found.final.p50) == (1, 0.5)
    assert found.stable.p50 is None
    assert summary.step(7, [one, other], Stretch(5.0, 10.0)).streams == 7


def test_errors_add_up_over_lanes():
    one = lane(
        text=Text(Errors(sub=1, words=10), lost=1),
        unheard=("9.0 s: a b c",),
        erased=2,
        shown_words=8,
        utterances=3,
        stable_violations=1,
    )
    other = lane(text=Text(Errors(ins=1, words=10), doubled=2), erased=1, shown_words=4, finals_missing=1)
    found = summary.quality([one, other], idle_words=5)

    assert (found.words, found.wer, found.sub, found.ins, found.dels) == (20, 10.0, 1, 1, 0)
    assert (found.lost, found.doubled, found.stable_violations, found.finals_missing) == (1, 2, 1, 1)
    assert (found.unheard, found.unheard_words) == (1, ("lane 0 at 9.0 s: a b c",))
    assert (found.erased_per_word, found.utterances, found.idle_words) == (0.25, 3, 5)
    assert (found.reference_wer, found.difference) == (None, None)


def test_the_difference_from_the_reference_has_its_interval():
    one = lane(text=Text(Errors(sub=2, words=10)), reference=Text(Errors(sub=1, words=10)), blocks=((2, 1, 10),))
    found = summary.quality([one, one])
    assert (found.wer, found.reference_wer, found.difference) == (20.0, 10.0, (10.0, 10.0, 10.0))


def test_the_most_words_of_each_utterance_of_an_idle_socket_count():
    said = [("partial", 0, "", "a b"), ("final", 0, "a", ""), ("partial", 1, "", "c"), ("preflight", 1, "", "c d e")]
    log = LaneLog(
        number=0,
        arrivals=[Arrival(1.0, Heard(kind=k, utterance=n, stable=s, unstable=u)) for k, n, s, u in said],
    )
    assert summary.idle_words([log], "en") == 3


def test_refused_and_failed_connections_are_counted_apart():
    logs = [LaneLog(number=0), LaneLog(number=1, error="full", refused=True), LaneLog(number=2, error="broke")]
    found = summary.troubles(logs)
    assert (found.refused, found.failed, found.messages) == (1, 1, ("lane 1: full", "lane 2: broke"))


@pytest.mark.parametrize(
    ("late_s", "share", "said"),
    [
        (0.02, 0.8, ""),
        (0.021, 0.1, "1 % of the frames were sent more than 21 ms late (at most 20)"),
        (0.001, 0.81, "the tool used 81 % of a core (at most 80)"),
    ],
)
def test_the_tool_says_when_it_was_the_bottleneck(late_s, share, said):
    assert bottleneck(late_s, share) == said


def test_the_busiest_process_of_the_tool_decides():
    late = LaneLog(number=0, late=array("f", [0.001] * 50 + [0.05] * 50).tobytes())
    shares = [
        ShareLog(lanes=(late,), loop_lag=(0.01,), cpu_s=1.0, wall_s=10.0),
        ShareLog(lanes=(), loop_lag=(0.03,), cpu_s=9.0, wall_s=10.0),
    ]
    found = summary.health(shares)

    assert (found.late.count, found.loop_lag.max, found.cpu_share, found.cpu_s) == (100, 0.03, 0.9, 10.0)
    assert found.bottleneck == "1 % of the frames were sent more than 50 ms late (at most 20)"
