"""A recording through a file lane with no thread and no clock: answers come in any order, or never."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.core.events import SAMPLE_RATE, Hypothesis, Segment, Word
from streamasr.core.filelane import LANGUAGE_WINDOWS, FileLane, Lost
from streamasr.core.options import FileOptions
from streamasr.core.policy import Policy, ms
from streamasr.inference.fake import FixedCostEngine, ToneCodeEngine, tone_probability, tone_words

POLICY = Policy(longest_window=ms(4_000))
OPTIONS = FileOptions(language="en")
SECOND = SAMPLE_RATE


class Play:
    """Feeds a recording to a lane and answers its windows, out of order if told so."""

    def __init__(self, options=OPTIONS, policy=POLICY, engine=None, order=None, failing=()):
        self.lane = FileLane("file", options, policy)
        self.engine = engine or ToneCodeEngine()
        self.order = order or random.Random(0)
        self.failing = failing
        self.out = []
        self.windows = []
        self.said = []

    def feed(self, samples):
        for start in range(0, len(samples), SECOND):
            self.lane.receive_audio(samples[start : start + SECOND])
            self.lane.receive_scores(tone_probability(self.lane.take_frames()))
            self.settle()
        return self

    def settle(self):
        new = self.lane.windows_to_send()
        self.out += new
        self.windows += new
        self.said += self.lane.segments_to_send()

    def answer(self):
        window = self.out.pop(self.order.randrange(len(self.out)))
        if window.number in self.failing:
            self.lane.window_failed(window.number)
        else:
            (answer,) = self.engine.transcribe([window])
            self.lane.receive_hypothesis(answer)
        self.settle()

    def answer_all(self):
        while self.out:
            self.answer()
        return self

    def finish(self):
        self.lane.finish()
        self.settle()
        self.answer_all()
        assert self.lane.finished
        assert self.lane.undecoded == 0
        return self

    @property
    def segments(self):
        return [said for said in self.said if isinstance(said, Segment)]

    @property
    def words(self):
        return [int(word[1:]) for segment in self.segments for word in segment.text.split()]


def in_order(said):
    edge = 0
    for number, segment in enumerate(s for s in said if isinstance(s, Segment)):
        assert segment.number == number
        assert edge <= segment.start < segment.end
        assert [segment.start, segment.end] == [segment.words[0].start, segment.words[-1].end]
        assert segment.text.split() == [word.text for word in segment.words]
        assert not any(word.tokens for word in segment.words)
        edge = segment.end
    return True


runs_of_words = st.lists(
    st.tuples(
        st.lists(st.integers(0, 63), min_size=1, max_size=40), st.sampled_from([60, 100, 200, 400, 700, 2_000, 6_000])
    ),
    min_size=1,
    max_size=6,
)


@given(runs=runs_of_words, gap=st.integers(60, 95), order=st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_no_word_is_lost_or_doubled_however_speech_is_cut_and_answers_come(runs, gap, order):
    audio = np.concatenate([tone_words(ids, gap=ms(gap), tail=ms(pause)) for ids, pause in runs])
    play = Play(order=order).feed(audio).finish()

    assert play.words == [word for ids, _ in runs for word in ids]
    assert in_order(play.said)
    assert play.engine.prefix_mismatches == 0
    assert all(window.kind == "file" for window in play.windows)


def test_speech_without_a_pause_is_walked_through_with_anchors_between_words():
    ids = [n % 64 for n in range(120)]
    policy = Policy()
    play = Play(policy=policy).feed(tone_words(ids, gap=ms(60))).finish()

    assert play.words == ids
    longest = policy.longest_window + policy.anchor_margin
    assert all(window.samples <= longest for window in play.windows)
    assert all(window.prefix for window in play.windows[1:])
    # Steps are long: what is heard twice is less than a third.
    assert sum(window.samples for window in play.windows) < 1.5 * play.lane.received


def test_windows_of_speech_with_pauses_are_out_all_at_once_and_hold_as_much_as_fits():
    audio = np.concatenate([tone_words(range(6), tail=ms(300)) for _ in range(20)])
    play = Play().feed(audio)

    assert len(play.out) >= 8
    assert all(window.samples > POLICY.longest_window / 2 for window in play.out)
    assert not any(window.prefix for window in play.out)
    assert play.finish().words == [*range(6)] * 20


def test_segments_come_as_soon_as_everything_before_them_is_known():
    audio = np.concatenate([tone_words([i, i + 1], tail=ms(2_000)) for i in range(4)])
    play = Play().feed(audio)
    first, second, *_ = play.out

    play.lane.receive_hypothesis(play.engine.transcribe([second])[0])
    assert play.lane.segments_to_send() == []
    play.lane.receive_hypothesis(play.engine.transcribe([first])[0])
    assert [segment.text for segment in play.lane.segments_to_send()] == ["w00 w01", "w01 w02"]


def test_a_failed_window_is_reported_in_its_place_and_the_rest_goes_on():
    audio = np.concatenate([tone_words([i, i + 1], tail=ms(2_000)) for i in range(3)])
    play = Play(failing={2}).feed(audio).finish()

    before, lost, after = play.said
    assert (before.text, after.text) == ("w00 w01", "w02 w03")
    assert isinstance(lost, Lost)
    assert before.end <= lost.start < lost.end <= after.start


def test_a_failed_step_of_a_walk_loses_only_its_own_stretch():
    ids = [n % 64 for n in range(60)]
    play = Play(failing={2}).feed(tone_words(ids, gap=ms(60))).finish()

    assert sum(isinstance(said, Lost) for said in play.said) == 1
    assert play.words[:8] == ids[:8]
    assert play.words[-30:] == ids[-30:]


class Scripted(ToneCodeEngine):
    """Hears tones, but says of them what a function of the window changes."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def transcribe(self, batch):
        return [
            msgspec.structs.replace(answer, **self.change(window))
            for window, answer in zip(batch, super().transcribe(batch), strict=True)
        ]


