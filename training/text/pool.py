"""All the sentences there are to read: written ones, a user's own, and endlessly many from templates.

What the evaluation sets say is never among them: ``data/held_out.txt`` holds the fingerprints of their
sentences, and more can be given.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from training.text.clean import clean
from training.text.sentence import Sentence, fingerprint, join, split
from training.text.templates import DATA, Templates, read_lines

HELD_OUT = DATA / "held_out.txt"
JOINED = 0.15
"""Share of utterances that are two or three sentences in a row."""
LONGEST = 30
"""Words of the longest utterance: far from the 30 seconds a window holds."""


class Pool:
    """A source of sentences of one language, none of them held out."""

    def __init__(self, language: str, own: Sequence[str] = (), held_out: frozenset[str] = frozenset()) -> None:
        """``own`` are lines of a user's text; ``held_out`` are fingerprints of what must not be used."""
        self._held_out = held_out
        self._templates = Templates(language)
        lines = [*read_lines(DATA / f"sentences.{language}.txt"), *own]
        cleaned = (clean(piece, language) for line in lines for piece in split(line))
        unique = {fingerprint(s.text): s for s in cleaned if s is not None}
        self.written = [s for key, s in unique.items() if key not in held_out]
        """The written sentences that can be used."""
        self.refused = len(unique) - len(self.written)
        """How many written sentences were left out because they are held out."""
        # The more written text there is, the more of it; 500 sentences make half and half.
        self._written_share = len(self.written) / (len(self.written) + 500)

    def draw(self, rng: Random) -> Sentence:
        """The text of one utterance."""
        sentences = [self._one(rng)]
        while len(sentences) < 3 and rng.random() < JOINED:
            sentences.append(self._one(rng))
        joined = join(sentences)
        return joined if len(joined.words) <= LONGEST else sentences[0]

    def _one(self, rng: Random) -> Sentence:
        if rng.random() < self._written_share:
            return rng.choice(self.written)
        while True:
            sentence = self._templates.make(rng)
            if not any(fingerprint(piece) in self._held_out for piece in split(sentence.text)):
                return sentence


def read_held_out(extra: Iterable[Path] = ()) -> frozenset[str]:
    """The fingerprints of the sentences that must not be trained on: the project's, and those of ``extra``.

    Raises:
        OSError: a file cannot be read.
        ValueError: a line of a manifest is not a JSON object with a ``text``.
    """
    found = set(read_lines(HELD_OUT))
    for path in extra:
        found |= set(fingerprints(read_texts(path)))
    return frozenset(found)


def read_texts(path: Path) -> list[str]:
    """The texts of a manifest (JSON objects with ``text``, one a line) or of a plain text file."""
    lines = read_lines(path)
    if path.suffix != ".jsonl":
        return lines
    rows = [json.loads(line) for line in lines]
    if not all(isinstance(row, dict) and isinstance(row.get("text"), str) for row in rows):
        raise ValueError(f"{path}: every line must be a JSON object with a text")
    return [row["text"] for row in rows]


def fingerprints(texts: Iterable[str]) -> list[str]:
    """The fingerprints of the texts' sentences, sorted."""
    return sorted({fingerprint(piece) for text in texts for piece in split(text)})
