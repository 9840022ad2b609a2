"""Words as the engine gives them to text and words as people read them.

The engine's punctuation marks stand alone, so that a word can be stable before the mark after it is; people
read marks with their word.
"""

from collections.abc import Sequence

from streamasr.core.events import Word
from streamasr.core.language import UNSPACED


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
    opening = ""
    for word in words:
        mark = is_mark(word)
        if shown and not word.text[0].isspace() and (mark or language not in UNSPACED):
            last = shown[-1]
            end = last.end if mark else word.end
            shown[-1] = Word(last.text + word.text.strip(), last.start, end, last.confidence)
        elif mark and not shown:
            opening += word.text.strip()
        else:
            shown.append(Word(opening + word.text.strip(), word.start, word.end, word.confidence))
            opening = ""
    return tuple(shown)


def spaced(word: Word) -> Word:
    """The word with a space before it, for a joint where the model began afresh."""
    if word.text[:1].isspace() or is_mark(word):
        return word
    return Word(" " + word.text, word.start, word.end, word.confidence, word.tokens)
