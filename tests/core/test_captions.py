"""Cues hold every word once, inside their limits and apart from each other, and growing text leaves them alone."""

import re
import unicodedata
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
import srt as srt_library
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamasr.core.captions import Cue, CueLimits, cues, cues_of_segments, srt, vtt
from streamasr.core.events import SAMPLE_RATE, Segment, Word
from streamasr.errors import ConfigError

LIMITS = CueLimits()
often = settings(max_examples=60, deadline=None)
MS = SAMPLE_RATE // 1000


def columns(line):
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in line)
    return len(line) + wide - sum(unicodedata.category(c) in {"Mn", "Me", "Cf"} for c in line)


def spoken(text, *, letter_ms=60, start=0):
    """Words one after the other, each as long as it is written; "_" is a pause of 400 ms."""
    words, now = [], start
    for token in text.split():
        if token == "_":
            now += 400 * MS
            continue
        end = now + len(token) * letter_ms * MS
        words.append(Word(token, now, end, 0.9))
        now = end
    return words


def texts(shown):
    return [cue.text for cue in shown]


@st.composite
def speech(draw):
    """Words of many scripts at any pace, and their language."""
    language, alphabet = draw(
        st.sampled_from(
            [
                ("en", "abcdefghij.,!?'-<>&"),
                (None, "abcдежéß.,;"),
                ("zh", "今天气很好，。！ab4"),
                ("ja", "日本語ですカタ。、"),
                ("th", "สวัสดีครับที่"),
                ("he", "שלוםעברית.,"),
                ("ar", "مرحبا؟،"),
            ]
        )
    )
    text = st.text(alphabet, min_size=1, max_size=12) | st.text(alphabet, min_size=40, max_size=120)
    words, now = [], draw(st.integers(0, 400 * 3600)) * SAMPLE_RATE
    for _ in range(draw(st.integers(0, 40))):
        now += draw(st.sampled_from([0, 0, 0, 50, 350, 990, 1000, 8000])) * MS
        length = draw(st.sampled_from([20, 20, 100, 250, 400, 9000])) * MS
        words.append(Word(draw(text), now, now + length, 0.5))
        now += length
    return words, language


limits_strategy = st.builds(
    CueLimits,
    lines=st.integers(1, 3),
    line_width=st.integers(8, 60),
    min_ms=st.integers(100, 2000),
    max_ms=st.integers(2000, 9000),
    characters_per_second=st.floats(5, 40),
    gap_ms=st.sampled_from([0, 80]),
)


@often
@given(speech(), limits_strategy)
def test_every_word_appears_once_and_in_order(said, limits):
    words, language = said

    shown = "".join("".join(cue.lines) for cue in cues(words, limits, language))

    assert shown.replace(" ", "") == "".join(word.text for word in words)


@often
@given(speech(), limits_strategy)
def test_no_line_is_wider_and_no_cue_has_more_lines_than_allowed(said, limits):
    words, language = said

    for cue in cues(words, limits, language):
        assert 1 <= len(cue.lines) <= limits.lines
        assert all(columns(line) <= limits.line_width for line in cue.lines)
        assert all(line and line == line.strip() for line in cue.lines)


@often
@given(speech(), limits_strategy)
def test_cues_do_not_overlap_and_are_shown_as_long_as_allowed(said, limits):
    words, language = said
    shown = cues(words, limits, language)

    assert all(cue.start < cue.end <= cue.start + limits.max_ms * MS for cue in shown)
    assert all(cue.end - cue.start >= limits.min_ms * MS for cue in shown[-1:])
    for cue, after in pairwise(shown):
        # Shorter than the minimum only because the next one begins.
        assert cue.end <= after.start
        assert cue.end - cue.start >= limits.min_ms * MS or cue.end == after.start


@often
@given(speech())
def test_a_gap_is_kept_where_it_costs_no_minimum(said):
    words, language = said
    shown = cues(words, CueLimits(gap_ms=80), language)

    for cue, after in pairwise(shown):
        assert after.start - cue.end >= 80 * MS or cue.end - cue.start <= 1000 * MS


@often
@given(speech(), limits_strategy, st.data())
def test_more_words_change_no_cue_but_the_last(said, limits, data):
    words, language = said
    so_far = words[: data.draw(st.integers(0, len(words)))]

    shown = cues(so_far, limits, language)

    assert cues(words, limits, language)[: max(0, len(shown) - 1)] == shown[:-1]


