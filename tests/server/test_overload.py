"""Twice as many streams as the engine can follow, on the simulated clock, with a fixed cost table."""

import random

import msgspec
import numpy as np
import pytest

from streamasr.bench.scoring import Shown, TimedWord, percentile, word_lags
from streamasr.bench.simulated import Ran, Said, Simulation, Stream
from streamasr.core.events import SAMPLE_RATE, Final, Partial
from streamasr.core.policy import Policy, ms
from streamasr.errors import Refused
from streamasr.inference.fake import ToneCodeEngine, ToneVad, tone_word_times, tone_words
from streamasr.inference.worker import BatchRecord
from streamasr.server.admission import crowding
from streamasr.server.load import LoadMeter

LIMIT = 9
"""Streams that keep the engine of the cost table as busy as it may be."""
MIN_HEADROOM = 0.1
UTTERANCES = 9
EVERY_S = 1.0
"""Somebody new calls so often."""


class SlowEngine(ToneCodeEngine):
    """A window takes about 50 ms, and a batch saves nothing, as on a CPU."""

    def cost(self, windows: int, encoder_samples: int) -> float:
        """Seconds of a batch."""
        return windows * (0.025 + 0.0075 * encoder_samples / SAMPLE_RATE)


class Caller:
    """Somebody who says a few utterances with short pauses."""

    def __init__(self, seed: int, utterances: int = UTTERANCES) -> None:
        rng = random.Random(seed)
        pieces, at = [], 0
        self.truth: list[TimedWord] = []
        for _ in range(utterances):
            ids = [rng.randrange(64) for _ in range(rng.randint(4, 14))]
            lead = rng.randint(SAMPLE_RATE // 2, SAMPLE_RATE)
            times = tone_word_times(ids, lead=lead)
            self.truth += [
                TimedWord(f"w{word:02d}", (at + begin) / SAMPLE_RATE, (at + end) / SAMPLE_RATE)
                for word, (begin, end) in zip(ids, times, strict=True)
            ]
            pieces.append(tone_words(ids, lead=lead))
            at += len(pieces[-1])
        pieces.append(np.zeros(SAMPLE_RATE, np.float32))
        self.pcm = (np.concatenate(pieces) * 32767).astype(np.int16)


class Heard:
    """What some callers were shown, and when."""

    def __init__(self, callers: list[Caller], logs: list[list[Said]], batches: list[Ran]) -> None:
        self.shown, self.final, self.partials = [], [], 0
        for caller, log in zip(callers, logs, strict=True):
            shown = list(map(_shown, (said for said in log if isinstance(said.event, (Partial, Final)))))
            lags = word_lags(caller.truth, shown)
            finals = [arrival for arrival in shown if arrival.final]
            said = [word.text for final in finals for word in final.words]
            assert said == [word.text for word in caller.truth]  # nothing lost, nothing doubled
            _check_stable(shown)
            self.shown += [lag.shown for lag in lags]
            self.final += [final.at - final.words[-1].end for final in finals]
            self.partials += len(shown) - len(finals)
        self.partials /= len(callers)
        self.batches = batches
        waited = [(window.kind, age) for ran in batches for window, age in zip(ran.windows, ran.waited, strict=True)]
        self.final_waited = [age for kind, age in waited if kind == "final"]
        self.partial_waited = [age for kind, age in waited if kind != "final"]


def _shown(said: Said) -> Shown:
    event = said.event
    if isinstance(event, Partial):
        return Shown(at=said.at, utterance=event.utterance, stable=event.stable, unstable=event.unstable)
    words = tuple(TimedWord(w.text, w.start / SAMPLE_RATE, w.end / SAMPLE_RATE) for w in event.words)
    return Shown(at=said.at, utterance=event.utterance, stable=event.text, final=True, words=words)


def _check_stable(shown: list[Shown]) -> None:
    stable: dict[int, str] = {}
    for arrival in shown:
        assert arrival.stable.startswith(stable.get(arrival.utterance, ""))
        stable[arrival.utterance] = arrival.stable


def simulate(streams: int, hop_ms: int = 400) -> Heard:
    """So many callers, who come one after the other."""
    engine, batches = SlowEngine(), list[Ran]()
    simulation = Simulation(
        engine,
        ToneVad().lane,
        msgspec.structs.replace(Policy(), hop=ms(hop_ms)),
        lambda batch: engine.cost(len(batch), max(window.encoder_samples for window in batch)),
        keep_windows=False,
        on_batch=batches.append,
    )
    callers = [Caller(seed) for seed in range(streams)]
    logs = simulation.run([Stream(caller.pcm, begins_at=EVERY_S * n) for n, caller in enumerate(callers)])
    return Heard(callers, logs, batches)


@pytest.fixture(scope="module")
def at_ease() -> Heard:
    return simulate(LIMIT // 2)


@pytest.fixture(scope="module")
def overloaded() -> Heard:
    return simulate(2 * LIMIT)


def test_at_twice_the_limit_partials_thin_out(at_ease, overloaded):
    assert overloaded.partials < 0.75 * at_ease.partials
    assert percentile(overloaded.shown, 95) > percentile(at_ease.shown, 95)


def test_at_twice_the_limit_finals_come_as_soon_as_ever(at_ease, overloaded):
    assert percentile(overloaded.final, 50) <= percentile(at_ease.final, 50) + 0.02
    assert percentile(overloaded.final, 99) <= percentile(at_ease.final, 99) + 0.05


def test_at_twice_the_limit_finals_do_not_wait_for_partials(overloaded):
    assert percentile(overloaded.final_waited, 95) < 0.2 < percentile(overloaded.partial_waited, 95)


def test_asking_for_partials_less_often_would_not_show_words_sooner(overloaded):
    """So nothing stretches the hop: a partial that waits is replaced by a newer one, which costs the engine nothing."""
    stretched = simulate(2 * LIMIT, hop_ms=800)
    assert percentile(stretched.shown, 95) > percentile(overloaded.shown, 95) - 0.05
    assert percentile(stretched.final, 95) > percentile(overloaded.final, 95) - 0.05


class Doorkeeper:
    """Admission as the server does it, from what has run so far."""

    def __init__(self, batches: list[Ran]) -> None:
        self._meter = LoadMeter(1 - MIN_HEADROOM)
        self._batches = sorted(batches, key=lambda ran: ran.at + ran.seconds)
        self._crowded: Refused | None = None

    def let_in(self, caller: int, now: float) -> bool:
        """Whether the server lets one more in now."""
        while self._batches and self._batches[0].at + self._batches[0].seconds <= now:
            self._meter.batch(_record(self._batches.pop(0)))
        self._crowded = crowding(self._meter.load(now), MIN_HEADROOM, already=self._crowded is not None)
        if self._crowded is None:
            self._meter.opened(caller, now)
        return self._crowded is None


def _record(ran: Ran) -> BatchRecord:
    return BatchRecord(
        size=len(ran.windows),
        failed=0,
        encoder_samples=max(window.encoder_samples for window in ran.windows),
        padded_share=0.0,
        queue_ages=ran.waited,
        engine_s=ran.seconds,
        ended_at=ran.at + ran.seconds,
        devices=1,
        lanes=tuple(f"{window.lane}/0" for window in ran.windows),
        kinds=tuple(window.kind for window in ran.windows),
        spans=tuple((window.anchor, window.end) for window in ran.windows),
        superseded=0,
    )


def test_newcomers_are_refused_before_those_inside_suffer(at_ease, overloaded):
    door = Doorkeeper(overloaded.batches)
    inside = 0
    while door.let_in(inside, EVERY_S * (inside + 1)):  # up to the first refusal it is as if nobody were refused
        inside += 1
    assert LIMIT * 2 // 3 <= inside <= LIMIT * 4 // 3

    admitted = simulate(inside)
    assert percentile(admitted.shown, 95) <= percentile(at_ease.shown, 95) + 0.2
    assert percentile(admitted.final, 99) <= percentile(at_ease.final, 99) + 0.05
    assert admitted.partials > 0.85 * at_ease.partials

    door = Doorkeeper(admitted.batches)
    for caller in range(inside):
        assert door.let_in(caller, EVERY_S * (caller + 1))
    while_all_speak = [EVERY_S * (inside + 1) + second for second in range(8)]
    assert not any(door.let_in(inside, now) for now in while_all_speak)
    when_all_have_gone_silent = max(ran.at for ran in admitted.batches) + 10
    assert door.let_in(inside, when_all_have_gone_silent)