def test_an_unbelievable_hypothesis_is_tried_again_at_the_next_temperatures_until_one_will_do():
    engine = Scripted(lambda window: {"compression_ratio": 3.0 if window.temperature < 0.4 else 1.0})
    play = Play(engine=engine).feed(tone_words(range(8), tail=ms(500))).finish()

    assert [window.temperature for window in play.windows] == [0.0, 0.2, 0.4]
    assert [segment.temperature for segment in play.segments] == [0.4]
    assert play.words == [*range(8)]


@pytest.mark.parametrize(("floor", "encoder"), [(0, ms(4_000)), (ms(10_000), ms(30_000))])
def test_a_retry_has_the_input_length_that_the_model_was_made_for(floor, encoder):
    policy = msgspec.structs.replace(POLICY, encoder_floor=floor)
    engine = Scripted(lambda window: {"average_logprob": -2.0 if window.temperature == 0 else -0.1})
    play = Play(policy=policy, engine=engine).feed(tone_words(range(8), tail=ms(500))).finish()

    assert (play.windows[1].encoder_samples <= encoder) if not floor else (play.windows[1].encoder_samples == encoder)
    assert play.windows[0].encoder_samples == max(floor, play.windows[0].encoder_samples) < ms(30_000)


def test_thresholds_of_the_options_stand_before_the_models():
    engine = Scripted(lambda window: {"average_logprob": -1.5})
    options = msgspec.structs.replace(OPTIONS, logprob_threshold=-2.0)
    assert len(Play(engine=engine, options=options).feed(tone_words(range(8))).finish().windows) == 1
    assert len(Play(engine=engine).feed(tone_words(range(8))).finish().windows) == len(OPTIONS.temperatures)


def test_what_is_taken_for_silence_has_no_words():
    engine = Scripted(lambda window: {"average_logprob": -2.0, "no_speech_probability": 0.9})
    play = Play(engine=engine).feed(tone_words(range(8), tail=ms(500))).finish()

    assert play.said == []
    assert len(play.windows) == 1


def test_words_after_the_speech_were_not_said():
    thanks = Word(" thanks", ms(3_000), ms(3_400), 0.9, (1,))

    def change(window):
        return {"words": (*heard, thanks)}

    audio = tone_words([1, 2, 3], tail=ms(4_000))
    heard = ToneCodeEngine()._hear(audio.astype(np.float64), 0)
    assert Play(engine=Scripted(change)).feed(audio).finish().words == [1, 2, 3]


# The language.


def heard_as(*languages):
    """An engine that tells the language of the n-th window (of those that ask) so: (language, probability)."""
    asked = iter(languages)

    def change(window):
        if window.language is not None:
            return {"language": window.language}
        language, probability = next(asked)
        return {"language": language, "language_probability": probability}

    return Scripted(change)


AUTO = FileOptions()
SEVERAL = np.concatenate([tone_words([i, i + 1, i + 2, i + 3, i + 4, i + 5], tail=ms(2_000)) for i in range(6)])


class InOrder(random.Random):
    def randrange(self, *_):
        return 0


def test_a_language_that_is_certain_is_held_for_the_whole_recording():
    play = Play(options=AUTO, engine=heard_as(("de", 0.95), ("fr", 0.6), ("fr", 0.6)), order=InOrder())
    play.feed(SEVERAL).finish()

    assert {segment.language for segment in play.segments} == {"de"}
    assert {segment.language_probability for segment in play.segments} == {0.95}
    assert all(window.language == "de" for window in play.windows[LANGUAGE_WINDOWS:])
    assert play.words == [word for i in range(6) for word in range(i, i + 6)]