@often
@given(speech())
def test_a_cue_begins_with_its_first_word(said):
    words, language = said
    starts = {word.start for word in words}

    for cue in cues(words, CueLimits(line_width=300), language):
        assert cue.start in starts


@pytest.mark.parametrize(
    ("text", "first_ends"),
    [
        ("This sentence has an end about here. And then another one goes on and on until it is full", "here."),
        ("This sentence has a clause about here, then another one goes on and on until it is full", "here,"),
        ("This sentence has a pause about here _ then another one goes on and on until it is full", "here"),
        ("This sentence has an end here. Then a clause of some length, and it goes on until it is all full", "here."),
        ("Yesterday the three of us talked about the captions with nobody other than Dr. Miller of Berlin", "Miller"),
    ],
    ids=["sentence", "clause", "pause", "sentence before clause", "no title without its name"],
)
def test_breaks_prefer_sentences_then_clauses_then_pauses(text, first_ends):
    first = cues(spoken(text), LIMITS)[0]

    assert first.text.replace("\n", " ").split()[-1] == first_ends


def test_a_line_does_not_end_on_a_short_function_word_if_another_break_does():
    words = spoken("The conference of the engineers was held in the city of Berlin last year")

    (cue,) = cues(words, LIMITS)

    assert cue.lines == ("The conference of the engineers", "was held in the city of Berlin last year")


def test_lines_are_much_alike_where_nothing_else_matters():
    (cue,) = cues(spoken("seven times eleven makes seventyseven every single day"), LIMITS)

    assert cue.lines == ("seven times eleven makes", "seventyseven every single day")


def test_a_short_text_stays_on_one_line():
    assert texts(cues(spoken("Hello, my friends."), LIMITS)) == ["Hello, my friends."]


def test_a_pause_of_a_second_ends_a_cue_and_the_cue_stays_to_be_read():
    words = [Word("Well,", 0, 300 * MS, 0.9), Word("no.", 1300 * MS, 1500 * MS, 0.9)]

    assert cues(words, LIMITS) == (Cue(0, 1000 * MS, ("Well,",)), Cue(1300 * MS, 2300 * MS, ("no.",)))


def test_a_cue_stays_until_it_can_be_read_if_nothing_else_is_said():
    fast = spoken("forty letters in a single second of time", letter_ms=20)

    (alone,) = cues(fast, LIMITS)
    followed, _ = cues([*fast, *spoken("next", start=2000 * MS)], LIMITS)

    assert alone.end == len(alone.text) * SAMPLE_RATE // 20
    assert followed.end == 2000 * MS


def test_wide_characters_are_given_twice_the_time_to_be_read():
    (cue,) = cues([Word("今天天气很好我们一起去公园散步", 0, 100, 0.9)], LIMITS, "zh")

    assert cue.end == 15 * 2 * SAMPLE_RATE // 20


def test_a_word_of_nine_seconds_is_shown_for_seven():
    words = [Word("Ommmm", 0, 9 * SAMPLE_RATE, 0.2), Word("yes", 9 * SAMPLE_RATE, 10 * SAMPLE_RATE, 0.9)]

    assert [(cue.start, cue.end) for cue in cues(words, LIMITS)] == [
        (0, 7 * SAMPLE_RATE),
        (9 * SAMPLE_RATE, 10 * SAMPLE_RATE),
    ]


def test_chinese_is_broken_between_characters_into_lines_of_half_as_many():
    text = "今天天气很好，我们一起去公园散步吧。明天可能会下雨，所以最好带一把雨伞。"
    words = [Word(text[i], i * 3200, (i + 1) * 3200, 0.9) for i in range(len(text))]
    shown = cues(words, LIMITS, "zh")

    assert "".join("".join(cue.lines) for cue in shown) == text
    assert max(len(line) for cue in shown for line in cue.lines) <= 21
    assert all(cue.lines[-1][-1] in "，。" for cue in shown)


def test_latin_words_within_chinese_keep_the_space_between_them():
    words = [Word(text, i * 3200, (i + 1) * 3200, 0.9) for i, text in enumerate(["我", "用", "GPT", "4", "写"])]

    assert texts(cues(words, LIMITS, "zh")) == ["我用GPT 4写"]


def test_thai_vowels_stay_on_their_consonants_when_a_long_run_is_cut():
    run = "ที่นี่" * 20
    shown = cues([Word(run, 0, 5 * SAMPLE_RATE, 0.9)], CueLimits(line_width=7), "th")

    assert "".join("".join(cue.lines) for cue in shown) == run
    assert all(unicodedata.category(line[0]) != "Mn" for cue in shown for line in cue.lines)


