"""Recordings whose words and times are known: reading them, their utterances, their level.

They stand in a directory with ``manifest.jsonl`` (one recording a line) and the audio files that it names.
Knows nothing of servers or scores.
"""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamasr.bench.scoring import TimedWord

ROOT = Path(__file__).parents[1]
PLACES = (ROOT.parent / "shared" / "eval", ROOT / "tests" / "data")
"""Where recordings may be, the fullest first; the second comes with the project."""

SAMPLE_RATE = 16_000
UTTERANCE_GAP_S = 0.3
"""Words that are further apart are in different utterances."""
SPAN_MARGIN_S = 0.1
"""Audio that belongs to an utterance before its first and after its last word."""

Pcm = NDArray[np.int16]


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One recording and its truth. Times in seconds from its first sample."""

    id: str
    set: str
    path: str
    """Of the audio file, from the manifest's directory."""
    text: str
    duration: float
    voice: str
    lang: str
    words: tuple[TimedWord, ...]


class Span(msgspec.Struct, frozen=True):
    """One true utterance: samples [start, end) of its recording."""

    start: int
    end: int


def default_place() -> Path:
    """The fullest collection of recordings there is."""
    return next(place for place in PLACES if (place / "manifest.jsonl").exists())


def load(place: Path, sets: tuple[str, ...] = (), every: int = 1) -> list[Recording]:
    """Every ``every``-th recording of each of ``sets`` (of all, if empty), in the manifest's order."""
    lines = (place / "manifest.jsonl").read_text("utf-8").splitlines()
    recordings = [msgspec.json.decode(line, type=Recording) for line in lines]
    known = list(dict.fromkeys(recording.set for recording in recordings))
    if unknown := set(sets) - set(known):
        raise ValueError(f"no set {', '.join(sorted(unknown))} in {place}; there are {', '.join(known)}")
    return [r for name in sets or known for r in [x for x in recordings if x.set == name][::every]]


def read_audio(place: Path, recording: Recording) -> Pcm:
    """The recording's samples: mono, 16 kHz, shape (n,)."""
    import soundfile

    samples, rate = soundfile.read(str(place / recording.path), dtype="int16")
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise ValueError(f"{recording.path}: expected mono {SAMPLE_RATE} Hz, got {rate} Hz {samples.shape}")
    return np.asarray(samples, dtype=np.int16)


def utterances(recording: Recording) -> list[Span]:
    """The true utterances: words without a gap of ``UTTERANCE_GAP_S`` between them, and a margin around."""
    spans: list[tuple[float, float]] = []
    for word in recording.words:
        if spans and word.start - spans[-1][1] < UTTERANCE_GAP_S:
            spans[-1] = (spans[-1][0], max(spans[-1][1], word.end))
        else:
            spans.append((word.start, word.end))
    last = round(recording.duration * SAMPLE_RATE)
    return [
        Span(
            max(0, round((start - SPAN_MARGIN_S) * SAMPLE_RATE)),
            min(last, round((end + SPAN_MARGIN_S) * SAMPLE_RATE)),
        )
        for start, end in spans
    ]


def speech_level(pcm: Pcm, recording: Recording) -> float:
    """RMS level of the samples inside words, in dB below a full-scale square wave; -inf without words."""
    pieces = [pcm[round(w.start * SAMPLE_RATE) : round(w.end * SAMPLE_RATE)] for w in recording.words]
    power = np.mean(np.square(np.concatenate(pieces) / 32768.0)) if pieces else 0.0
    return 10 * float(np.log10(power)) if power > 0 else float("-inf")


def at_level(pcm: Pcm, recording: Recording, level_dbfs: float) -> Pcm:
    """The recording as loud as though its speech were at ``level_dbfs``; unchanged if it has no speech."""
    now = speech_level(pcm, recording)
    if np.isinf(now):
        return pcm
    scaled = np.round(pcm * 10 ** ((level_dbfs - now) / 20))
    return np.clip(scaled, -32768, 32767).astype(np.int16)
