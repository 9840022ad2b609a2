"""A model that goes deaf below a known length: the sweep finds that length, and says when it cannot tell."""

import msgspec
import pytest
from measuring import POLICY, TimedTones, recording, text, utterances_of

from streamasr.bench.measure import Plan, measure
from streamasr.bench.offline import Heard
from streamasr.bench.scoring import TimedWord
from streamasr.bench.sweep import fit_guards
from streamasr.inference.catalog import NANO_GUARDS


def swept(setup, engine, count, *, truth=True, floors=(0.0, 2.0, 4.0, 6.0)):
    words = utterances_of(count)
    talk = recording(words, said=text(words) if truth else None, pause_s=0.8)
    return measure([talk], setup(engine), Plan(streams=False, floors_s=floors, margins_s=(0.0,))).figures.sweep


@pytest.mark.parametrize("truth", [True, False])
def test_the_cheapest_length_that_does_no_harm_is_found(setup, truth):
    found = swept(setup, TimedTones(deaf_below_s=4), 45, truth=truth)

    assert found.verdict == "safe"
    assert found.chosen.floor_s == 4
    harmed = [cell for cell in found.cells if cell.floor_s < 4]
    assert harmed
    assert all(cell.loss.low > 0 for cell in harmed)
    assert found.words == 45 * 8


def test_it_owns_up_to_too_little_speech(setup):
    found = swept(setup, TimedTones(), 4)

    assert found.verdict == "unclear"
    assert found.promising.floor_s < 30
    assert found.chosen.floor_s == 30
    assert found.words_needed > found.words == 32


def test_a_model_that_needs_30_s_is_left_at_30_s(setup):
    found = swept(setup, TimedTones(deaf_below_s=29), 4)

    assert (found.verdict, found.chosen.floor_s, found.promising) == ("full", 30, None)


def test_settings_that_change_no_window_are_tried_once(setup):
    engine = TimedTones()
    found = swept(setup, engine, 3, floors=(4.0, 3.5, 3.6))

    assert [cell.floor_s for cell in found.cells] == [4, 30]


def test_a_window_that_a_guard_stops_is_heard_again_and_costs_both(setup):
    strict = msgspec.structs.replace(POLICY, tokens_per_second=1.0, compression_ratio=0.0)
    engine = TimedTones(seconds=0.1)
    words = utterances_of(2)
    tools = setup(engine, strict)
    found = measure([recording(words)], tools, Plan(streams=False, floors_s=(4.0,), margins_s=(0.0,))).figures.sweep

    short = found.cells[-1] if found.cells[-1].floor_s == 4 else found.cells[0]
    assert short.stopped == 100
    assert short.window_s == pytest.approx(0.1 * (4 + 30))


def heard(trip=None, compression=1.0, speed=3.0):
    return Heard((TimedWord("a", 0, 1),), "en", 0.1, trip, compression, speed, 0.0)


def test_guards_are_left_alone_while_they_stop_little():
    good = [heard()] * 199 + [heard("compression", 9.0)]

    assert fit_guards(NANO_GUARDS, good) == (NANO_GUARDS, 0.5)


def test_guards_that_stop_good_windows_are_raised_until_they_stop_at_most_one_per_cent():
    good = [heard()] * 180 + [heard("compression", 1.8 + i / 100) for i in range(20)]
    fitted, stopped = fit_guards(NANO_GUARDS, good)

    assert fitted.compression_ratio > NANO_GUARDS.compression_ratio
    assert fitted.tokens_per_second == NANO_GUARDS.tokens_per_second
    assert stopped <= 1


def test_loops_have_no_threshold_and_stay_stopped():
    assert fit_guards(NANO_GUARDS, [heard("loop")] * 2 + [heard()] * 8) == (NANO_GUARDS, 20.0)
