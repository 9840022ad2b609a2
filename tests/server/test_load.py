"""What is learnt about load from batches and from sessions that come and go, at literal times."""

import random

import pytest

from streamasr.inference.worker import BatchRecord
from streamasr.server.admission import crowding
from streamasr.server.load import SPAN_S, LoadMeter

MOST = 0.9
RATE = 16_000


def batch(at, *lanes, kinds=None, engine_s=0.02, devices=1, heard_s=0.5):
    """A batch of a window for each lane, which ended at ``at`` and let the lane be heard so much further."""
    spans = tuple((int((at - heard_s) * RATE), int(at * RATE)) for _ in lanes)
    return BatchRecord(
        size=len(lanes),
        failed=0,
        encoder_samples=32_000,
        padded_share=0.0,
        queue_ages=(0.0,) * len(lanes),
        engine_s=engine_s,
        ended_at=at,
        devices=devices,
        lanes=lanes,
        kinds=kinds or ("partial",) * len(lanes),
        spans=spans,
        superseded=0,
    )


def speak(meter, lanes, begin, end, *, every=0.5, cost=0.01):
    """Each lane has a window of ``cost`` seconds run every ``every`` seconds."""
    for step in range(int((end - begin) / every)):
        for number, lane in enumerate(lanes):
            meter.batch(batch(begin + (step + number / len(lanes)) * every, lane, engine_s=cost, heard_s=every))


def test_nothing_is_known_of_a_fresh_server():
    load = LoadMeter(MOST).load(0.0)

    assert (load.busy, load.speaker, load.speaking, load.sessions, load.ends_per_s) == (0.0, None, 0, 0, 0.0)
    assert load.speaking_share == 1.0


def test_one_speakers_load_is_what_was_measured_of_all():
    meter = LoadMeter(MOST)
    lanes = [f"s{number}/0" for number in range(10)]
    speak(meter, lanes, 0.0, 60.0)
    load = meter.load(60.0)

    assert load.busy == pytest.approx(0.2)
    assert load.speaking == pytest.approx(10)
    assert load.speaker == pytest.approx(0.02)


def test_two_channels_are_one_session():
    meter = LoadMeter(MOST)
    meter.batch(batch(1.0, "a/0", "a/1"))

    assert meter.spoke(1.0) == 1
    assert meter.spoke(1.0 + SPAN_S) == 0


def test_speech_is_counted_once_however_often_it_is_heard():
    meter = LoadMeter(MOST)
    for at in (1.0, 1.1, 1.2, 1.3):  # windows of two seconds, each a tenth further than the one before
        meter.batch(batch(at, "a/0", heard_s=2.0))

    assert meter.load(2.0).speaking == pytest.approx(2.3 / SPAN_S)


def test_audio_that_comes_at_once_does_not_make_a_speaker_look_dear():
    meter = LoadMeter(MOST)
    for second in range(20):
        meter.batch(batch(second + 0.5, f"s{second}/0", engine_s=0.6, heard_s=12.0))
    load = meter.load(20.0)

    assert load.busy == pytest.approx(0.6)
    assert load.speaker == pytest.approx(0.05)
    assert crowding(load, 1 - MOST, already=False) is None


def test_a_files_use_of_idle_time_is_no_load():
    meter = LoadMeter(MOST)
    for second in range(10):
        meter.batch(batch(float(second), "file", kinds=("file",), engine_s=1.0))
    assert meter.load(10.0).busy == 0.0
    assert meter.load(10.0).speaker is None

    meter.batch(batch(10.0, "file", "a/0", kinds=("file", "final"), engine_s=0.04))
    assert meter.load(11.0).busy == pytest.approx(0.02 / SPAN_S)


def test_two_devices_are_busy_together():
    meter = LoadMeter(MOST)
    meter.batch(batch(0.0, "a/0", engine_s=2.5, devices=2))

    assert meter.load(1.0).busy == 0.25


def test_partials_that_give_way_do_not_make_a_speaker_look_cheap():
    meter = LoadMeter(MOST)
    speak(meter, [f"s{number}/0" for number in range(40)], 0.0, 60.0)  # 40 at 0.02
    before = meter.load(60.0).speaker
    speak(meter, [f"s{number}/0" for number in range(100)], 60.0, 120.0, every=1.0)  # all the engine can do

    assert meter.load(120.0).busy == pytest.approx(1.0)
    assert meter.load(120.0).speaker == pytest.approx(before, rel=0.05)


def test_sessions_count_while_they_are_open_and_as_young_at_first():
    meter = LoadMeter(MOST)
    meter.opened("a", 0.0)
    meter.opened("b", 8.0)
    assert (meter.load(10.0).sessions, meter.load(10.0).young) == (2, 1)
    meter.ended("a", 11.0)
    assert (meter.load(12.0).sessions, meter.load(12.0).ends_per_s) == (1, pytest.approx(1 / 60))
    assert meter.load(72.0).ends_per_s == 0.0


def test_who_is_silent_now_is_known_to_speak_again():
    meter = LoadMeter(MOST)
    sessions = [f"s{number}" for number in range(40)]
    for session in sessions:
        meter.opened(session, 0.0)
    for turn in range(24):  # half of them speak at a time, by turns
        speak(meter, [f"{session}/0" for session in sessions[turn % 2 :: 2]], 10.0 * turn, 10.0 * turn + 10)
    load = meter.load(240.0)

    assert load.speaking_share == pytest.approx(0.5, abs=0.05)


def conversations(meter, rng, callers):
    """Callers who speak a third of the time: how many were in at each request, and whether it was let in."""
    inside: dict[str, tuple[float, bool]] = {}
    decisions, crowded, number = [], None, 0
    for step in range(4 * 600):
        now = step / 4
        for name in inside:
            if rng.random() < 0.25 / 4:  # a turn lasts four seconds
                inside[name] = (now, rng.random() < 1 / 3)
        talkers = [name for name, (_, speaks) in inside.items() if speaks]
        for name in talkers:
            engine_s = 0.01 * min(1.0, 25 / len(talkers))
            meter.batch(batch(now, f"{name}/0", engine_s=engine_s, heard_s=0.25))
        if inside and rng.random() < 0.02:
            gone = rng.choice(sorted(inside))
            del inside[gone]
            meter.ended(gone, now)
        if rng.random() < callers / 4:
            crowded = crowding(meter.load(now), 1 - MOST, already=crowded is not None)
            decisions.append((len(inside), crowded is None))
            if crowded is None:
                number += 1
                inside[f"s{number}"] = (now, rng.random() < 1 / 3)
                meter.opened(f"s{number}", now)
    return decisions


def test_callers_who_pause_are_counted_as_those_who_will_speak():
    """A speaker takes 0.04 of the engine and speaks a third of the time: about 60 are room for 20 at a time."""
    decisions = conversations(LoadMeter(MOST), random.Random(1), callers=1.0)
    settled = decisions[len(decisions) // 2 :]
    let_in = [inside for inside, admitted in settled if admitted]
    refused = [inside for inside, admitted in settled if not admitted]

    assert not [inside for inside, admitted in decisions if not admitted and inside < 20]
    assert let_in
    assert refused
    assert min(let_in) >= 35
    assert max(let_in) <= 75
    assert max(let_in) - min(refused) <= 15  # no swinging between empty and full
