"""Which hypothesis of a window is kept."""

import pytest

from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window, Word
from streamasr.core.fallback import Thresholds, Tries
from streamasr.core.options import FileOptions
from streamasr.core.policy import Policy

POLICY = Policy()
WINDOW = Window(
    lane="f", number=1, kind="file", anchor=0, pcm=bytes(2 * 5 * SAMPLE_RATE), encoder_samples=5 * SAMPLE_RATE
)
THREE = FileOptions(temperatures=(0.0, 0.5, 1.0))


def heard(text="one two", **facts):
    words = tuple(Word(" " + w, i * 8_000, (i + 1) * 8_000, 0.9, (i,)) for i, w in enumerate(text.split()))
    return Hypothesis(lane="f", number=1, words=words, language="en", **facts)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({}, "believed"),
        ({"average_logprob": -1.1}, "again"),
        ({"compression_ratio": 1.8}, "again"),
        ({"average_logprob": -1.1, "no_speech_probability": 0.7}, "silence"),
        ({"average_logprob": -0.9, "no_speech_probability": 0.7}, "believed"),
    ],
)
def test_the_models_guards_judge(facts, verdict):
    assert Thresholds(FileOptions(), POLICY).judge(heard(**facts), WINDOW) == verdict


def test_the_options_thresholds_stand_before_them():
    strict = FileOptions(compression_ratio_threshold=1.2, logprob_threshold=-0.5, no_speech_threshold=0.1)
    judge = Thresholds(strict, POLICY).judge

    assert judge(heard(compression_ratio=1.3), WINDOW) == "again"
    assert judge(heard(average_logprob=-0.6), WINDOW) == "again"
    assert judge(heard(average_logprob=-0.6, no_speech_probability=0.2), WINDOW) == "silence"


def test_a_phrase_said_over_and_over_is_not_believed():
    loop = Hypothesis(
        lane="f", number=1, language="en", words=tuple(Word(" on", 0, 1, 0.9, (n % 2,)) for n in range(12))
    )

    assert Thresholds(FileOptions(), POLICY).judge(loop, WINDOW) == "again"


def test_the_likeliest_that_does_not_repeat_itself_is_kept_if_none_is_believed():
    thresholds, tries = Thresholds(THREE, POLICY), Tries(WINDOW, THREE, POLICY)
    repeating = heard("a", average_logprob=-0.1, compression_ratio=3.0)
    likelier, last = heard("b", average_logprob=-1.2), heard("c", average_logprob=-1.5)

    assert tries.receive(repeating, thresholds) is None
    assert tries.receive(likelier, thresholds) is None
    hypothesis, window = tries.receive(last, thresholds)
    assert hypothesis is likelier
    assert window.temperature == 0.5


def test_of_repetitions_only_the_likeliest_is_kept():
    thresholds, tries = Thresholds(THREE, POLICY), Tries(WINDOW, THREE, POLICY)
    answers = [heard(text, average_logprob=p, compression_ratio=3.0) for text, p in (("a", -2), ("b", -0.2), ("c", -3))]

    kept = [tries.receive(answer, thresholds) for answer in answers]
    assert kept[:2] == [None, None]
    assert kept[2][0] is answers[1]


def test_silence_keeps_what_was_forced_and_nothing_else():
    tries = Tries(
        Window(**{**{f: getattr(WINDOW, f) for f in WINDOW.__struct_fields__}, "prefix": (0, 1)}), THREE, POLICY
    )
    answer = heard("one two three", average_logprob=-2.0, no_speech_probability=0.9)

    hypothesis, _ = tries.receive(answer, Thresholds(THREE, POLICY))
    assert [word.text for word in hypothesis.words] == [" one", " two"]
