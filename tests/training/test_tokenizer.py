"""Tokens: the shipped vocabulary, and learning another in Whisper's layout."""

import itertools

import pytest

from streamasr.inference.tokens import Vocabulary
from training.tokenizer import LETTERS, Tokens, learn, letters


def test_words_are_tokenised_one_by_one_as_in_running_text(tokens):
    running = tokens.words(["The", "quick", "brown", "fox", "doesn't", "like", "42", "dogs", "at", "7:30."])

    spelled = "".join(tokens.text(token) for token in running).replace("Ġ", " ")
    assert spelled == " The quick brown fox doesn't like 42 dogs at 7:30."
    assert all(token < tokens.end for token in running)


@pytest.mark.parametrize(
    ("sample", "text"), [(0, "<|0.00|>"), (16_000, "<|1.00|>"), (159, "<|0.00|>"), (900_000, "<|30.00|>")]
)
def test_moments_have_tokens(tokens, sample, text):
    assert tokens.text(tokens.timestamp(sample)) == text


def test_a_words_tokens_share_its_time_without_gaps(tokens):
    spans = tokens.spans("understanding.", 1_000, 9_000)

    assert len(spans) == len(tokens.word("understanding."))
    assert spans[0][0] == 1_000
    assert spans[-1][1] == 9_000
    assert all(before[1] == after[0] for before, after in itertools.pairwise(spans))


def test_letters_leave_out_accents_and_marks():
    assert "".join(LETTERS[i] for i in letters("¿Größe-é?")) == "grossee"


def test_a_new_vocabulary_has_whispers_layout(tmp_path):
    path = tmp_path / "tokenizer.json"

    learn(["The cat sat on the mat.", "Der Hund schläft."] * 20, ("en", "de"), path)

    ours, runtimes = Tokens(path), Vocabulary(path)
    assert list(ours.languages) == ["en", "de"] == list(runtimes.languages)
    assert ours.all_texts()[ours.end - 1] == ""
    assert ours.all_texts()[-1] == "<|30.00|>"
    assert ours.first_timestamp == ours.no_timestamps + 1
    assert runtimes.decode(ours.words(["The", "Hund", "sat."])) == " The Hund sat."


def test_another_tokenizer_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    learn(["a b"], ("en",), path)
    path.write_text(path.read_text().replace("<|nospeech|>", "<|nothing|>"))

    with pytest.raises(ValueError, match=r"lacks <\|nospeech\|>"):
        Tokens(path)
