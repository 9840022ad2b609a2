"""Successive hypotheses to a stable prefix: what is committed when, where windows begin next, what never changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import GRID, Word
from streamasr.core.policy import Policy
from streamasr.core.stabilizer import LocalAgreement
from streamasr.core.transcript import is_mark, text_of

POLICY = Policy(anchor_margin=32_000)
S = 16_000


def at(text, start_s, end_s, confidence=0.9):
    """A word whose tokens are its characters."""
    return Word(text, round(start_s * S), round(end_s * S), confidence, tuple(map(ord, text)))


def said(text, *, from_s=0.0, step_s=0.5, confidence=0.9):
    """A word every half second, 0.4 s long; marks take no time and stand after a space in ``text``."""
    words, place = [], from_s
    for part in text.split():
        if part in ",.?!":
            words.append(at(part, place - 0.1, place - 0.1, confidence))
        else:
            words.append(at(" " + part, place, place + 0.4, confidence))
            place += step_s
    return words


def heard(*hypotheses, anchor=0):
    """A stabilizer that has taken (text, window end in seconds), one after the other."""
    stabilizer = LocalAgreement(POLICY, anchor)
    for text, end_s in hypotheses:
        stabilizer.take(said(text), round(end_s * S), commit=True)
    return stabilizer


def test_nothing_is_stable_at_first():
    """Unless it is old and confident, what one hypothesis says is not enough."""
    stabilizer = heard(("one two three", 1.5))
    assert (stabilizer.stable_text, stabilizer.text) == ("", "one two three")


def test_a_word_that_two_hypotheses_agree_on_is_stable_if_it_ended_400_ms_before_the_edge():
    """'two' ends at 0.9 s."""
    assert heard(("one two three", 1.0), ("one two three", 1.3)).stable_text == "one two"
    assert heard(("one two three", 1.0), ("one two three", 1.299)).stable_text == "one"


def test_stable_words_have_the_times_of_the_newest_hypothesis():
    """Which has heard more of what follows them; the text stays."""
    stabilizer = heard(("one two three", 1.0), ("one two three", 1.3))
    later = [at(" one", 0.1, 0.45), at(" two", 0.55, 0.85, 0.7), *said("three four", from_s=1.0)]
    stabilizer.take(later, 2 * S, commit=True)

    assert [(w.text, w.start / S, w.confidence) for w in stabilizer.stable[:2]] == [
        (" one", 0.1, 0.9),
        (" two", 0.55, 0.7),
    ]
    assert stabilizer.stable_text.startswith("one two")


def test_hypotheses_less_than_240_ms_apart_do_not_agree():
    assert heard(("one two three", 1.2), ("one two three", 1.439)).stable_text == ""
    assert heard(("one two three", 1.2), ("one two three", 1.44)).stable_text == "one two"


def test_agreement_is_about_letters_and_not_about_case_or_marks():
    assert heard(("one , Two three", 1.0), ("One two three", 1.4)).stable_text == "One two"


def test_agreement_is_by_place():
    """A word that was elsewhere before does not count, nor anything after it."""
    assert heard(("one three four", 1.4), ("one two three four", 1.8)).stable_text == "one"


def test_the_last_word_is_never_stable():
    stabilizer = heard(*[("one two", 3 + second) for second in range(10)])
    assert (stabilizer.stable_text, stabilizer.text) == ("one", "one two")


def test_a_confident_word_needs_no_agreement_1500_ms_before_the_edge():
    """'one' ends at 0.4 s, 'two' at 0.9 s."""
    assert heard(("one two three", 1.9)).stable_text == "one"
    assert heard(("one two three", 1.899)).stable_text == ""


def test_a_doubtful_word_does_need_agreement():
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take(said("one two three", confidence=0.49), 3 * S, commit=True)
    assert stabilizer.stable_text == ""
    stabilizer.take(said("one two three", confidence=0.5), 3 * S, commit=True)
    assert stabilizer.stable_text == "one two"


def test_words_are_committed_left_to_right_without_gaps():
    """'two' may not be stable before 'one' is, however confident it is."""
    stabilizer = LocalAgreement(POLICY, 0)
    words = [at(" one", 0, 0.4, 0.1), at(" two", 0.5, 0.9, 0.99), at(" three", 1, 1.4)]
    stabilizer.take(words, 4 * S, commit=True)
    assert stabilizer.stable_text == ""


def test_nothing_is_committed_before_it_may_be():
    stabilizer = LocalAgreement(POLICY, 0)
    assert stabilizer.take(said("one two three"), 5 * S, commit=False) == []
    assert (stabilizer.stable_text, stabilizer.text) == ("", "one two three")


def test_punctuation_is_not_stable_before_the_next_word_is():
    stabilizer = heard(("one , two three", 1.4), ("one , two three", 1.2 + 0.499))
    assert (stabilizer.stable_text, stabilizer.text) == ("one, two", "one, two three")
    stabilizer = heard(("one , two", 1.4), ("one , two", 1.7))
    assert (stabilizer.stable_text, stabilizer.text) == ("one", "one, two")


def test_a_mark_that_changes_its_mind_changes_no_stable_text():
    stabilizer = heard(("one . two three", 1.4), ("one . two", 1.7))
    assert stabilizer.stable_text == "one"
    stabilizer.take(said("one , two three"), 2 * S, commit=True)
    assert stabilizer.stable_text == "one, two"


def test_a_doubtful_word_at_the_edge_is_not_shown_yet():
    """'three' ends at 1.4 s: the window's last 300 ms begin at 1.699 s, or at 1.7."""
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take([*said("one two"), at(" three", 1.0, 1.4, 0.79), at(",", 1.4, 1.4)], round(1.699 * S), commit=True)
    assert stabilizer.present() == "one two"
    assert stabilizer.text == "one two three,"

    stabilizer.take([*said("one two"), at(" three", 1.0, 1.4, 0.79), at(",", 1.4, 1.4)], round(1.7 * S), commit=True)
    assert stabilizer.present() == "one two three,"


