"""What the model is to say about a window: tokens, targets, the words' places, the encoder's letters.

The target holds the words that ended before the window did, and nothing else: a model that has learned this
invents nothing after the cut.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.settings import ENCODER_STEP
from training.tokenizer import BETWEEN, LETTERS, Span, Tokens, letters
from training.windows.plan import Placed, Plan

IGNORED = -100
"""A target that is not learned."""
LONGEST_BODY = 250
"""Tokens of one window's text; with context they fit the decoder's 448 positions."""
STAMPED = 0.42
"""Share of windows with timestamps."""
CORRUPTED = 0.04
"""Share of the decoder's input tokens that are wrong, so that it leans on the audio."""


class Targets(msgspec.Struct, frozen=True, kw_only=True):
    """Lists over the decoder's positions, but for the last two."""

    tokens: list[int]
    targets: list[int]
    """The token to come at each position, or IGNORED."""
    spans: list[Span | None]
    """Where each target is heard, in encoder frames."""
    letters: list[int]
    """For the encoder's head: what is said."""
    frames: NDArray[np.int64]
    """The letter at each encoder frame, len(LETTERS) between them; shape (encoder frames,)."""


class TargetMaker:
    """Makes targets; ``other_text`` gives unrelated words for context."""

    def __init__(self, tokens: Tokens, rng: Random, other_text: Callable[[], Sequence[str]]) -> None:
        self._tokens, self._rng, self._other_text = tokens, rng, other_text

    def make(self, plan: Plan, encoder_frames: int, *, stamps_allowed: bool) -> Targets | None:
        """The targets of a window, or None if its text is too long."""
        stamped = stamps_allowed and self._rng.random() < STAMPED
        body, spans = self._body(plan, stamped=stamped)
        if len(body) > LONGEST_BODY:
            return None
        head = self._context(plan.previous)
        prompt = [self._tokens.start, self._tokens.languages[plan.language], self._tokens.transcribe]
        prompt += [] if stamped else [self._tokens.no_timestamps]
        tokens = head + prompt + body
        targets = [*tokens[1:], self._tokens.end]
        targets[: len(head)] = [IGNORED] * len(head)
        if plan.silent:  # after <|startoftranscript|>: no speech; and then no text
            first = len(head)
            targets[first : first + 3] = [self._tokens.no_speech, IGNORED, IGNORED]
            if stamped:
                targets[first + 2 :] = [self._tokens.first_timestamp, self._tokens.end]
                tokens = [*tokens, self._tokens.first_timestamp]
        before: list[Span | None] = [None] * (len(head) + len(prompt) - 1)
        after: list[Span | None] = [None] * (len(targets) - len(before) - len(spans))
        return Targets(
            tokens=self._corrupt(tokens, len(head) + len(prompt)),
            targets=targets,
            spans=before + spans + after,
            letters=self._letters(plan),
            frames=frame_letters(plan, encoder_frames),
        )

    def _body(self, plan: Plan, *, stamped: bool) -> tuple[list[int], list[Span | None]]:
        """The text's tokens and where each is heard."""
        body: list[int] = []
        spans: list[Span | None] = []
        for part, (words, complete) in zip(plan.parts, plan.heard(), strict=False):
            if stamped:
                body.append(self._tokens.timestamp(part.words[0].start))
                spans.append(None)
            for word in words:
                body += self._tokens.word(word.word)
                spans += [
                    (a // ENCODER_STEP, b // ENCODER_STEP)
                    for a, b in self._tokens.spans(word.word, word.start, word.end)
                ]
            if stamped and complete:
                body.append(self._tokens.timestamp(words[-1].end))
                spans.append(None)
        return body, spans

    def _context(self, previous: Sequence[str]) -> list[int]:
        """<|startofprev|> and earlier text: what came before, or something unrelated, or nothing."""
        rng, tokens = self._rng, self._tokens
        related = bool(previous) and rng.random() < 0.67
        if not related and rng.random() >= 0.15:
            return []
        stamped = rng.random() < 0.4
        ids: list[int] = []
        for _ in range(rng.choice([0, 0, 1, 2, 4, 8]) if related else rng.choice([1, 1, 2, 4, 8, 12])):
            text = tokens.words(self._other_text())
            begins = rng.randrange(10 * 16_000)
            stamps = [tokens.timestamp(begins), tokens.timestamp(begins + 6_400 * len(text))]
            ids += [stamps[0], *text, stamps[1]] if stamped else text
        if related:
            ids += [tokens.timestamp(rng.randrange(10 * 16_000))] * stamped + tokens.words(previous)
        return [tokens.previous, *ids[-rng.choice([60, 120, 190]) :]]

    def _corrupt(self, tokens: list[int], first: int) -> list[int]:
        """The decoder's input with a few wrong text tokens from position ``first`` on."""
        wrong = [
            self._rng.randrange(self._tokens.end - 1)
            if token < self._tokens.end and self._rng.random() < CORRUPTED
            else token
            for token in tokens[first:]
        ]
        return tokens[:first] + wrong

    def _letters(self, plan: Plan) -> list[int]:
        spoken = [word for words, _ in plan.heard() for word in words]
        return [letter for word in spoken for letter in (*letters(word.word), BETWEEN)]


def frame_letters(plan: Plan, encoder_frames: int) -> NDArray[np.int64]:
    """The letter at each encoder frame: a word's letters evenly over its time, the blank elsewhere."""
    frames = np.full(encoder_frames, len(LETTERS), np.int64)
    for part in plan.parts:
        for word in part.words:
            if word.start < plan.end:
                _spell(frames, word, plan.end)
    return frames


def _spell(frames: NDArray[np.int64], word: Placed, end: int) -> None:
    ids = letters(word.word)
    bounds = [word.start + (word.end - word.start) * k // len(ids) for k in range(len(ids) + 1)] if ids else []
    for letter, (start, stop) in zip(ids, pairwise(bounds), strict=True):
        if start < end:
            first = start // ENCODER_STEP
            frames[first : max(first + 1, min(stop, end) // ENCODER_STEP)] = letter
