"""Where windows begin and how much the encoder sees of them."""

from collections.abc import Sequence

from streamasr.core.events import GRID, Word
from streamasr.core.policy import Policy, ms
from streamasr.core.transcript import is_mark

BUCKETS = tuple(ms(1000 * s) for s in (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 30))
"""Encoder inputs come in these lengths, so that windows of many sessions share a batch."""

ENCODER_STEP = 2 * GRID
"""An encoder input is a whole number of its output frames (20 ms)."""

TOKENS_PER_SECOND = 12
"""How fast people speak at most, in tokens: with ``TOKENS_SPARE``, the bound on a window's new tokens."""
TOKENS_SPARE = 8
MAX_NEW_TOKENS = 200

CLOSE_GAP = ms(120)
"""Words closer than this have no pause between them to put an anchor in."""
BEFORE_WORD = ms(40)
"""How far before a word an anchor is put when there is no pause."""


def encoder_samples(length: int, policy: Policy) -> int:
    """How much audio the encoder is to see for a window of ``length`` samples: a bucket's length, or what is forced."""
    if policy.encoder_forced:
        return -(-max(policy.encoder_forced, length) // ENCODER_STEP) * ENCODER_STEP
    wanted = max(policy.encoder_floor, length + policy.encoder_margin)
    return next((bucket for bucket in BUCKETS if bucket >= min(wanted, BUCKETS[-1])), BUCKETS[-1])


def token_limit(unexplained: int) -> int:
    """How many tokens a window may add for so many samples after its stable text."""
    return min(MAX_NEW_TOKENS, TOKENS_SPARE + TOKENS_PER_SECOND * max(0, unexplained) // 16_000)


def pause_before(words: Sequence[Word], index: int) -> tuple[int, int]:
    """The silence before a word: from the end of the word before it (marks have no sound) to its start."""
    before = next((w.end for w in reversed(words[:index]) if not is_mark(w)), words[index].start)
    return min(before, words[index].start), words[index].start


def joint(words: Sequence[Word], index: int) -> int:
    """Where to cut before a word: in the middle of the pause before it, on the mel grid."""
    begin, end = pause_before(words, index)
    cut = (begin + end) // 2 if end - begin >= CLOSE_GAP else end - BEFORE_WORD
    return cut // GRID * GRID


def next_anchor(stable: Sequence[Word], anchor: int, end: int, policy: Policy) -> int | None:
    """Which stable word the next window should begin with: the one after the widest pause.

    Args:
        stable: the stable words since ``anchor``.
        anchor: where the window begins now.
        end: where it ends.
        policy: how far from the edges to stay.

    Returns:
        The word's index, at least two words from the end; None if no stable word qualifies.
    """
    words = [i for i, word in enumerate(stable) if not is_mark(word)]
    candidates = [
        i for i in words[1:-1] if anchor + policy.anchor_margin <= stable[i].start <= end - policy.anchor_margin
    ]
    if not candidates:
        return None
    return max(candidates, key=lambda i: (pause_before(stable, i)[1] - pause_before(stable, i)[0], i))
