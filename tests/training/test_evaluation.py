"""The evaluation's own measures, on literal words and times; and the table of goals."""

import pytest

from benchmarks.evalset import Recording, Span
from streamasr.bench.scoring import TimedWord
from streamasr.core.events import Hypothesis, Word
from training.evaluation.measure import invented, spoken_text, time_errors
from training.evaluation.table import ROWS, markdown, reached


def heard(*words: tuple[str, int, int]) -> Hypothesis:
    return Hypothesis(lane="", number=0, language="en", words=tuple(Word(text, a, b, 1.0) for text, a, b in words))


@pytest.mark.parametrize(
    ("begun", "hypothesis", "expected"),
    [
        ("turn on the kit", "turn on the", False),
        ("turn on the kitchen", "turn on the kitten", False),  # a guess at the word that was cut
        ("turn on the kitchen", "turn on the kitchen light", True),
        ("turn on", "turn in", False),
        ("turn", "", False),
        ("turn on the", "turn on the the the", True),
    ],
)
def test_invented_is_what_follows_every_word_that_had_begun(begun, hypothesis, expected):
    assert invented(begun.split(), hypothesis.split()) is expected


def test_word_times_are_compared_for_right_words_on_the_recordings_clock():
    words = (TimedWord("Go", 10.0, 10.5), TimedWord("home,", 10.5, 11.0), TimedWord("now.", 11.0, 11.5))
    recording = Recording(
        id="a", set="long", path="a.wav", text="Go home, now.", duration=40.0, voice="", lang="en", words=words
    )
    hypothesis = heard(("Go", 1_600, 9_600), (" house", 9_600, 17_600), (",", 17_600, 17_600), (" now", 17_600, 27_200))

    errors = time_errors(recording, Span(9 * 16_000 + 14_400, 12 * 16_000), hypothesis)

    assert errors == pytest.approx([0.0, 0.0, 0.0, 0.1])
    assert spoken_text(hypothesis) == "Go house, now"


def test_goals_are_reached_from_their_side():
    rows = {row.name: row for row in ROWS}

    assert reached(rows["wer_seen"], 8.0)
    assert reached(rows["wer_seen"], 8.1) is False
    assert reached(rows["language_percent"], 95.0)
    assert reached(rows["language_percent"], 94.9) is False
    assert reached(rows["wer_lang_de"], 1.0) is None


def test_the_table_has_a_column_for_each_edition():
    table = markdown([("new", {"wer_seen": 7.04, "silence_with_words": 0}), ("nano", {"wer_seen": 24.7})])

    lines = table.splitlines()
    assert lines[0] == "| measure | goal | new | nano |"
    assert lines[2] == "| WER `seen`, % | ≤ 8 | 7.0 ✓ | 24.7 |"
    assert "| `silence` files with words | ≤ 0 | 0 ✓ | – |" in lines
    assert all(line.count("|") == 5 for line in lines)
