"""The simulated clock as a command: the same figures every time, and what happens when there is too much to do."""

import json
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from benchmarks import machine, simulated
from benchmarks.evalset import ROOT
from benchmarks.recall import Store
from benchmarks.simulated import Setting, Study
from loadtest.lanes import source
from streamasr.bench.simulated import Simulation, Stream
from streamasr.core.events import SAMPLE_RATE, Final, Flushed, Partial
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.inference.fake import ToneCodeEngine, ToneVad, tone_words

SPEAKERS = source(ROOT / "tests" / "data", ("seen",), "en")
FAST = machine.read()
SLOW = msgspec.structs.replace(
    FAST,
    encode_ms=tuple(tuple(9 * cell for cell in row) for row in FAST.encode_ms),
    start_ms=tuple(tuple(9 * cell for cell in row) for row in FAST.start_ms),
    token_ms=tuple(tuple(9 * cell for cell in row) for row in FAST.token_ms),
)
"""An engine nine times slower: what it cannot carry takes a test seconds."""
WORDS = list(range(0, 60, 5))
TONES = (np.concatenate([tone_words(WORDS, lead=8_000), np.zeros(2 * SAMPLE_RATE, np.float32)]) * 32767).astype(
    np.int16
)


@pytest.fixture(scope="module")
def store():
    kept = Store()
    yield kept
    kept.close()


def study(store, table=FAST, **setting):
    return Study(SPEAKERS, table, Setting(**{"seconds": 6.0, "warm_up_s": 1.0, **setting}), store)


@pytest.fixture(scope="module")
def light(store):
    return study(store).play(3)


def test_a_light_load_shows_words_soon(light):
    """The lags of an idle server: a hop and an answer; the final right after the client's voice-activity stop."""
    assert light.carried
    assert 0.05 < light.shown.p50 < 0.4
    assert light.shown.p95 < 0.8
    assert 0.2 < light.final.p50 < 0.25
    assert light.final.p99 < 0.5
    assert light.superseded == 0
    assert (light.lost, light.doubled, light.stable_violations, light.finals_missing) == (0, 0, 0, 0)


def test_the_same_run_gives_the_same_figures(store, light):
    """Whether answers are new or remembered, and whatever was played before."""
    other = Store()
    again = study(other)
    again.play(1)
    assert again.play(3) == light == study(store).play(3)
    assert study(store).engine.heard == 0
    other.close()


def test_more_streams_are_slower_until_they_are_too_many(store, light):
    """Twice what the engine carries: partials thin out, finals still come, nothing is lost, doubled or changed."""
    slow = study(store, SLOW)
    limit = next(n for n in (6, 4, 3, 2) if slow.play(n).engine_share < 0.75)
    within, beyond = slow.play(limit), slow.play(2 * limit)
    assert within.carried
    assert beyond.superseded > within.superseded
    assert beyond.shown.p95 > within.shown.p95 > light.shown.p95
    assert beyond.windows_per_batch > within.windows_per_batch
    assert beyond.final_queue_age.p50 <= beyond.queue_age.p95
    assert (beyond.stable_violations, beyond.finals_missing) == (0, 0)
    alone = study(store).play(2 * limit)
    assert beyond.doubled <= alone.doubled + 1
    assert beyond.lost <= alone.lost + 1


def test_windows_of_thirty_seconds_cost_most_of_the_machine(store):
    """What every other server does to one stream."""
    short, padded = (
        study(store, seconds=3.0, warm_up_s=0.0, encoder_window_s=window_s, max_batch=1).play(1)
        for window_s in (None, 30.0)
    )
    assert padded.engine_share > 5 * short.engine_share
    assert padded.shown.p50 > short.shown.p50


def test_a_flush_is_answered_before_the_endpoint():
    """The client's own voice activity ends the utterance: its final is there before the server's patience ends."""
    until = len(TONES) - 2 * SAMPLE_RATE + round(0.2 * SAMPLE_RATE)
    times = {}
    for name, flushes in (("flushed", (until,)), ("patient", ())):
        stream = Stream(TONES, SessionOptions(language="en", endpointing_ms=1000), flushes=flushes)
        (log,) = Simulation(ToneCodeEngine(), ToneVad().lane, Policy(), lambda _: 0.01).run([stream])
        times[name] = next(said.at for said in log if isinstance(said.event, Final) and said.event.text)
        assert [said.event.id for said in log if isinstance(said.event, Flushed)] == list(flushes)
    assert times["flushed"] < until / SAMPLE_RATE + 0.05
    assert times["patient"] > times["flushed"] + 0.5


class Late:
    """A front that takes its time, and pieces of its own size."""

    chunk = 960

    def __init__(self, seconds):
        self.seconds = seconds
        self.pieces = []

    def scored_at(self, now, samples):
        self.pieces.append(samples)
        return now + self.seconds


def test_words_are_later_by_what_the_front_takes():
    """All of the audio goes through it; what is said is the same."""
    heard = {}
    for seconds in (0.0, 0.25):
        front = Late(seconds)
        simulation = Simulation(ToneCodeEngine(), ToneVad().lane, Policy(), front=front)
        (log,) = simulation.run([Stream(TONES, SessionOptions(language="en"))])
        assert sum(front.pieces) == len(TONES)
        assert set(front.pieces[:-1]) == {Late.chunk}
        heard[seconds] = log
    assert [said.event for said in heard[0.25]] == [said.event for said in heard[0.0]]
    moved = [late.at - said.at for said, late in zip(heard[0.0], heard[0.25], strict=True)]
    assert moved == pytest.approx([0.25] * len(moved))


def test_every_batch_is_told_with_how_long_its_windows_waited():
    """One engine, several streams at once: some wait for a batch to end, and partials that wait are superseded."""
    ran = []
    simulation = Simulation(
        ToneCodeEngine(max_batch_size=1),
        ToneVad().lane,
        Policy(),
        lambda _: 0.3,
        keep_windows=False,
        on_batch=ran.append,
    )
    logs = simulation.run([Stream(TONES, SessionOptions(language="en"), begins_at=0.1 * n) for n in range(4)])
    assert all(batch.seconds == 0.3 and len(batch.windows) == len(batch.waited) == 1 for batch in ran)
    assert all(later.at >= batch.at + 0.3 - 1e-9 for batch, later in pairwise(ran))
    assert max(batch.waited[0] for batch in ran) > 0.3
    assert simulation.superseded > 0
    assert all(any(isinstance(said.event, Partial) for said in log) for log in logs)


def test_the_command_prints_what_it_found(tmp_path, monkeypatch, capsysbinary):
    """As a table or as JSON; the limit is the largest number that was carried."""
    monkeypatch.setattr(simulated, "STORE", tmp_path / "kept.db")
    machine.write(SLOW, tmp_path / "machine.json")
    shared = ["--audio", str(ROOT / "tests" / "data"), "--sets", "seen", "--seconds", "3", "--warm-up", "0"]
    shared += ["--table", str(tmp_path / "machine.json")]
    assert simulated.main([*shared, "--streams", "1,2", "--json"]) == 0
    document = json.loads(capsysbinary.readouterr().out)
    assert [figures["streams"] for figures in document["figures"]] == [1, 2]
    assert document["limit"] is None
    assert simulated.main([*shared, "--streams", "1"]) == 0
    assert b"shown s" in capsysbinary.readouterr().out