def test_a_sure_word_at_the_edge_is_shown_at_once():
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take([*said("one two ,"), at(" three", 1.0, 1.4, 0.8)], round(1.4 * S), commit=True)
    assert stabilizer.present() == "one two, three"


def test_a_word_that_was_shown_stays_when_the_model_becomes_unsure_of_it():
    """Another one in its place does not."""
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take([*said("one"), at(" two", 0.5, 0.9, 0.9)], round(0.9 * S), commit=True)
    assert stabilizer.present() == "one two"
    stabilizer.take([*said("one"), at(" Two", 0.5, 0.95, 0.2)], round(1.0 * S), commit=True)
    assert stabilizer.present() == "one Two"
    stabilizer.take([*said("one"), at(" too", 0.5, 0.95, 0.2)], round(1.1 * S), commit=True)
    assert stabilizer.present() == "one"


def test_what_is_stable_is_always_shown():
    """A doubtful word becomes stable by agreement, and its mark follows it."""
    stabilizer = LocalAgreement(POLICY, 0)
    for end_s in (1.0, 1.4):
        stabilizer.take(said("one two three", confidence=0.1), round(end_s * S), commit=True)
    assert stabilizer.stable_text == "one two"
    assert stabilizer.present() == "one two"


def test_the_prefix_is_the_stable_tokens_as_they_were_generated():
    stabilizer = heard(("one two three", 1.0), ("one two three", 1.3))
    assert stabilizer.prefix == tuple(map(ord, " one two"))


def test_a_hypothesis_explains_what_begins_with_the_prefix_at_its_anchor():
    stabilizer = heard(("one two three", 1.0), ("one two three", 1.3))
    assert stabilizer.explains(said("one two four"), 0)
    assert stabilizer.explains(said("one twofold"), 0)  # the tokens are there
    assert not stabilizer.explains(said("one too"), 0)
    assert not stabilizer.explains(said("one"), 0)
    assert not stabilizer.explains(said("one two four"), 160)


def test_a_stable_word_that_goes_on_is_split_where_it_was_stable():
    """'don' was stable; now the model says 'don't'."""
    stabilizer = heard(("don three four", 1.0), ("don three four", 1.3))
    assert stabilizer.stable_text == "don three"
    words = [at(" don", 0, 0.4), at(" three't", 0.5, 0.9), at(" see", 1, 1.4)]
    stabilizer.take(words, 2 * S, commit=True)
    assert stabilizer.text == "don three't see"
    assert stabilizer.stable_text.startswith("don three")


