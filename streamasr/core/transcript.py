"""Words as the engine gives them to text and words as people read them.

The engine's punctuation marks stand alone, so that a word can be stable before the mark after it is; people
read marks with their word.
"""

from collections.abc import Sequence

from streamasr.core.events import Word
from streamasr.core.language import UNSPACED

STEP = 320
"""Samples in a step of alignment (20 ms)."""


def is_mark(word: Word) -> bool:
    """Whether a word is punctuation only."""
    return not any(character.isalnum() for character in word.text)


def normalised(word: Word) -> str:
    """What two hypotheses must agree on: letters and digits, case folded."""
    return "".join(c for c in word.text.casefold() if c.isalnum())


def text_of(words: Sequence[Word]) -> str:
    """The text of an utterance's words, without the space before its first."""
    return "".join(word.text for word in words).lstrip()


def displayed(words: Sequence[Word], language: str | None = None) -> tuple[Word, ...]:
    """Words with their punctuation and without spaces around them, tokens left out.

    A mark without a space before it belongs to the word before, a mark that opens the text to the word after.
    Letters without a space before them go on with the word before, where the language writes spaces.
    """
    shown: list[Word] = []
    for word in words:
        text, mark = word.text.strip(), is_mark(word)
        last = shown[-1] if shown and not word.text[0].isspace() else None
        if last is not None and is_mark(last) and not mark:
            shown[-1] = Word(last.text + text, word.start, word.end, word.confidence)
        elif last is not None and (mark or language not in UNSPACED):
            shown[-1] = Word(last.text + text, last.start, last.end if mark else word.end, last.confidence)
        else:
            shown.append(Word(text, word.start, word.end, word.confidence))
    return tuple(shown)


def spaced(word: Word) -> Word:
    """The word with a space before it, for a joint where the model began afresh."""
    if word.text[:1].isspace() or is_mark(word):
        return word
    return Word(" " + word.text, word.start, word.end, word.confidence, word.tokens)


def in_order(words: Sequence[Word], earliest: int) -> list[Word]:
    """Words with times that go forward: starts in order, no overlaps, and no word without a length.

    Alignment tells times in steps of ``STEP`` and may give several words one step. Starts move to the left
    first, so that nothing leaves the window, but never before ``earliest``. Marks may have no length.
    """
    least = [0 if is_mark(word) else STEP for word in words]
    starts = [word.start for word in words]
    for i in reversed(range(len(words))):
        after = starts[i + 1] if i + 1 < len(words) else words[i].end
        starts[i] = min(starts[i], after - least[i])
    ordered: list[Word] = []
    for i, word in enumerate(words):
        start = max(earliest, starts[i])
        earliest = start + least[i]
        end = (
            min(max(word.end, earliest), max(earliest, starts[i + 1]))
            if i + 1 < len(words)
            else max(word.end, earliest)
        )
        ordered.append(Word(word.text, start, end, word.confidence, word.tokens))
    return ordered
