"""An engine under observation answers as ever; what it took and what the guards would stop is kept."""

import msgspec
import pytest
from measuring import POLICY, TimedTones

from streamasr.bench.meter import Meter, trip
from streamasr.core.events import Hypothesis, Window, Word
from streamasr.errors import WindowFailed
from streamasr.inference.fake import ToneCodeEngine, tone_words


def window(ids=(1, 2, 3), number=0, **fields):
    pcm = (tone_words(ids, tail=1600) * 32767).astype("int16").tobytes()
    fields = {"kind": "final", "encoder_samples": 32_000, **fields}
    return Window(lane="a", number=number, anchor=0, pcm=pcm, **fields)


def hypothesis(tokens, **fields):
    words = tuple(Word(" w", 0, 0, 0.9, (token,)) for token in tokens)
    return Hypothesis(lane="a", number=0, words=words, language="en", **fields)


def test_it_answers_and_counts_as_the_engine_does():
    engine = TimedTones(seconds=0.5)
    meter = Meter(engine, POLICY, engine.clock, engine.stages)
    asked = [window(), window((4,), 1, encoder_samples=48_000, beam_size=5)]

    assert meter.transcribe(asked) == ToneCodeEngine().transcribe(asked)
    assert meter.last_cost(asked) == 3.0
    [batch] = meter.take()
    assert batch.seconds == 0.5 * 2 * 3
    assert batch.stages.encode_s == 3.0
    assert [(ran.again, ran.trip) for ran in batch.windows] == [(False, None), (True, None)]
    assert meter.take() == ()
    assert (meter.max_batch_size, meter.parallel) == (engine.max_batch_size, engine.parallel)
    assert meter.cost(2, 16_000) == engine.cost(2, 16_000)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (hypothesis([1, 2, 3]), None),
        (hypothesis([1], no_speech_probability=0.9, average_logprob=-2.0), "no speech"),
        (hypothesis([1], compression_ratio=5.0), "compression"),
        (hypothesis(range(60)), "speed"),
        (hypothesis([1, 2] * 5), "loop"),
        (WindowFailed("broken"), "failed"),
    ],
)
def test_the_guard_that_stops_an_answer_is_named(answer, reason):
    assert trip(answer, window(), POLICY) == reason


def test_a_guard_that_is_lifted_names_nothing():
    lenient = msgspec.structs.replace(POLICY, compression_ratio=9.0)

    assert trip(hypothesis([1], compression_ratio=5.0), window(), lenient) is None
