"""What a client may choose for its session, as values. Names, defaults and ranges are the native protocol's.

Knows nothing of JSON or of query strings: a dialect builds these and turns a violation into its own error.
"""

from typing import Annotated, Literal

import msgspec

Encoding = Literal["pcm_s16le", "pcm_f32le", "mulaw", "alaw"]
"""Sample encodings of raw audio."""

Task = Literal["transcribe", "translate"]

MIN_ENDPOINTING_MS = 200
"""Shorter endpointing counts as this: below it, sentences are chopped at the pauses inside them."""


class AudioFormat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bytes on the socket are; fixed for the session."""

    encoding: Encoding = "pcm_s16le"
    sample_rate: Annotated[int, msgspec.Meta(ge=8_000, le=48_000)] = 16_000
    """Samples per second and channel."""
    channels: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1
    """Interleaved; each channel is its own lane."""


class SessionOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to listen for and what to say; ``update`` may change these midway."""

    language: Annotated[str, msgspec.Meta(min_length=2, max_length=8)] = "auto"
    """A Whisper language code, or ``auto``: decided for each utterance, among ``languages``."""
    languages: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    """Candidates for ``auto``; empty: every language of the model."""
    task: Task = "transcribe"
    prompt: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    """Text in the style and with the spellings expected; given to the model before every window."""
    hotwords: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    """Words to expect, separated by commas or spaces."""
    endpointing_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 500
    """Silence that ends an utterance; below ``MIN_ENDPOINTING_MS`` counts as that."""
    interim_results: bool = True
    """Whether partials are sent."""
    word_timestamps: bool = True
    """Whether partials and finals carry their words."""
    preflight: bool = False
    """Whether a final is announced before its endpoint (``preflight``, ``speech_resumed``)."""


class FileOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a recording is to be transcribed. A threshold of None is the model's own."""

    language: Annotated[str, msgspec.Meta(min_length=2, max_length=8)] = "auto"
    """A Whisper language code, or ``auto``: told from the beginning of the speech, among ``languages``."""
    languages: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    """Candidates for ``auto``; empty: every language of the model."""
    task: Task = "transcribe"
    prompt: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    """Text in the style and with the spellings expected."""
    hotwords: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    """Words to expect, separated by commas or spaces."""
    beam_size: Annotated[int, msgspec.Meta(ge=1, le=20)] = 5
    temperatures: Annotated[tuple[Annotated[float, msgspec.Meta(ge=0, le=1)], ...], msgspec.Meta(min_length=1)] = (
        0.0,
        0.2,
        0.4,
        0.6,
        0.8,
        1.0,
    )
    """Tried in order until a hypothesis passes the thresholds."""
    word_timestamps: bool = True
    """Whether segments carry their words."""
    compression_ratio_threshold: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Text that compresses better than this repeats itself: the next temperature is tried."""
    logprob_threshold: Annotated[float, msgspec.Meta(le=0)] | None = None
    """Below this average log-probability the next temperature is tried."""
    no_speech_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Above this no-speech probability, and below the log-probability, a hypothesis is taken for none."""


class ResumePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a lane goes on after a reconnect."""

    sample: int = 0
    """The absolute sample at which its last final ended."""
    utterance: int = 0
    """The number of its next utterance."""
    language: str | None = None
    """The language of its last utterance."""
    tail: str = ""
    """The end of the text before, for models that carry context."""
    stable: str = ""
    """The stable text the client has shown of the open utterance: it stays true."""
    stable_end: int | None = None
    """The absolute sample at which the last word of ``stable`` ended, if the client knows."""
