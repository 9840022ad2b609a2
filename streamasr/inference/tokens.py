"""A Whisper vocabulary: special tokens, prompts, and tokens grouped to words.

Wraps the Hugging Face ``tokenizers`` file that every CTranslate2 Whisper model carries.
"""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from tokenizers import Tokenizer

from streamasr.core.events import Word
from streamasr.core.language import UNSPACED
from streamasr.errors import ModelError

SPECIALS = ("<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|translate|>", "<|startofprev|>")


class TimedToken(msgspec.Struct, frozen=True):
    """One generated token with its place in the audio."""

    id: int
    start: int
    end: int
    probability: float


ENGLISH_END = 50_256
"""``<|endoftext|>`` of the English-only vocabulary (51 864 tokens): one before that of the multilingual ones."""
LONGEST_CHARACTER = 6
"""Tokens that one character may take: its four bytes, and two that reach into its neighbours."""


class Vocabulary:
    """One model's tokens."""

    def __init__(self, path: Path) -> None:
        """Read ``tokenizer.json``.

        Raises:
            ModelError: the file is not a tokenizer, or not Whisper's.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:
            raise ModelError(f"{path} is not a tokenizer file: {error}") from error
        self._tokenizer.encode_special_tokens = True  # a client's "<|en|>" is text, not a token
        missing = [token for token in SPECIALS if self._tokenizer.token_to_id(token) is None]
        if missing:
            raise ModelError(f"{path} is not a Whisper tokenizer: it lacks {', '.join(missing)}")
        self.end, self.start, self.transcribe, self.translate, self.previous = map(self._id, SPECIALS)
        self.no_timestamps = self._id("<|notimestamps|>")
        self.first_special = min(self.end, self.start)
        self.languages = self._languages()

    def _languages(self) -> tuple[str, ...]:
        """The languages prompts can name. English-only models have tokens for them too, and never saw them."""
        if self.end == ENGLISH_END:
            return ()
        texts = (self._tokenizer.id_to_token(i) for i in range(self.start + 1, self.translate))
        return tuple(text[2:-2] for text in texts if text)

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ModelError(f"the tokenizer lacks {token}")
        return int(found)

    def encode(self, text: str) -> list[int]:
        """Text to ids: never special tokens, nor timestamps, whatever the text says."""
        return [i for i in self._tokenizer.encode(text, add_special_tokens=False).ids if i < self.first_special]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text; special tokens and timestamps say nothing."""
        return str(self._tokenizer.decode([i for i in ids if i < self.first_special]))

    def task_tokens(self, language: str, task: str) -> list[int]:
        """What stands between ``<|startoftranscript|>`` and the text, that token included."""
        task_token = self.translate if task == "translate" else self.transcribe
        if not self.languages:  # an English-only vocabulary has neither languages nor tasks
            return [self.start, self.no_timestamps]
        return [self.start, self._id(f"<|{language}|>"), task_token, self.no_timestamps]

    def context_tokens(self, prompt: str, hotwords: str, limit: int) -> list[int]:
        """``<|startofprev|>`` and the end of the hotwords and the prompt; empty if there are none."""
        text = " ".join(part.strip() for part in (hotwords, prompt) if part.strip())
        if not text:
            return []
        return [self.previous, *self.encode(" " + text)[-(limit - 1) :]]

    def words(self, tokens: Sequence[TimedToken], language: str) -> tuple[Word, ...]:
        """Group generated tokens to words; a punctuation mark between or after words stands alone.

        The texts, joined, are the decoded text. A mark inside a word ("don't", "3.5") belongs to it.
        """
        groups: list[list[tuple[str, list[TimedToken]]]] = []
        for text, piece in self._pieces(tokens):
            if groups and not _begins_word(text, groups[-1], language):
                groups[-1].append((text, piece))
            elif groups and _continues(groups, text, language):
                mark = groups.pop()
                groups[-1].extend([*mark, (text, piece)])
            else:
                groups.append([(text, piece)])
        return tuple(_word(group) for group in groups)

    def _pieces(self, tokens: Sequence[TimedToken]) -> list[tuple[str, list[TimedToken]]]:
        """The shortest runs of tokens that decode to whole characters, with their texts."""
        pieces: list[tuple[str, list[TimedToken]]] = []
        run: list[TimedToken] = []
        for token in tokens:
            if token.id >= self.first_special:
                continue
            run.append(token)
            text = self.decode([t.id for t in run])
            if "\ufffd" not in text or len(run) == LONGEST_CHARACTER:  # then a byte among them is wrong
                pieces.append((text, run))
                run = []
        if run:  # a character cut off at the end of generation is not a character
            pieces.append(("", run))
        return [(text, run) for text, run in pieces if text]


def is_mark(text: str) -> bool:
    """Whether a text has no letter or digit: punctuation, or space alone."""
    return not any(character.isalnum() for character in text)


def _begins_word(text: str, group: list[tuple[str, list[TimedToken]]], language: str) -> bool:
    """Whether a piece begins a new group after ``group``."""
    if language in UNSPACED:
        return True
    before = "".join(part for part, _ in group)
    if text[0].isspace():
        return not (is_mark(before) and before.strip() == "")
    if is_mark(text):
        return not is_mark(before)
    # Letters without a space go on with the word; after an opening mark (“ ( ¿) they are the word it opens.
    return is_mark(before) and not before[0].isspace()


def _continues(groups: list[list[tuple[str, list[TimedToken]]]], text: str, language: str) -> bool:
    """Whether letters after a mark inside a word ("don" "'" "t") go on with that word."""
    if language in UNSPACED or len(groups) < 2 or text[0].isspace() or is_mark(text):
        return False
    mark = "".join(part for part, _ in groups[-1])
    return is_mark(mark) and not mark[0].isspace()


def _word(group: list[tuple[str, list[TimedToken]]]) -> Word:
    tokens = [token for _, run in group for token in run]
    return Word(
        text="".join(text for text, _ in group),
        start=tokens[0].start,
        end=tokens[-1].end,
        confidence=sum(token.probability for token in tokens) / len(tokens),
        tokens=tuple(token.id for token in tokens),
    )