def test_a_language_in_doubt_is_decided_by_several_windows_and_the_others_are_heard_again():
    play = Play(options=AUTO, engine=heard_as(("fr", 0.6), ("de", 0.7), ("de", 0.7)), order=InOrder())
    play.feed(SEVERAL).finish()

    assert {segment.language for segment in play.segments} == {"de"}
    again = [window for window in play.windows if window.language == "de" and window.anchor == play.windows[0].anchor]
    assert len(again) == 1
    assert play.words == [word for i in range(6) for word in range(i, i + 6)]


def test_a_short_recording_is_in_the_language_that_it_sounds_most_like():
    play = Play(options=AUTO, engine=heard_as(("de", 0.4))).feed(tone_words([1, 2])).finish()

    assert [(s.language, s.language_probability) for s in play.segments] == [("de", 0.4)]


def test_words_in_doubt_do_not_wait_for_speech_that_does_not_come():
    play = Play(options=AUTO, engine=heard_as(("de", 0.4))).feed(tone_words([1, 2], tail=ms(60_000)))
    play.answer_all()
    play.feed(np.zeros(60 * SECOND, np.float32))

    assert play.words == [1, 2]


# Sizes.


def test_seven_hours_of_speech_without_a_pause_or_with_many_are_held_in_a_few_megabytes():
    """Nothing is kept of what has been said: neither audio nor words."""
    hours = 7 * 3_600
    lane = FileLane("file", OPTIONS, Policy())
    engine = FixedCostEngine([(0, 0.0, 0.0)], lambda _: None)
    block, held, said = np.zeros(10 * SECOND, np.float32), 0, 0
    for second in range(0, hours, 10):
        lane.receive_audio(block)
        count = len(lane.take_frames())
        pauses = second > hours // 2  # the first half has none
        lane.receive_scores([0.02 if pauses and i % 100 < 10 else 0.98 for i in range(count)])
        while windows := lane.windows_to_send():
            for answer in engine.transcribe(windows):
                assert isinstance(answer, Hypothesis)
                lane.receive_hypothesis(answer)
        said += sum(len(s.words) for s in lane.segments_to_send())
        held = max(held, lane._buffer._data.nbytes)
        assert lane.undecoded <= 30 * SECOND
    lane.finish()
    for answer in engine.transcribe(lane.windows_to_send()):
        lane.receive_hypothesis(answer)
    said += sum(len(s.words) for s in lane.segments_to_send())

    assert held <= 4_000_000
    assert lane.finished
    assert said == pytest.approx(hours / 0.4, rel=0.05)


def test_every_window_carries_the_options():
    options = FileOptions(
        language="de", task="transcribe", prompt="Rathaus", hotwords="Spree", beam_size=3, temperatures=(0.5,)
    )
    play = Play(options=options).feed(tone_words(range(8), tail=ms(500)))
    play.lane.finish()
    play.settle()
    (window,) = play.windows

    assert (window.language, window.prompt, window.hotwords) == ("de", "Rathaus", "Spree")
    assert (window.beam_size, window.temperature, window.budget_s) == (3, 0.5, 5.0)


def test_a_stock_models_windows_are_longer_and_never_shorter_for_the_encoder_than_it_bears():
    stock = Policy(encoder_floor=ms(10_000), encoder_margin=ms(2_000), longest_window=ms(20_000))
    pauses = enumerate((300, 2_000, 400, 9_000, 600))
    audio = np.concatenate([tone_words(range(12 * n, 12 * n + 12), tail=ms(pause)) for n, pause in pauses])
    play = Play(policy=stock).feed(audio).finish()

    assert play.words == [*range(60)]
    assert len(play.windows) == 2  # the pause of two seconds is kept, that of nine is not
    for window in play.windows:
        assert max(ms(10_000), window.samples + ms(2_000)) <= window.encoder_samples <= ms(30_000)


def test_an_encoder_input_that_is_forced_is_taken():
    forced = Policy(encoder_forced=ms(15_000))
    play = Play(policy=forced).feed(tone_words(range(12))).finish()

    assert {window.encoder_samples for window in play.windows} == {ms(15_000)}


def test_words_can_be_left_out():
    options = FileOptions(language="en", word_timestamps=False)
    (segment,) = Play(options=options).feed(tone_words([1, 2])).finish().segments

    assert segment.words == ()
    assert segment.text == "w01 w02"
    assert segment.start < segment.end
