"""Sentences: cleaned, made from templates, drawn, and never one that is held out."""

import json
import string
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.settings import LANGUAGES
from training.text import english
from training.text.clean import clean
from training.text.pool import LONGEST, Pool, fingerprints, read_held_out, read_texts
from training.text.sentence import Sentence, fingerprint, join, plain, split
from training.text.templates import DATA, NUMBERS, PIECE, Templates, read_lines


@pytest.mark.parametrize(
    ("line", "language", "text"),
    [
        ("the cat sat", "en", "The cat sat."),
        ("“Well,” she said — and left…", "en", "Well, she said, and left."),
        ("salt & pepper ,please !", "en", "Salt and pepper, please!"),
        ("the dogs' 'best' friend", "en", "The dogs best friend."),
        ("don't stop", "en", "Don't stop."),
        ("¿qué hora es?", "es", "¿qué hora es?"),
        ("Größe zählt nicht", "de", "Größe zählt nicht."),
    ],
)
def test_a_line_becomes_a_sentence_with_plain_punctuation(line, language, text):
    sentence = clean(line, language)

    assert sentence is not None
    assert sentence.text == text
    assert all(word.written == word.spoken for word in sentence.words)


@pytest.mark.parametrize(
    "line",
    [
        "word",
        "it costs 5 dollars",
        "the NASA rocket",
        "ask Dr Who",
        "naïve ideas",
        "a " * 15,
        "",
        "a supercalifragilistic word",
    ],
)
def test_what_voices_would_read_differently_is_not_used(line):
    assert clean(line, "en") is None


@given(st.text(st.sampled_from(string.printable + "äöüßéñ¿¡’“”–…"), max_size=80), st.sampled_from(LANGUAGES))
def test_cleaning_twice_changes_nothing(line, language):
    once = clean(line, language)

    assert once is None or clean(once.text, language) == once


@pytest.mark.parametrize(
    ("n", "words"), [(0, "zero"), (21, "twenty one"), (300, "three hundred"), (1_905, "one thousand nine hundred five")]
)
def test_numbers_in_words(n, words):
    assert english.spell(n) == words


@pytest.mark.parametrize(
    ("year", "words"),
    [(1900, "nineteen hundred"), (1905, "nineteen oh five"), (2000, "two thousand"), (2024, "twenty twenty four")],
)
def test_years_in_words(year, words):
    assert english.spell_year(year) == words


@pytest.mark.parametrize(
    ("n", "words"), [(3, "third3rd"), (11, "eleventh11th"), (20, "twentieth20th"), (22, "twenty second22nd")]
)
def test_ordinals(n, words):
    assert english.spell_ordinal(n) + f"{n}{english.ordinal_suffix(n)}" == words


@given(st.integers(0, 999_999))
def test_spelt_numbers_hold_no_figures(n):
    assert set(english.spell(n)) <= set(string.ascii_lowercase + " ")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_slot_of_every_template_can_be_filled(language):
    templates, rng = Templates(language), Random(1)

    for template in templates.templates:
        sentence = templates.render(template, rng)

        assert "{" not in sentence.text
        assert sentence.text[-1] in ".?!"
        assert len(sentence.words) >= sum(1 for _ in PIECE.findall(template))


def test_english_figures_have_a_spoken_form_without_figures():
    rng = Random(2)

    for slot in NUMBERS["en"].values():
        for word in (word for _ in range(50) for word in slot(rng)):
            assert not any(c.isdigit() for c in word.spoken)


def test_punctuation_after_a_slot_stays_with_its_word():
    sentence = Templates("en").render("Call {first}, at {time}.", Random(4))

    assert sentence.words[1].written.endswith(",")
    assert sentence.words[-1].written.endswith(".")
    assert sentence.words[-1].spoken.endswith(".")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_shipped_sentence_can_be_used(language):
    lines = [piece for line in read_lines(DATA / f"sentences.{language}.txt") for piece in split(line)]

    assert [line for line in lines if clean(line, language) is None] == []
    assert len(Pool(language).written) >= 100


def test_a_held_out_sentence_is_never_drawn():
    frequent = {"Yes, please.", "Stop.", "The music. Go back!"}
    held_out = frozenset(fingerprints(frequent))
    pool, rng = Pool("en", ["stop that noise", "go back"], held_out), Random(5)

    drawn = [piece for _ in range(3_000) for piece in split(pool.draw(rng).text)]

    assert not {fingerprint(piece) for piece in drawn} & held_out
    assert pool.refused == 1
    assert "Stop that noise." in drawn


def test_drawn_utterances_are_one_to_three_sentences_and_not_too_long():
    rng, pool = Random(6), Pool("de")

    drawn = [pool.draw(rng) for _ in range(500)]

    assert all(sentence.language == "de" and len(sentence.words) <= LONGEST for sentence in drawn)
    assert max(len(split(sentence.text)) for sentence in drawn) >= 2


def test_the_evaluation_sets_are_held_out(tmp_path):
    """The recordings that come with the project are among the fingerprints that ship with the tool."""
    manifest = Path(__file__).parents[1] / "data" / "manifest.jsonl"

    assert set(fingerprints(read_texts(manifest))) <= read_held_out()


def test_more_texts_can_be_held_out(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "One thing. Another thing!"}) + "\n")
    (tmp_path / "b.txt").write_text("# a comment\nA third thing\n")

    found = read_held_out([tmp_path / "a.jsonl", tmp_path / "b.txt"])

    expected = {fingerprint("another thing"), fingerprint("One thing"), fingerprint("a third thing.")}
    assert expected <= found - read_held_out()


def test_a_manifest_without_texts_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"words": []}\n')

    with pytest.raises(ValueError, match="must be a JSON object with a text"):
        read_texts(tmp_path / "a.jsonl")


def test_fingerprints_see_neither_case_nor_punctuation():
    assert fingerprint("It's 7:30, Anna!") == fingerprint("it s 7 30 anna")
    assert fingerprint("one two") != fingerprint("onetwo")


def test_joined_sentences_are_one_utterance():
    joined = join([Sentence("en", tuple(plain("Go back."))), Sentence("en", tuple(plain("Stop.")))])

    assert joined.text == "Go back. Stop."
