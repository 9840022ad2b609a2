"""What is to be read aloud, and how it is written: a sentence of words, each with its spoken form.

Knows nothing of files, voices or tokens.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import msgspec


class Word(NamedTuple):
    """One word, with its punctuation."""

    written: str
    """As the transcript has it: ``7:30``."""
    spoken: str
    """As a synthesiser is to read it, one or more words: ``seven thirty``."""


class Sentence(msgspec.Struct, frozen=True):
    """One utterance's text."""

    language: str
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """As written."""
        return " ".join(word.written for word in self.words)


def plain(text: str) -> list[Word]:
    """Words that are spoken as they are written."""
    return [Word(piece, piece) for piece in text.split()]


def join(sentences: Iterable[Sentence]) -> Sentence:
    """Several sentences of one language, read in one breath."""
    parts = list(sentences)
    return Sentence(parts[0].language, tuple(word for part in parts for word in part.words))


def split(text: str) -> list[str]:
    """A text's sentences, at . ? and !"""
    return [piece for piece in re.split(r"(?<=[.?!])\s+", text.strip()) if piece]


def fingerprint(text: str) -> str:
    """What is equal for two writings of the same sentence: letters and digits, hashed to 16 hex digits."""
    folded = unicodedata.normalize("NFC", text).lower()
    letters = " ".join("".join(c if c.isalnum() else " " for c in folded).split())
    return hashlib.sha256(letters.encode()).hexdigest()[:16]
