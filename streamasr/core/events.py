"""The vocabulary every layer speaks: words, windows, hypotheses and what a session says.

Time is an ``int`` count of 16 kHz samples since the session's first sample: one absolute clock, so that
times cannot drift when silence is skipped. Everything here is a frozen value; a ``Window`` and a
``Hypothesis`` can cross a process or a network as they are.
"""

from typing import Literal

import msgspec

SAMPLE_RATE = 16_000
"""Samples per second of the session clock."""

FRAME = 512
"""Samples in one frame of the voice-activity model (32 ms)."""

GRID = 160
"""Samples between two mel frames (10 ms): anchors and utterance boundaries lie on this grid."""

FinalReason = Literal["endpoint", "flush", "stop", "max_length", "drain"]
"""Why an utterance ended."""

WindowKind = Literal["first", "partial", "final", "file"]
"""What a window is for, which decides its deadline: an utterance's first partial, a later one, a final, a file."""


class Word(msgspec.Struct, frozen=True):
    """A word, or a punctuation mark on its own, as the engine heard it."""

    text: str
    """As it joins what stands before it: with its leading space, if the language has one."""
    start: int
    end: int
    confidence: float
    """Mean token probability, 0 to 1."""
    tokens: tuple[int, ...] = ()
    """As generated; forced again as the prefix of later windows. Empty in what leaves the session."""


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of one lane's audio to be transcribed: stateless, so any worker may run it, and run it again."""

    lane: str
    """Which lane (a session's channel) it belongs to."""
    number: int
    """Counts up within the lane; the hypothesis carries it back."""
    kind: WindowKind
    anchor: int
    """The absolute sample at which ``pcm`` begins."""
    pcm: bytes
    """Mono int16, 16 kHz, native byte order."""
    encoder_samples: int
    """How much audio the encoder sees: ``pcm`` followed by zeros. At least the samples of ``pcm``."""
    prefix: tuple[int, ...] = ()
    """Token ids since the anchor that the hypothesis must begin with."""
    prefix_text: str = ""
    """The same as text, where no ids are known (a resumed utterance); used only if ``prefix`` is empty."""
    language: str | None = None
    """None: to be told from the audio, among ``languages`` (all if empty), leaning to ``previous_language``."""
    languages: tuple[str, ...] = ()
    previous_language: str | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str = ""
    hotwords: str = ""
    beam_size: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 64
    """Tokens that may be generated after the prefix."""
    budget_s: float = 0.6
    """Seconds after its submission by which its hypothesis is wanted: the batcher's deadline."""

    @property
    def samples(self) -> int:
        """How many samples of real audio it holds."""
        return len(self.pcm) // 2

    @property
    def end(self) -> int:
        """The absolute sample just after its audio."""
        return self.anchor + self.samples


class Hypothesis(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine heard in one window."""

    lane: str
    number: int
    words: tuple[Word, ...]
    """Words and punctuation marks from the anchor on, the forced prefix included, in order."""
    language: str
    language_probability: float = 1.0
    no_speech_probability: float = 0.0
    average_logprob: float = 0.0
    """Mean log-probability per generated token."""
    compression_ratio: float = 1.0
    """Bytes of the text over bytes of its zlib compression: repetition shows."""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a recording's transcript, about a sentence: what the file lane says, in order."""

    number: int
    """Counts up from 0."""
    start: int
    end: int
    text: str
    words: tuple[Word, ...]
    """Its words, each with its punctuation and without spaces around it; their tokens left out."""
    language: str
    language_probability: float = 1.0
    average_logprob: float = 0.0
    no_speech_probability: float = 0.0
    compression_ratio: float = 1.0
    temperature: float = 0.0
    """The last four are those of the window it was heard in."""


class SpeechStarted(msgspec.Struct, frozen=True, tag="speech_started"):
    """An utterance has begun."""

    utterance: int
    time: int


class Partial(msgspec.Struct, frozen=True, tag="partial"):
    """What is heard so far: ``stable + unstable`` is what to show, and ``stable`` only grows."""

    utterance: int
    start: int
    stable: str
    unstable: str
    words: tuple[Word, ...]
    """The stable part's words, each with its punctuation and without spaces around it."""


class Preflight(msgspec.Struct, frozen=True, tag="preflight"):
    """What the final will say, unless speech resumes."""

    utterance: int
    text: str
    words: tuple[Word, ...]


class SpeechResumed(msgspec.Struct, frozen=True, tag="speech_resumed"):
    """The utterance goes on after all: a preflight is taken back."""

    utterance: int
    time: int


class SpeechEnded(msgspec.Struct, frozen=True, tag="speech_ended"):
    """The utterance has ended; its final follows."""

    utterance: int
    time: int


class Final(msgspec.Struct, frozen=True, tag="final"):
    """What was said in one utterance; never changes."""

    utterance: int
    text: str
    words: tuple[Word, ...]
    language: str
    start: int
    end: int
    reason: FinalReason


class Flushed(msgspec.Struct, frozen=True, tag="flushed"):
    """Everything received before the flush of this id has been finalised."""

    id: str | int | None


class Warned(msgspec.Struct, frozen=True, tag="warning"):
    """Something the client should know; the session goes on."""

    code: str
    message: str


Event = SpeechStarted | Partial | Preflight | SpeechResumed | SpeechEnded | Final | Flushed | Warned
"""What a session says, in order."""
