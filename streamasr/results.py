"""What a transcription gives, for people and programs: words, segments and a transcript, in seconds.

The Python API returns these, the command line saves them, the server sends them as JSON. Knows the engine's
segments and the captions made of them; must not know where the audio came from.
"""

import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import msgspec

from streamasr.core import captions, events
from streamasr.core.captions import CueLimits
from streamasr.core.events import SAMPLE_RATE
from streamasr.core.language import UNSPACED
from streamasr.errors import ConfigError

DEFAULT_LIMITS = CueLimits()


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """A word with its punctuation, without spaces around it. ``text`` is ``word`` in JSON."""

    text: str = msgspec.field(name="word")
    start: float
    """Seconds from the beginning of the recording, as all times here."""
    end: float
    confidence: float
    """0 to 1."""


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the recording that could not be transcribed."""

    start: float
    end: float
    reason: str = ""


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """About a sentence. In JSON some fields have the names that Whisper's users know."""

    id: int
    """Counts up from 0."""
    start: float
    end: float
    text: str
    language: str
    """A Whisper code: "en", "de"."""
    language_probability: float = 1.0
    average_logprob: float = msgspec.field(name="avg_logprob", default=0.0)
    no_speech_probability: float = msgspec.field(name="no_speech_prob", default=0.0)
    compression_ratio: float = 1.0
    temperature: float = 0.0
    words: tuple[Word, ...] = ()
    """Empty if the words' times were not asked for."""

    @classmethod
    def of(cls, segment: events.Segment) -> Self:
        """The engine's segment in seconds."""
        return cls(
            id=segment.number,
            start=_seconds(segment.start),
            end=_seconds(segment.end),
            text=segment.text.strip(),
            language=segment.language,
            language_probability=round(segment.language_probability, 3),
            average_logprob=round(segment.average_logprob, 4),
            no_speech_probability=round(segment.no_speech_probability, 4),
            compression_ratio=round(segment.compression_ratio, 3),
            temperature=segment.temperature,
            words=tuple(
                Word(
                    text=word.text.strip(),
                    start=_seconds(word.start),
                    end=_seconds(word.end),
                    confidence=round(word.confidence, 3),
                )
                for word in segment.words
            ),
        )


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """A whole recording's transcript."""

    language: str
    """The language spoken longest; "" if nothing was said."""
    language_probability: float
    """The mean over that language's segments, by their length."""
    duration: float
    """Seconds of audio transcribed."""
    model: str
    segments: tuple[Segment, ...]
    failed: tuple[Stretch, ...] = ()
    """What could not be transcribed; the rest was."""

    @classmethod
    def of(
        cls,
        segments: Sequence[events.Segment],
        *,
        duration_s: float,
        model: str,
        failed: Iterable[Stretch] = (),
    ) -> Self:
        """The transcript of a recording, of the segments the file lane gave, in order."""
        language, probability = _spoken_longest(segments)
        return cls(
            language=language,
            language_probability=round(probability, 3),
            duration=round(duration_s, 3),
            model=model,
            segments=tuple(Segment.of(segment) for segment in segments),
            failed=tuple(
                msgspec.structs.replace(stretch, start=round(stretch.start, 3), end=round(stretch.end, 3))
                for stretch in failed
            ),
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """What ``to_json`` wrote; fields of a newer version are ignored.

        Raises:
            msgspec.DecodeError: it is no JSON, or no transcript.
        """
        return msgspec.json.decode(text, type=cls)

    @property
    def text(self) -> str:
        """All of it, on one line."""
        parts: list[str] = []
        for segment in self.segments:
            if parts and segment.text and segment.language not in UNSPACED:
                parts.append(" ")
            parts.append(segment.text)
        return "".join(parts)

    @property
    def words(self) -> tuple[Word, ...]:
        """All words, in order."""
        return tuple(word for segment in self.segments for word in segment.words)

    def to_text(self) -> str:
        """The text, a segment to a line."""
        return "".join(segment.text + "\n" for segment in self.segments)

    def to_json(self) -> str:
        """One JSON object, indented: ``text``, then this object's fields; ``docs/topics/captions.md`` lists them."""
        fields = {"text": self.text, **msgspec.to_builtins(self)}
        return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()

    def to_srt(self, limits: CueLimits = DEFAULT_LIMITS) -> str:
        """Captions as SubRip."""
        return captions.srt(self.to_cues(limits))

    def to_vtt(self, limits: CueLimits = DEFAULT_LIMITS) -> str:
        """Captions as WebVTT."""
        return captions.vtt(self.to_cues(limits))

    def to_cues(self, limits: CueLimits = DEFAULT_LIMITS) -> tuple[captions.Cue, ...]:
        """Captions as values, their times in samples at 16 kHz."""
        return captions.cues_of_segments([_engine_segment(segment) for segment in self.segments], limits)

    def save_text(self, path: str | os.PathLike[str]) -> None:
        """Write the text, a segment to a line. Whole or not at all, as all of these.

        Raises:
            ConfigError: the directory does not exist or cannot be written to; so do the other ``save_`` methods.
        """
        write_whole(path, self.to_text())

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Write ``to_json()``."""
        write_whole(path, self.to_json() + "\n")

    def save_srt(self, path: str | os.PathLike[str], limits: CueLimits = DEFAULT_LIMITS) -> None:
        """Write ``to_srt(limits)``."""
        write_whole(path, self.to_srt(limits))

    def save_vtt(self, path: str | os.PathLike[str], limits: CueLimits = DEFAULT_LIMITS) -> None:
        """Write ``to_vtt(limits)``."""
        write_whole(path, self.to_vtt(limits))


def _seconds(samples: int) -> float:
    return round(samples / SAMPLE_RATE, 3)


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def _engine_segment(segment: Segment) -> events.Segment:
    """The segment in samples again, as captions are made of."""
    return events.Segment(
        number=segment.id,
        start=_samples(segment.start),
        end=_samples(segment.end),
        text=segment.text,
        words=tuple(
            events.Word(word.text, _samples(word.start), _samples(word.end), word.confidence) for word in segment.words
        ),
        language=segment.language,
    )


def _spoken_longest(segments: Sequence[events.Segment]) -> tuple[str, float]:
    lengths: dict[str, int] = defaultdict(int)
    certain: dict[str, float] = defaultdict(float)
    for segment in segments:
        length = max(1, segment.end - segment.start)
        lengths[segment.language] += length
        certain[segment.language] += length * segment.language_probability
    if not lengths:
        return "", 0.0
    language = max(lengths, key=lambda code: lengths[code])
    return language, certain[language] / lengths[language]


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Write a file whole or not at all: a reader, or a resumed run, never finds half of it.

    Raises:
        ConfigError: the directory does not exist or cannot be written to.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ConfigError(f"{target} cannot be written: the directory {target.parent} does not exist.")
    partial = target.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with partial.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        partial.replace(target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
