"""Words to segments: at end marks, at pauses, and over the joints of windows."""

from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window, Word
from streamasr.core.policy import ms
from streamasr.core.sentences import LONGEST, LONGEST_PAUSE, Sentences


def window(**options):
    return Window(lane="f", number=1, kind="file", anchor=0, pcm=b"", encoder_samples=0, **options)


def heard(language="en", **facts):
    return Hypothesis(lane="f", number=1, words=(), language=language, **facts)


STEP = ms(300)


def words(text, start=0, step=STEP, space=" "):
    """A word for each piece of the text, one after another; marks have no length."""
    made = []
    for piece in text.split():
        mark = not any(c.isalnum() for c in piece)
        end = start if mark else start + step
        made.append(Word(piece if mark else space + piece, start, end, 0.9, (1,)))
        start = end
    return made


def texts(segments):
    return [segment.text for segment in segments]


def split(spoken, language="en", **options):
    sentences = Sentences(word_timestamps=True)
    return sentences.add(spoken, heard(language), window(**options), afresh=True) + sentences.flush()


def test_a_sentence_ends_at_its_mark():
    segments = split(words("Well , it rains . Does it ? Yes !"))

    assert texts(segments) == ["Well, it rains.", "Does it?", "Yes!"]
    assert [segment.number for segment in segments] == [0, 1, 2]
    assert [word.text for word in segments[0].words] == ["Well,", "it", "rains."]


def test_a_mark_inside_a_number_or_an_address_ends_nothing():
    spoken = [*words("costs 3"), Word(".", 9_600, 9_600, 1.0), Word("5", 9_600, 12_000, 1.0), *words("pounds", 12_000)]

    assert texts(split(spoken)) == ["costs 3.5 pounds"]


def test_a_language_without_spaces_has_sentences_too():
    assert texts(split(words("今日 は 晴れ 。 明日 は 雨 。", space=""), "ja")) == ["今日は晴れ。", "明日は雨。"]


def test_what_is_translated_is_written_as_english_is():
    """Letters without a space before them go on with their word; in Japanese they would be the next one."""
    spoken = [*words("It rain"), Word("s", ms(600), ms(700), 0.9)]

    (segment,) = split(spoken, "ja", task="translate")
    assert [word.text for word in segment.words] == ["It", "rains"]
    (segment,) = split(spoken, "ja")
    assert [word.text for word in segment.words] == ["It", "rain", "s"]


def test_a_pause_ends_a_segment():
    assert texts(split([*words("one two"), *words("three", start=ms(600) + LONGEST_PAUSE)])) == ["one two", "three"]


def test_a_sentence_goes_on_over_the_joint_of_two_windows():
    sentences = Sentences(word_timestamps=True)
    first = sentences.add(words("the cat"), heard(average_logprob=-0.1), window(), afresh=True)
    sat = [*words("sat", start=ms(700), space=""), *words(". It", start=ms(1_000))]
    second = sentences.add(sat, heard(average_logprob=-0.9), window(temperature=0.2), afresh=True)

    assert first == []
    (segment,) = second
    assert segment.text == "the cat sat."
    assert (segment.average_logprob, segment.temperature) == (-0.1, 0.0)
    (after,) = sentences.flush()
    assert (after.text, after.average_logprob, after.temperature) == ("It", -0.9, 0.2)


def test_words_may_be_left_out():
    sentences = Sentences(word_timestamps=False)
    sentences.add(words("one two"), heard(), window(), afresh=True)
    (segment,) = sentences.flush()

    assert (segment.text, segment.words, segment.start, segment.end) == ("one two", (), 0, ms(600))


def test_marks_alone_are_no_segment():
    assert split(words("… ?")) == []


timed = st.lists(
    st.tuples(st.sampled_from(["a", "b.", "c", ".", "d?", "e,"]), st.integers(0, ms(2_000)), st.integers(0, ms(500)))
)


@given(timed)
def test_segments_hold_every_word_once_in_order_and_none_is_too_long(pieces):
    spoken, at = [], 0
    for text, pause, length in pieces:
        spoken.append(Word(text if text == "." else " " + text, at + pause, at + pause + length, 0.5))
        at += pause + length
    segments = split(spoken)

    said = " ".join(segment.text for segment in segments)
    letters = [c for c in "".join(word.text for word in spoken) if c.isalpha()]
    assert [c for c in said if c.isalpha()] == letters
    edge = 0
    for segment in segments:
        assert edge <= segment.start <= segment.end
        assert segment.end - segment.start <= LONGEST + 2 * SAMPLE_RATE
        edge = segment.end