def test_words_never_begin_before_those_before_them():
    """Another window may see a word some frames earlier."""
    stabilizer = heard(("one two three", 1.0), ("one two three", 1.4))
    late = [*stabilizer.stable, at(" four", 0.2, 0.3), at(" five", 0.1, 0.9)]
    stabilizer.take(late, 2 * S, commit=True)
    starts = [word.start for word in stabilizer.stable_words + stabilizer.unstable]
    assert starts == sorted(starts)
    assert all(word.start <= word.end for word in stabilizer.unstable)


def ten_seconds(pause_before="f", pause_s=0.3):
    """A word each second from a to j, one of them a little late, nine of them stable."""
    stabilizer = LocalAgreement(POLICY, 0)
    words = [
        at(f" {letter}", i + (pause_s if letter == pause_before else 0.1), i + 0.99)
        for i, letter in enumerate("abcdefghij")
    ]
    stabilizer.take(words, 9 * S, commit=True)
    stabilizer.take(words, 10 * S, commit=True)
    assert stabilizer.stable_text == "a b c d e f g h i"
    return stabilizer


def test_the_anchor_moves_into_the_widest_pause_and_the_prefix_with_it():
    stabilizer = ten_seconds()
    stabilizer.move_anchor(10 * S)
    assert stabilizer.anchor == round((4.99 + 5.3) / 2 * S) // GRID * GRID
    assert stabilizer.prefix == tuple(map(ord, " f g h i"))
    assert stabilizer.stable_text == "a b c d e f g h i"
    assert stabilizer.text == "a b c d e f g h i j"


def test_without_a_pause_the_anchor_is_40_ms_before_a_word():
    stabilizer = ten_seconds(pause_s=0.1)
    stabilizer.move_anchor(10 * S)
    assert stabilizer.anchor == round(7.1 * S - 640) // GRID * GRID


def test_agreement_survives_a_move_of_the_anchor():
    """What was said after the stable text is remembered at its place."""
    stabilizer = ten_seconds()
    stabilizer.move_anchor(10 * S)
    words = [*stabilizer.stable, at(" j", 9.1, 9.5, 0.1), at(" k", 10, 10.3)]
    stabilizer.take(words, round(10.4 * S), commit=True)
    assert stabilizer.stable_text.endswith("i j")


def test_without_stable_words_old_ones_are_committed_to_move_the_anchor():
    """Those that end two seconds before the edge with a little confidence, 0.3."""
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take(said("a b c d e f g h i j", step_s=1.0, confidence=0.3), 10 * S, commit=True)
    assert stabilizer.stable_text == ""
    forced = stabilizer.move_anchor(10 * S)
    assert text_of(forced) == stabilizer.stable_text == "a b c d e f g h"
    assert 2 * S <= stabilizer.anchor <= 8 * S
    assert stabilizer.text == "a b c d e f g h i j"


def test_without_confidence_they_are_committed_all_the_same():
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take(said("a b c d e f g h i j", step_s=1.0, confidence=0.1), 10 * S, commit=True)
    assert text_of(stabilizer.move_anchor(10 * S)) == "a b c d e f g h"


def test_without_any_words_the_anchor_is_two_seconds_before_the_edge():
    stabilizer = LocalAgreement(POLICY, 0)
    assert stabilizer.move_anchor(10 * S) == []
    assert stabilizer.anchor == 8 * S


def test_an_anchor_without_a_prefix_is_in_no_word():
    """'a' was said long ago, 'b' is being said two seconds before the edge."""
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take([at(" a", 0, 0.5), at(" b", 7.8, 8.3)], 10 * S, commit=True)
    stabilizer.move_anchor(10 * S)
    assert stabilizer.stable_text == "a"
    assert stabilizer.anchor == round(7.76 * S) // GRID * GRID


@given(
    st.lists(st.tuples(st.floats(0, 9.9), st.floats(0, 3), st.floats(0, 1)), max_size=8),
    st.booleans(),
)
def test_a_moved_anchor_always_leaves_at_least_two_seconds_behind(spans, commit):
    """Whatever the words' times, so that windows come to an end."""
    words = [at(f" {i}", start, min(10.0, start + length), c) for i, (start, length, c) in enumerate(sorted(spans))]
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take(words, 10 * S, commit=commit)
    before = stabilizer.stable_text
    stabilizer.move_anchor(10 * S)
    assert stabilizer.stable_text.startswith(before)
    assert stabilizer.anchor > 0
    assert stabilizer.anchor % GRID == 0
    assert stabilizer.prefix == tuple(token for word in stabilizer.stable for token in word.tokens)


