"""A recording played on the simulated clock: what is shown when, what it takes, how steady it is."""

import pytest
from measuring import POLICY, TimedTones, recording, text, utterances_of

from streamasr.bench.scoring import Shown, percentile, word_lags
from streamasr.bench.simulated import Simulation, Stream
from streamasr.bench.streamed import Player, broken_promises, erased_words, final_words
from streamasr.core.options import SessionOptions
from streamasr.inference.fake import ToneVad


def played(setup, seconds=0.02, utterances=None):
    engine = TimedTones(seconds)
    tools = setup(engine)
    told = []
    talk = recording(utterances or utterances_of(3))
    return (
        Player(tools.meter, tools.vad, POLICY, engine.clock).play(talk.pcm, SessionOptions(), told.append),
        told,
        talk,
    )


def test_every_word_comes_through_and_the_time_told_is_the_recordings(setup):
    result, told, talk = played(setup)

    assert result.text == text(utterances_of(3))
    assert result.audio_s == pytest.approx(talk.seconds + 1)
    assert sum(told) == pytest.approx(result.audio_s, abs=0.05)
    assert [word.text for word in final_words(result.log)] == text(utterances_of(3)).split()


def test_a_slower_engine_shows_later_and_is_busier(setup):
    quick, slow = played(setup, 0.01)[0], played(setup, 0.2)[0]

    def shown(result):
        return percentile([lag.shown for lag in word_lags(final_words(result.log), result.log)], 50)

    assert shown(slow) > shown(quick) + 0.15
    assert slow.engine_s > 3 * quick.engine_s


def test_promises_that_are_broken_are_counted():
    kept = [Shown(at=1, utterance=0, stable="a"), Shown(at=2, utterance=0, stable="a b", final=True)]
    broken = [*kept, Shown(at=3, utterance=1, stable="c d"), Shown(at=4, utterance=1, stable="c e", final=True)]

    assert broken_promises(kept) == 0
    assert broken_promises(broken) == 1


def test_words_that_go_away_are_counted_with_all_that_stand_after_them():
    log = [
        Shown(at=1, utterance=0, stable="", unstable="the cat sat"),
        Shown(at=2, utterance=0, stable="the", unstable=" hat sat on"),
        Shown(at=3, utterance=1, stable="", unstable="other"),
        Shown(at=4, utterance=0, stable="the hat sat on", final=True),
    ]

    assert erased_words(log, "en") == 2


@pytest.mark.parametrize("keep", [True, False])
def test_hours_of_windows_are_only_kept_if_they_are_wanted(keep):
    engine = TimedTones()
    simulation = Simulation(engine, ToneVad().lane, POLICY, keep_windows=keep)
    simulation.run([Stream(recording(utterances_of(1)).pcm)])

    assert bool(simulation.windows) is keep
    assert engine.encoder_s
