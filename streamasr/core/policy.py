"""Every number of the streaming policy, in one frozen value, so that it can be swept.

Lengths of time are counts of 16 kHz samples. Why each number is what it is: docs/topics/streaming-policy.md.
"""

import msgspec


def ms(milliseconds: float) -> int:
    """Milliseconds as samples."""
    return round(milliseconds * 16)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a session turns audio to windows and hypotheses to text."""

    # The gate: speech probabilities to utterance boundaries.
    start_score: float = 0.5
    """Two of three frames at or above this begin an utterance."""
    stop_score: float = 0.35
    """A frame below this is silence."""
    pre_roll: int = ms(450)
    """Audio before the first speech frame that belongs to the utterance."""
    tail: int = ms(250)
    """Audio after the last speech frame that belongs to it."""
    eager: int = ms(160)
    """Silence after which the final is decoded, before its endpoint is decided."""
    raised_score: float = 0.15
    """Added to ``start_score`` after ``wordless`` of speech without words (music, noise)."""
    wordless: int = ms(8_000)

    # Windows.
    hop: int = ms(400)
    """New audio between two partials."""
    first_window: int = ms(300)
    """Speech before an utterance's first window."""
    encoder_floor: int = 0
    """The shortest encoder input that does the model no harm."""
    encoder_margin: int = 0
    """Zero audio the model wants after the speech."""
    encoder_forced: int = 0
    """If not 0: every encoder input is this long, or as long as its window if that is longer."""
    longest_window: int = ms(10_000)
    """A window this long makes its anchor move."""
    anchor_margin: int = ms(1_000)
    """How far from either edge of the window a new anchor keeps."""

    # Commits.
    agreed_age: int = ms(240)
    """How much later than the hypothesis agreed with a window must end."""
    agreed_lag: int = ms(400)
    """How far before the window's end an agreed word must end."""
    lone_lag: int = ms(1_500)
    """How far before the window's end a confident word must end without agreement."""
    lone_confidence: float = 0.5
    shown_lag: int = ms(300)
    """An unstable word that ends so close to the window's end …"""
    shown_confidence: float = 0.8
    """… with less confidence is not shown yet."""

    # Language, where it is ``auto``; nothing is stable before it is decided.
    language_early: int = ms(1_000)
    """Speech after which it is decided if the model is sure …"""
    language_sure: float = 0.9
    """… with this probability;"""
    language_late: int = ms(2_000)
    """speech after which it is decided anyway."""

    # Limits.
    stuck: int = ms(1_500)
    """Speech after the stable text without a new word, twice: the anchor moves to the end of the stable text."""
    longest_utterance: int = ms(60_000)
    cut_from: int = ms(40_000)
    """From this age on an utterance may be cut at a pause between stable words."""
    cut_pause: int = ms(500)
    """The pause it takes at ``cut_from``; it shrinks to nothing at ``longest_utterance``."""
    backlog: int = ms(4_000)
    """A lane further behind than this is being fed faster than real time: its windows wait like a file's."""
    doubtful_confidence: float = 0.3
    """An utterance whose last word touches its end with less confidence waits once more for its endpoint."""
    late_word: int = ms(150)
    """A word that begins later than this after the last speech was not said."""

    # Guards, from the model's entry; these are nano's.
    no_speech: float = 0.6
    no_speech_logprob: float = -1.0
    compression_ratio: float = 1.7
    tokens_per_second: float = 16.0