def test_speech_without_new_words_twice_restarts_after_the_stable_text():
    """1.5 s of it after the stable text, which ends at 0.9 s."""
    stabilizer = heard(("one two three", 1.0), ("one two three", 1.3))
    stabilizer.take(stabilizer.stable, 2 * S, commit=True)
    assert not stabilizer.notice_stuck(round(2.39 * S))
    assert not stabilizer.notice_stuck(round(2.4 * S))
    assert stabilizer.notice_stuck(round(2.8 * S))
    assert (stabilizer.anchor, stabilizer.prefix, stabilizer.stable_text) == (round(0.9 * S), (), "one two")


def test_a_new_word_makes_it_unstuck():
    stabilizer = heard(("one two three", 1.0), ("one two three", 1.3))
    stabilizer.take(stabilizer.stable, 2 * S, commit=True)
    assert not stabilizer.notice_stuck(3 * S)
    stabilizer.take([*stabilizer.stable, at(" four", 2.5, 2.9)], 3 * S, commit=True)
    assert not stabilizer.notice_stuck(3 * S)
    stabilizer.take(stabilizer.stable, 4 * S, commit=True)
    assert not stabilizer.notice_stuck(4 * S)


def test_without_stable_text_nothing_is_stuck():
    stabilizer = LocalAgreement(POLICY, 0)
    assert [stabilizer.notice_stuck(9 * S) for _ in range(3)] == [False] * 3


def test_after_a_restart_the_first_word_gets_the_space_it_lacks():
    """The model begins afresh and thinks it is the beginning."""
    stabilizer = heard(("one two three", 1.0), ("one two three", 1.3))
    stabilizer.restart(S)
    assert stabilizer.text == "one two"
    stabilizer.take([at("four", 1.5, 1.9)], 2 * S, commit=True)
    assert stabilizer.text == "one two four"


def test_scripts_without_spaces_get_none_at_a_restart():
    stabilizer = LocalAgreement(POLICY, 0)
    for end_s in (1.0, 1.3):
        stabilizer.take([at("你", 0, 0.4), at("好", 0.5, 0.9), at("吗", 1, 1.2)], round(end_s * S), commit=True)
    stabilizer.restart(S)
    stabilizer.take([at("世", 1.5, 1.9)], 2 * S, commit=True)
    assert stabilizer.text == "你好世"


def test_a_split_gives_the_words_from_there_on_to_the_next_utterance():
    stabilizer = ten_seconds()
    after = stabilizer.split(5)
    assert (stabilizer.text, after.text) == ("a b c d e", "f g h i j")
    assert after.stable_text == "f g h i"
    assert after.anchor == round((4.99 + 5.3) / 2 * S) // GRID * GRID
    assert after.prefix == tuple(map(ord, " f g h i"))
    after.take([*after.stable, at(" j", 9.1, 9.5, 0.1), at(" k", 10, 10.3)], round(10.4 * S), commit=True)
    assert after.stable_text == "f g h i j"  # 'j' agrees with what was said before the split


def test_promised_text_is_stable_until_a_hypothesis_gives_it_words():
    stabilizer = LocalAgreement(POLICY, 3 * S)
    assert stabilizer.promise("Hello, you", 5 * S) == 5 * S
    assert (stabilizer.stable_text, stabilizer.text, stabilizer.prefix) == ("Hello, you", "Hello, you", ())
    assert not stabilizer.explains(said("Good morning"), 3 * S)
    words = said("Hello , you there", from_s=3.0)
    assert stabilizer.explains(words, 3 * S)
    stabilizer.take(words, 6 * S, commit=False)
    assert (stabilizer.stable_text, stabilizer.text) == ("Hello, you", "Hello, you there")
    assert stabilizer.prefix == tuple(map(ord, " Hello, you"))


def test_promised_text_that_ends_inside_a_word_grows_to_its_end():
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.promise("Hello yo", 2 * S)
    stabilizer.take(said("Hello you there"), 3 * S, commit=False)
    assert (stabilizer.stable_text, stabilizer.text) == ("Hello you", "Hello you there")


