"""Words to text and to what people read: joined as the language joins words, they give the text."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import Word
from streamasr.core.transcript import STEP, displayed, in_order, is_mark, normalised, spaced, text_of


def words(*texts):
    """One every 100 samples, 80 long."""
    return [Word(text, 100 * i, 100 * i + 80, 0.5, (i,)) for i, text in enumerate(texts)]


def texts(*parts, language="en"):
    return [word.text for word in displayed(words(*parts), language)]


def test_marks_are_what_has_neither_letters_nor_digits():
    assert [is_mark(word) for word in words(",", " —", "?!", " a", "’s", " 5", "。", "你")] == (
        [True] * 3 + [False] * 3 + [True, False]
    )


def test_words_that_differ_in_case_and_marks_agree():
    assert {normalised(word) for word in words(" Straße", " STRASSE,", " “strasse")} == {"strasse"}


def test_the_text_has_no_space_before_its_first_word():
    assert text_of(words(" Hello", ",", " you")) == "Hello, you"


def test_marks_are_read_with_their_word():
    assert texts(" Hello", ",", " you", "?!") == ["Hello,", "you?!"]


def test_a_mark_that_opens_the_text_belongs_to_the_word_after_it():
    assert texts("¿", "Qué", " tal", "?") == ["¿Qué", "tal?"]
    shown = displayed(words(" “", "Well"), "en")
    assert (shown[0].text, shown[0].start, shown[0].end) == ("“Well", 100, 180)


def test_a_mark_between_spaces_stands_alone():
    assert texts(" -", " Yes", " —", " no") == ["-", "Yes", "—", "no"]


def test_a_text_of_marks_only_is_not_nothing():
    assert texts(" ...") == ["..."]


def test_times_are_the_words_and_not_their_marks():
    shown = displayed(words(" Hello", ","), "en")
    assert shown == (Word("Hello,", 0, 80, 0.5),)


def test_letters_without_a_space_go_on_with_the_word_before():
    assert texts(" don", "’t") == ["don’t"]
    assert displayed(words(" don", "’t"), "en")[0].end == 180


def test_without_spaces_every_group_of_the_model_is_a_word():
    assert texts("你好", "，", "世界", "。", language="zh") == ["你好，", "世界。"]
    assert texts("「", "はい", "」", "と", language="ja") == ["「はい」", "と"]


def test_right_to_left_words_are_words_like_any_other():
    assert texts(" مرحبا", "،", " كيف", " حالك", "؟") == ["مرحبا،", "كيف", "حالك؟"]


def test_a_joint_gets_a_space_only_before_letters_that_lack_one():
    assert [spaced(word).text for word in words("a", " b", ".")] == [" a", " b", "."]


PIECES = st.tuples(st.booleans(), st.text(st.sampled_from("aé5’.,-¿你م"), min_size=1, max_size=3))


@given(st.lists(PIECES, max_size=12), st.sampled_from(["en", "zh", None]))
def test_displayed_words_always_give_the_text(pieces, language):
    """As tokens of the text where the language writes spaces; joined in any case."""
    heard = words(*[" " * space + text for space, text in pieces])
    shown = displayed(heard, language)
    assert "".join(word.text for word in shown) == text_of(heard).replace(" ", "")
    if language != "zh":
        assert [word.text for word in shown] == text_of(heard).split()
    assert all(word.start <= word.end and not word.tokens for word in shown)
    assert [word.start for word in shown] == sorted(word.start for word in shown)


def times(words):
    return [(word.start, word.end) for word in words]


def test_words_of_one_step_of_alignment_get_a_step_each():
    """To the left, as nothing may leave the window; marks need no time."""
    crowded = [Word(" a", 3200, 3200, 0.5), Word(" b", 3200, 3200, 0.5), Word(".", 3200, 3200, 0.5)]
    assert times(in_order(crowded, 0)) == [(2560, 2880), (2880, 3200), (3200, 3200)]


def test_a_word_ends_where_the_next_begins_at_the_latest():
    assert times(in_order([Word(" a", 0, 900, 0.5), Word(" b", 640, 1600, 0.5)], 0)) == [(0, 640), (640, 1600)]


def test_what_is_known_of_the_words_before_holds():
    assert times(in_order([Word(" a", 100, 200, 0.5)], 320)) == [(320, 640)]


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 900), st.sampled_from([" w", ","]))), st.integers(0, 2000)
)
def test_times_always_go_forward(spans, earliest):
    before = [Word(text, start, start + length, 0.5, (1,)) for start, length, text in spans]
    after = in_order(before, earliest)

    assert [(word.text, word.tokens) for word in after] == [(word.text, word.tokens) for word in before]
    assert all(word.start >= earliest for word in after)
    assert all(word.end - word.start >= (0 if is_mark(word) else STEP) for word in after)
    assert all(left.end <= right.start for left, right in pairwise(after))
