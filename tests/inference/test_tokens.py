"""A Whisper vocabulary: prompts, and tokens grouped to words whose texts are the decoded text."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from streamasr.errors import ModelError
from streamasr.inference.models import resolve
from streamasr.inference.tokens import TimedToken, Vocabulary, is_mark

NANO = Vocabulary(resolve("nano").path / "tokenizer.json")


def timed(ids):
    """Each token takes 100 samples and is as probable as its place says."""
    return [TimedToken(token, 100 * i, 100 * i + 100, 1 / (i + 1)) for i, token in enumerate(ids)]


def grouped(text, language="en"):
    return [word.text for word in NANO.words(timed(NANO.encode(text)), language)]


def test_the_special_tokens_of_a_task():
    ids = NANO.task_tokens("de", "transcribe")
    assert [NANO._tokenizer.id_to_token(i) for i in ids] == [
        "<|startoftranscript|>",
        "<|de|>",
        "<|transcribe|>",
        "<|notimestamps|>",
    ]
    assert NANO._tokenizer.id_to_token(NANO.task_tokens("de", "translate")[2]) == "<|translate|>"


def test_a_language_the_model_lacks_is_an_error():
    with pytest.raises(ModelError, match=r"lacks <\|xx\|>"):
        NANO.task_tokens("xx", "transcribe")


def test_its_languages_are_those_it_has_tokens_for():
    assert NANO.languages == ("en", "es", "de")


def test_text_survives_being_tokens():
    text = " “Hé”, 3.5 €\n 你好 😀 مرحبا"
    assert NANO.decode(NANO.encode(text)) == text


def test_special_tokens_and_timestamps_say_nothing():
    ids = [NANO.start, *NANO.encode(" one"), NANO.no_timestamps + 50, *NANO.encode(" two"), NANO.end]
    assert NANO.decode(ids) == " one two"


@pytest.mark.parametrize(
    "text", ["<|startoftranscript|>", "a <|endoftext|> b", "<|de|>", "<|0.00|> hi", "<|nospeech|>"]
)
def test_a_clients_text_cannot_say_special_tokens(text):
    """A prompt with one in it would be another prompt, for its whole batch."""
    assert max(NANO.encode(text), default=0) < NANO.first_special
    assert NANO.context_tokens(text, text, 223)[1:] == [
        i for i in NANO.context_tokens(text, text, 223)[1:] if i < NANO.first_special
    ]


def test_no_context_has_no_tokens():
    assert NANO.context_tokens("", " ", 223) == []


def test_the_context_is_hotwords_and_then_the_prompt():
    ids = NANO.context_tokens("as we said", "Zyx, Abc ", 223)
    assert ids[0] == NANO.previous
    assert NANO.decode(ids[1:]) == " Zyx, Abc as we said"


def test_of_a_long_context_the_end_counts():
    ids = NANO.context_tokens("many words " * 100 + "the end", "", 20)
    assert len(ids) == 20
    assert ids[0] == NANO.previous
    assert NANO.decode(ids).endswith(" the end")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" Hello, you there.", [" Hello", ",", " you", " there", "."]),
        (" don't", [" don't"]),
        (" it's 3.5 or 1,000", [" it's", " 3.5", " or", " 1,000"]),
        (" well-known", [" well-known"]),
        (" wait... what?!", [" wait", "...", " what", "?!"]),
        (" ¿Qué tal?", [" ¿Qué", " tal", "?"]),
        (' He said, "go".', [" He", " said", ",", ' "go', '".']),
        (" a - b", [" a", " -", " b"]),
        ("Hello", ["Hello"]),
        (" 20%", [" 20", "%"]),
        ("", []),
    ],
)
def test_words_and_marks_are_told_apart(text, words):
    """A mark inside a word belongs to it; one between or after words stands alone."""
    assert grouped(text) == words


def test_without_spaces_each_piece_of_whole_characters_is_a_word():
    assert grouped("你好，世界", "zh") == ["你", "好", "，", "世", "界"]


def test_right_to_left_words_are_told_apart():
    assert grouped(" مرحبا، كيف حالك؟", "ar") == [" مرحبا", "،", " كيف", " حالك", "؟"]


def test_a_word_has_the_times_and_the_mean_probability_of_its_tokens():
    ids = NANO.encode(" commander")
    assert len(ids) > 2
    (word,) = NANO.words(timed(ids), "en")
    assert (word.start, word.end, word.tokens) == (0, 100 * len(ids), tuple(ids))
    assert word.confidence == pytest.approx(sum(1 / (i + 1) for i in range(len(ids))) / len(ids))


def test_a_character_cut_off_at_the_end_is_none():
    ids = NANO.encode(" hi 😀")
    assert len(ids) > 3
    text = "".join(word.text for word in NANO.words(timed(ids[:-1]), "en"))
    assert text.rstrip() == " hi"


def test_a_broken_character_takes_no_words_with_it():
    """A model may say half a character and go on."""
    half = NANO.encode("😀")[:-1]
    words = NANO.words(timed([*NANO.encode(" one"), *half, *NANO.encode(" two three four five six seven")]), "en")
    text = "".join(word.text for word in words)
    assert text.startswith(" one")
    assert text.endswith(" four five six seven")
    assert words[-1].text == " seven"


TEXTS = st.text(st.sampled_from("ab é5'’.,?!-¿你好世مرح😀\n"), max_size=20)


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["en", "zh", "ar"]))
def test_the_words_always_give_the_text_in_order(text, language):
    ids = NANO.encode(text)
    words = NANO.words(timed(ids), language)
    assert "".join(word.text for word in words) == NANO.decode(ids) == text
    assert [token for word in words for token in word.tokens] == ids
    assert all(before.end <= after.start for before, after in itertools.pairwise(words))


def test_marks_have_neither_letters_nor_digits():
    assert [is_mark(text) for text in (",", " — ", "", "a", " 5", "你")] == [True, True, True, False, False, False]


def vocabulary(tmp_path, *tokens):
    """A vocabulary of these special tokens and no words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(tokens))
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return Vocabulary(path)


ENGLISH_ONLY = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|notimestamps|>",
)


def test_an_english_only_vocabulary_has_no_languages_and_no_tasks(tmp_path):
    english = vocabulary(tmp_path, *ENGLISH_ONLY)
    assert english.languages == ()
    assert english.task_tokens("en", "transcribe") == [english.start, english.no_timestamps]


def test_a_vocabulary_without_a_special_token_is_not_whispers(tmp_path):
    with pytest.raises(ModelError, match=r"is not a Whisper tokenizer: it lacks <\|translate\|>"):
        vocabulary(tmp_path, *[token for token in ENGLISH_ONLY if token != "<|translate|>"])
    with pytest.raises(ModelError, match=r"lacks <\|notimestamps\|>"):
        vocabulary(tmp_path, *ENGLISH_ONLY[:-1])


def test_a_file_that_is_no_tokenizer_is_an_error(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0"}))
    with pytest.raises(ModelError, match="is not a tokenizer file"):
        Vocabulary(path)
    with pytest.raises(ModelError, match="is not a tokenizer file"):
        Vocabulary(tmp_path / "missing.json")
