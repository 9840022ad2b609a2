"""A sentence and a synthesiser to one corpus utterance: 16 kHz, trimmed, levelled, with word times."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import NamedTuple, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from training.settings import SAMPLE_RATE
from training.speech.timing import Span
from training.text.sentence import Sentence

SPEED = (0.88, 1.14)
"""Played so much faster or slower, pitch and all: more voices than there are."""
LEAD_S, TAIL_S = 0.05, 0.08
"""Kept before the first word and after the last."""
FADE_S = 0.008
PEAK = 0.6
QUIETEST_PEAK = 1e-3
"""A voice that stays below this has failed."""


class Synthesiser(Protocol):
    """Something that reads words aloud."""

    name: str

    def choose_voice(self, rng: Random, language: str) -> str:
        """A voice of the training corpus."""

    def speak(self, voice: str, words: Sequence[str], rng: Random) -> tuple[NDArray[np.int16], int, list[Span]] | None:
        """Mono audio (n,), its rate in Hz, each word's time in seconds; None if it cannot be done."""


class Spoken(NamedTuple):
    """One utterance. Times in samples from its first."""

    audio: NDArray[np.int16]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    voice: str


def speak(synthesiser: Synthesiser, sentence: Sentence, rng: Random) -> Spoken | None:
    """The sentence in a random voice at a random speed; None if this voice could not."""
    voice = synthesiser.choose_voice(rng, sentence.language)
    counts = [len(word.spoken.split()) for word in sentence.words]
    read = synthesiser.speak(voice, [w for word in sentence.words for w in word.spoken.split()], rng)
    if read is None:
        return None
    audio, rate, spans = read
    finished = _finish(audio, rate, _group(spans, counts), rng.uniform(*SPEED))
    return None if finished is None else finished._replace(voice=f"{synthesiser.name}:{voice}")


def _group(spans: Sequence[Span], counts: Sequence[int]) -> list[Span]:
    """The times of written words from those of the spoken words that each of them is."""
    bounds = np.cumsum([0, *counts])
    return [(spans[a][0], spans[b - 1][1]) for a, b in pairwise(bounds)]


def _finish(audio: NDArray[np.int16], rate: int, spans: Sequence[Span], speed: float) -> Spoken | None:
    """Resample, cut the silence at both ends, fade, level."""
    signal = soxr.resample(audio.astype(np.float32) / 32768, rate * speed, SAMPLE_RATE, quality="MQ")
    times = np.asarray(spans) / speed * SAMPLE_RATE
    first = max(0, int(times[0, 0] - LEAD_S * SAMPLE_RATE))
    after = min(len(signal), int(times[-1, 1] + TAIL_S * SAMPLE_RATE))
    signal = signal[first:after]
    peak = float(np.abs(signal).max(initial=0.0))
    fade = int(FADE_S * SAMPLE_RATE)
    if peak < QUIETEST_PEAK or len(signal) < 4 * fade:
        return None
    signal = signal / peak * PEAK
    signal[:fade] *= np.linspace(0, 1, fade)
    signal[-fade:] *= np.linspace(1, 0, fade)
    times = np.clip(np.round(times - first), 0, len(signal)).astype(int)
    return Spoken((signal * 32767).astype(np.int16), tuple(times[:, 0].tolist()), tuple(times[:, 1].tolist()), "")