def test_promised_text_of_unknown_end_lasts_300_ms_a_word():
    assert LocalAgreement(POLICY, S).promise("one two three", None) == S + 3 * 4_800
    assert LocalAgreement(POLICY, S).promise("one two three", S // 2) == S + 3 * 4_800


def test_more_promised_text_than_a_window_can_hold_is_settled_as_it_is():
    """Over eight seconds; its words are spread evenly."""
    stabilizer = LocalAgreement(POLICY, S)
    assert stabilizer.promise("one  two\nthree four", 9 * S + 160) == 9 * S + 160
    assert stabilizer.stable_text == stabilizer.text == "one  two\nthree four"
    assert (stabilizer.anchor, stabilizer.prefix) == (9 * S + 160, ())
    assert [word.start for word in stabilizer.stable_words] == [S, 3 * S + 40, 5 * S + 80, 7 * S + 120]
    stabilizer.take(said("five", from_s=9.1), 10 * S, commit=False)
    assert stabilizer.text == "one  two\nthree four five"


def test_promised_text_without_spaces_goes_on_without_them():
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.promise("你好世界" * 9, 10 * S)
    stabilizer.take([at("吗", 10.1, 10.5)], 11 * S, commit=False)
    assert stabilizer.text == "你好世界" * 9 + "吗"


SCRIPTS = {
    "latin": [" one", " two", " don", "'t", ",", ".", " Two", " é", " —"],
    "chinese": ["你", "好", "，", "世", "界", "。"],
    "arabic": [" مرحبا", " كيف", "،", "؟", " حالك"],
    "thai": ["ส", "วั", "ส", "ดี", " ", "ค"],
}


@st.composite
def hypotheses(draw):
    """Words and window ends of an utterance: each hypothesis honours the prefix and is otherwise arbitrary."""
    pieces = st.sampled_from([piece for piece in SCRIPTS[draw(st.sampled_from(sorted(SCRIPTS)))] if piece.strip()])
    tails = st.lists(st.tuples(pieces, st.floats(0, 3), st.floats(0, 1)), max_size=8)
    return draw(st.lists(st.tuples(tails, st.floats(0.05, 3), st.integers(0, 9)), min_size=1, max_size=12))


@given(hypotheses())
def test_stable_text_only_grows_whatever_the_hypotheses(rounds):
    """Also through moved anchors, restarts and commits by force; the text always begins with it."""
    stabilizer = LocalAgreement(POLICY, 0)
    end_s, stable = 0.0, ""
    for tail, more_s, event in rounds:
        end_s += more_s
        words, place = list(stabilizer.stable), stabilizer.stable_end / S
        for text, length_s, confidence in tail:
            start, place = place, min(end_s, place + length_s)
            words.append(at(text, min(start, place), place, confidence))
        assert stabilizer.explains(words, stabilizer.anchor)
        fresh = stabilizer.take(words, round(end_s * S), commit=event != 0)
        spoken = sum(not is_mark(word) for word in words[len(words) - len(tail) :])
        assert sum(not is_mark(word) for word in fresh) <= max(0, spoken - 1)
        for text in (stabilizer.stable_text, stabilizer.text):
            assert text.startswith(stable)
        stable = stabilizer.stable_text
        assert stabilizer.text.startswith(stable)
        if event == 1:
            stabilizer.move_anchor(round(end_s * S))
        elif event == 2:
            stabilizer.notice_stuck(round(end_s * S))
        elif event == 3:
            stabilizer.restart(round(end_s * S))
        assert stabilizer.stable_text.startswith(stable)
        stable = stabilizer.stable_text
        assert stabilizer.prefix == tuple(token for word in stabilizer.stable for token in word.tokens)


@pytest.mark.parametrize("script", ["chinese", "arabic"])
def test_other_scripts_become_stable_word_by_word(script):
    pieces = [piece for piece in SCRIPTS[script] if not is_mark(at(piece, 0, 1))]
    words = [at(piece, 0.5 * i, 0.5 * i + 0.4) for i, piece in enumerate(pieces)]
    stabilizer = LocalAgreement(POLICY, 0)
    stabilizer.take(words, 2 * S, commit=True)
    stabilizer.take(words, 3 * S, commit=True)
    assert stabilizer.stable_text == text_of(words[:-1])
    assert stabilizer.text == text_of(words)
