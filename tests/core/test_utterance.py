"""One utterance's book-keeping: what is believed of a hypothesis, where it may be cut, what it shows."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import Final, Hypothesis, Partial, SpeechStarted, Window, Word
from streamasr.core.policy import Policy
from streamasr.core.stabilizer import LocalAgreement
from streamasr.core.utterance import Sent, Utterance, believable, cut_index, looping, obeys, said

POLICY = Policy(no_speech_logprob=-2.0, compression_ratio=2.4, tokens_per_second=25.0)
S = 16_000


def word(text, start_s=0.0, end_s=0.4, tokens=None, confidence=0.9):
    return Word(text, round(start_s * S), round(end_s * S), confidence, tokens or tuple(map(ord, text)))


def window(end_s=5.0, **fields):
    pcm = bytes(2 * round(end_s * S))
    wanted = {"lane": "a", "number": 1, "kind": "partial", "anchor": 0, "pcm": pcm, "encoder_samples": 5 * S}
    return Window(**{**wanted, **fields})


def hypothesis(*words, **fields):
    return Hypothesis(**{"lane": "a", "number": 1, "words": words, "language": "en", **fields})


def utterance(start=0, onset=0):
    return Utterance(0, start, onset, LocalAgreement(POLICY, start))


# Guards.


GOOD = hypothesis(*[word(f" w{i}", i / 2, i / 2 + 0.4, (i, 100 + i)) for i in range(6)])


def changed(**fields):
    return msgspec.structs.replace(GOOD, **fields)


@pytest.mark.parametrize(
    ("fields", "believed"),
    [
        ({}, True),
        ({"no_speech_probability": 0.9}, True),
        ({"average_logprob": -3.0}, True),
        ({"no_speech_probability": 0.61, "average_logprob": -2.01}, False),
        ({"no_speech_probability": 0.6, "average_logprob": -2.01}, True),
        ({"no_speech_probability": 0.61, "average_logprob": -2.0}, True),
        ({"compression_ratio": 2.4}, True),
        ({"compression_ratio": 2.41}, False),
    ],
)
def test_a_guard_stops_what_is_beyond_its_threshold(fields, believed):
    assert believable(changed(**fields), window(), POLICY) is believed


def test_more_tokens_than_anybody_can_say_are_not_believed():
    """25 a second; but twelve can always be."""
    many = hypothesis(word(" a", tokens=tuple(range(51))))
    assert not believable(many, window(2.0), POLICY)
    assert believable(many, window(2.04), POLICY)
    assert believable(hypothesis(word(" a", tokens=tuple(range(12)))), window(0.1), POLICY)
    assert not believable(hypothesis(word(" a", tokens=tuple(range(13)))), window(0.1), POLICY)


def test_a_phrase_said_four_times_in_a_row_is_a_loop():
    assert looping([9, 1, 2, 3] + [1, 2, 3] * 3)
    assert not looping([9] + [1, 2, 3] * 3)
    assert not looping([1, 2] * 4 + [3])  # no longer at the end
    assert not looping([5] * 7)
    assert looping([5] * 8)
    assert not looping([])


@given(st.lists(st.integers(0, 3), max_size=6), st.lists(st.integers(0, 9), min_size=2, max_size=12))
def test_every_loop_is_found_whatever_came_before(before, phrase):
    assert looping(before + phrase * 4)


def test_a_hypothesis_obeys_the_tokens_that_were_forced():
    forced = window(prefix=tuple(map(ord, " one two")))
    assert obeys(hypothesis(word(" one"), word(" two"), word(" three")), forced)
    assert obeys(hypothesis(word(" one two")), forced)
    assert not obeys(hypothesis(word(" one"), word(" too")), forced)
    assert not obeys(hypothesis(word(" one")), forced)
    assert obeys(hypothesis(), window())


def test_or_the_text_where_no_tokens_are_known():
    forced = window(prefix_text="one, two")
    assert obeys(hypothesis(word(" one"), word(","), word(" two"), word(" three")), forced)
    assert not obeys(hypothesis(word(" one"), word(" two")), forced)


# What was said.


def sent(last_speech_s, onset_s=0.0, **fields):
    return Sent(window(**fields), utterance(onset=round(onset_s * S)), "partial", round(last_speech_s * S))


def test_words_that_begin_more_than_150_ms_after_the_speech_were_not_said():
    words = [word(" one", 0, 0.9), word(" two", 1.15, 1.4), word(" three", 1.4, 1.5)]
    assert [w.text for w in said(words, sent(1.0), POLICY)] == [" one", " two"]
    assert [w.text for w in said(words, sent(0.99), POLICY)] == [" one"]


def test_marks_have_no_sound_and_may_come_later():
    words = [word(" one", 0, 0.9), word(".", 1.5, 1.5)]
    assert said(words, sent(1.0), POLICY) == words


def test_what_was_forced_was_said_whenever_that_was():
    words = [word(" one", 0, 0.4), word(" two", 3, 3.4), word(" three", 3.5, 4)]
    assert said(words, sent(1.0, prefix=tuple(map(ord, " one two"))), POLICY) == words[:2]


def test_the_first_word_does_not_begin_before_the_speech():
    words = said([word(" one", 0, 0.9), word(" two", 1, 1.2)], sent(2.0, onset_s=0.5), POLICY)
    assert [w.start for w in words] == [S // 2, S]
    early = [word(" one", 0, 0.4)]
    moved = said(early, sent(2.0, onset_s=0.5), POLICY)
    assert [(w.start, w.end) for w in moved] == [(S // 2, S // 2)]  # its length comes with its neighbours (in_order)


# Cutting.


def spoken(*spans_s):
    talk = utterance()
    talk.stabilizer.stable = [word(f" w{i}", start, end) for i, (start, end) in enumerate(spans_s)]
    return talk


def test_an_utterance_is_cut_only_when_it_is_old_enough_and_a_pause_is_wide_enough():
    """From 40 s on at a pause of half a second; at 50 s at half of that; at a minute anywhere."""
    assert cut_index(spoken((30, 31), (39.9, 40.5)), 2, POLICY) is None
    assert cut_index(spoken((38, 39.5), (40, 41)), 2, POLICY) == 1
    assert cut_index(spoken((38, 39.51), (40, 41)), 2, POLICY) is None
    assert cut_index(spoken((48, 49.75), (50, 51)), 2, POLICY) == 1
    assert cut_index(spoken((48, 49.76), (50, 51)), 2, POLICY) is None
    assert cut_index(spoken((59, 60), (60, 61)), 2, POLICY) == 1


def test_only_words_that_have_just_become_stable_may_go_to_the_next_utterance():
    """The others have been shown as stable of this one."""
    talk = spoken((44, 45), (46, 47), (47.1, 48))
    assert cut_index(talk, 2, POLICY) == 1
    assert cut_index(talk, 1, POLICY) is None
    assert cut_index(talk, 0, POLICY) is None
    assert cut_index(talk, 3, POLICY) == 1  # never before the first


# Showing.


def test_unsent_partials_are_replaced_and_repeated_ones_not_sent():
    talk = utterance()
    talk.stabilizer.unstable = [word(" one")]
    talk.show(interim=True)
    talk.stabilizer.unstable = [word(" one"), word(" two")]
    talk.show(interim=True)
    assert talk.events == [SpeechStarted(0, 0), Partial(0, 0, "", "one two", ())]
    talk.events = []
    talk.show(interim=True)
    talk.show(interim=False)
    assert talk.events == []


def test_nothing_is_shown_after_the_end():
    talk = utterance()
    talk.close("stop", S, S)
    talk.stabilizer.unstable = [word(" one")]
    talk.show(interim=True)
    assert not any(isinstance(event, Partial) for event in talk.events)


def test_speech_without_words_counts_from_the_last_word_and_leaves_out_pauses():
    talk = utterance(start=S)
    talk.decoded_to = 10 * S
    assert talk.wordless == 9 * S
    talk.heard([word(" one", 2, 3), word(".", 9, 9)])
    assert talk.wordless == 7 * S
    talk.heard([])  # a word that is heard no more was one all the same
    assert talk.wordless == 7 * S
    talk.resume(round(2.5 * S), 5 * S)  # half a second of it before the word's end
    assert talk.wordless == 5 * S
    talk.resume(9 * S, 12 * S)  # two seconds of it not decoded yet
    assert talk.wordless == 4 * S


def test_a_final_has_its_language_from_what_was_decided_or_else_heard_or_else_the_lane():
    for decided, heard, language in [("de", "es", "de"), (None, "es", "es"), (None, None, "en")]:
        talk = utterance()
        talk.language, talk.heard_language = decided, heard
        talk.close("endpoint", S, S)
        talk.finish("en")
        (final,) = [event for event in talk.events if isinstance(event, Final)]
        assert final.language == language