def test_a_thai_vowel_that_the_engine_took_for_a_word_stays_on_its_consonant():
    words = [Word(text, i * 3200, (i + 1) * 3200, 0.9) for i, text in enumerate("กิกิกิกิกิกิ")]

    assert texts(cues(words, CueLimits(line_width=4), "th")) == ["กิกิกิ\nกิกิกิ"]


def test_right_to_left_text_is_left_in_the_order_in_which_it_is_read():
    words = spoken("שלום, קוראים לי דנה.")

    assert texts(cues(words, LIMITS, "he")) == ["שלום, קוראים לי דנה."]


def test_segments_without_words_share_their_time_out_by_length():
    segment = Segment(number=0, start=0, end=10 * SAMPLE_RATE, text="abc " * 20, words=(), language="en")

    first, second = cues_of_segments([segment], LIMITS)

    said = first.text.split()
    assert (first.start, second.end) == (0, 10 * SAMPLE_RATE)
    assert second.start == len(said) * 10 * SAMPLE_RATE // 20
    assert [*said, *second.text.split()] == ["abc"] * 20


def test_each_segment_is_set_in_its_own_language():
    segments = [
        Segment(number=0, start=0, end=16_000, text="Hello there.", words=(), language="en"),
        Segment(number=1, start=16_000, end=32_000, text="你好GPT 4。", words=(), language="zh"),
    ]

    assert texts(cues_of_segments(segments, LIMITS)) == ["Hello there.", "你好GPT 4。"]


def test_blank_words_leave_no_trace():
    words = [Word(" ", 0, 100, 0.9), Word(" a\n\nb ", 200, 16_000, 0.9), Word("", 17_000, 18_000, 0.9)]

    assert texts(cues(words, LIMITS)) == ["a b"]
    assert cues([], LIMITS) == ()


@pytest.mark.parametrize(
    "wrong", [{"lines": 0}, {"line_width": 1}, {"min_ms": 8000}, {"gap_ms": -1}, {"characters_per_second": 0.0}]
)
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"must"):
        CueLimits(**wrong)


@often
@given(speech())
@example((spoken("1 00:00:01,000 --> 00:00:02,000 x", start=100 * 3600 * SAMPLE_RATE), "en"))
def test_srt_is_read_back_by_another_library(said):
    words, language = said
    shown = cues(words, LIMITS, language)

    read = list(srt_library.parse(srt(shown), ignore_errors=False))

    assert [item.content for item in read] == [cue.text for cue in shown]
    assert [item.index for item in read] == list(range(1, len(shown) + 1))
    for item, cue in zip(read, shown, strict=True):
        assert item.start.total_seconds() == pytest.approx(cue.start / SAMPLE_RATE, abs=0.001)
        assert item.end > item.start


@often
@given(speech())
@example((spoken("a < b && c --> d &amp; <i>e</i>", start=100 * 3600 * SAMPLE_RATE), "en"))
def test_vtt_is_read_back_by_another_library(said):
    words, language = said
    shown = cues(words, LIMITS, language)

    read = webvtt.from_string(vtt(shown))

    assert [unescaped(item.raw_text) for item in read] == [cue.text for cue in shown]
    for item, cue in zip(read, shown, strict=True):
        assert item.start_in_seconds == cue.start // SAMPLE_RATE


def unescaped(text):
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_vtt_text_holds_no_markup_and_no_arrow():
    written = vtt(cues(spoken("a<b --> c&d"), LIMITS))

    assert written == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\na&lt;b --&gt; c&amp;d\n\n"


def test_times_go_beyond_a_hundred_hours():
    cue = Cue((123 * 3600 + 4 * 60 + 5) * SAMPLE_RATE + 96, (123 * 3600 + 4 * 60 + 7) * SAMPLE_RATE, ("late",))

    assert srt([cue]) == "1\n123:04:05,006 --> 123:04:07,000\nlate\n\n"
    assert "123:04:05.006 --> 123:04:07.000" in vtt([cue])


def test_nothing_said_makes_an_empty_srt_and_a_bare_vtt():
    assert srt(()) == ""
    assert vtt(()) == "WEBVTT\n\n"


def test_the_documentation_shows_every_limit_as_it_is():
    page = (Path(__file__).parents[2] / "docs/topics/captions.md").read_text()
    written = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", page, re.MULTILINE))

    assert written == {field.name: f"{field.default:g}" for field in msgspec.structs.fields(CueLimits)}
