"""A recording's words, window by window, to segments of about a sentence.

A sentence that goes on over the joint of two windows stays one segment.
"""

from collections.abc import Iterable

import msgspec

from streamasr.core.events import SAMPLE_RATE, Hypothesis, Segment, Window, Word
from streamasr.core.language import UNSPACED
from streamasr.core.policy import ms
from streamasr.core.transcript import displayed, is_mark, spaced, text_of

END_MARKS = frozenset(".?!…。？！｡؟।॥۔։")
"""What ends a sentence."""

LONGEST_PAUSE = ms(1_000)
"""A pause this long ends a segment."""

LONGEST = 30 * SAMPLE_RATE
"""A segment is no longer than this."""


class Sentences:
    """One recording's segments."""

    def __init__(self, *, word_timestamps: bool) -> None:
        self._word_timestamps = word_timestamps
        self._words: list[Word] = []
        self._facts: Segment | None = None
        """A segment with the facts of the window in which the open one begins."""
        self._written_in = "en"
        """The language of its text: not what was spoken, if that was translated."""
        self._next = 0
        self._spoken_to = 0

    def add(self, words: Iterable[Word], hypothesis: Hypothesis, window: Window, *, afresh: bool) -> list[Segment]:
        """Take the words that come next.

        Args:
            words: words and marks as the engine gave them.
            hypothesis: where they were heard.
            window: what it was heard in.
            afresh: whether the model began anew with the first of them, not forced to what stands before it.

        Returns:
            Segments that are complete now.
        """
        complete: list[Segment] = []
        language = "en" if window.task == "translate" else hypothesis.language
        for word in words:
            joined = spaced(word) if afresh and language not in UNSPACED else word
            afresh = False
            if self._ends_before(joined, language):
                complete += self.flush()
            if not self._words:
                self._facts, self._written_in = _facts(hypothesis, window), language
            start = max(self._spoken_to, joined.start)
            self._spoken_to = max(start, joined.end)
            self._words.append(msgspec.structs.replace(joined, start=start, end=self._spoken_to))
        return complete

    def flush(self) -> list[Segment]:
        """End the open segment; it, if it has words."""
        words, self._words = self._words, []
        facts = self._facts
        if facts is None or not any(not is_mark(word) for word in words):
            return []
        shown = displayed(words, self._written_in)
        self._next += 1
        return [
            msgspec.structs.replace(
                facts,
                number=self._next - 1,
                start=words[0].start,
                end=words[-1].end,
                text=text_of(words),
                words=shown if self._word_timestamps else (),
            )
        ]

    def _ends_before(self, word: Word, language: str) -> bool:
        if not self._words or is_mark(word):
            return False
        last = self._words[-1]
        if last.text.strip()[-1] in END_MARKS and (word.text[:1].isspace() or language in UNSPACED):
            return True
        return word.start - last.end >= LONGEST_PAUSE or word.end - self._words[0].start > LONGEST


def _facts(hypothesis: Hypothesis, window: Window) -> Segment:
    """A segment without words."""
    return Segment(
        number=0,
        start=0,
        end=0,
        text="",
        words=(),
        language=hypothesis.language,
        language_probability=hypothesis.language_probability,
        average_logprob=hypothesis.average_logprob,
        no_speech_probability=hypothesis.no_speech_probability,
        compression_ratio=hypothesis.compression_ratio,
        temperature=window.temperature,
    )
