"""Whisper's tokens: the shipped vocabulary, or a new one learned from text.

Layout: text tokens, the last of them empty (CTranslate2 takes its presence to mean "multilingual"), then
<|endoftext|>, <|startoftranscript|>, the languages, <|translate|>, <|transcribe|>, <|startoflm|>,
<|startofprev|>, <|nospeech|>, <|notimestamps|>, <|0.00|> … <|30.00|>.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Bpe

TEXT_TOKENS = 1_000
TIMESTAMPS = 1_501
LETTERS = "abcdefghijklmnopqrstuvwxyz'0123456789 "
"""What the training-only head of the encoder spells; its blank comes after them."""
BETWEEN = len(LETTERS) - 1
"""The letter between words."""

Span = tuple[int, int]


class Tokens:
    """A vocabulary, and what words are in it. Words are tokenised one by one, with a space before them."""

    def __init__(self, path: Path) -> None:
        self._bpe = Bpe.from_file(str(path))
        self.end = self._id("<|endoftext|>")
        """Ids below this are text."""
        self.start = self._id("<|startoftranscript|>")
        self.transcribe = self._id("<|transcribe|>")
        self.previous = self._id("<|startofprev|>")
        self.no_speech = self._id("<|nospeech|>")
        self.no_timestamps = self._id("<|notimestamps|>")
        self.first_timestamp = self._id("<|0.00|>")
        between = range(self.start + 1, self._id("<|translate|>"))
        self.languages = {self.text(i)[2:-2]: i for i in between}
        self.size = self._bpe.get_vocab_size()
        self.word = lru_cache(maxsize=100_000)(self._word)

    def _id(self, token: str) -> int:
        found = self._bpe.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer lacks {token}")
        return int(found)

    def text(self, token: int) -> str:
        """How a token is written in the vocabulary."""
        return str(self._bpe.id_to_token(token))

    def all_texts(self) -> list[str]:
        """Every token's text, by id."""
        return [self.text(i) for i in range(self.size)]

    def _word(self, word: str) -> tuple[int, ...]:
        """The ids of a written word with a space before it."""
        return tuple(self._bpe.encode(" " + word, add_special_tokens=False).ids)

    def words(self, words: Iterable[str]) -> list[int]:
        """The ids of several words."""
        return [i for word in words for i in self.word(word)]

    def timestamp(self, sample: int) -> int:
        """The token of a moment, in samples from the window's first; 30 s at most."""
        return self.first_timestamp + min(TIMESTAMPS - 1, max(0, round(sample / 320)))

    def spans(self, word: str, start: int, end: int) -> list[Span]:
        """Each token's share of a word's time, by its letters."""
        sizes = [max(1, len(self.text(i).strip("Ġ.,?!"))) for i in self.word(word)]
        bounds = [start + (end - start) * sum(sizes[:k]) // sum(sizes) for k in range(len(sizes) + 1)]
        return list(pairwise(bounds))


@lru_cache(maxsize=100_000)
def letters(word: str) -> tuple[int, ...]:
    """A written word as the encoder's letters."""
    folded = unicodedata.normalize("NFD", word.lower().replace("ß", "ss"))
    return tuple(LETTERS.index(c) for c in folded if c in LETTERS)


def learn(texts: Sequence[str], languages: Sequence[str], path: Path) -> None:
    """Learn a byte-level vocabulary from sentences and write it in Whisper's layout."""
    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator((" " + text for text in texts), trainer)
    description = json.loads(bpe.to_str())
    vocabulary, merges = description["model"]["vocab"], description["model"]["merges"]
    # faster-whisper suppresses the first token of " -", " '" and " ♪": none of them may be the bare space.
    for mark in ("-", "'", "â"):
        if "Ġ" + mark not in vocabulary:
            merges.append(["Ġ", mark])
            vocabulary["Ġ" + mark] = len(vocabulary)
    vocabulary[""] = len(vocabulary)
    bpe = Bpe.from_str(json.dumps(description))
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{language}|>" for language in languages)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    stamps = [f"<|{i * 0.02:.2f}|>" for i in range(TIMESTAMPS)]
    bpe.add_tokens([AddedToken(stamp, special=False, normalized=False) for stamp in stamps])
    bpe.save(str(path))
