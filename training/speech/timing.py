"""When each word is spoken: from a synthesiser's incomplete word starts, by the energy of the audio.

Pure. Times are seconds of the audio as it came from the synthesiser.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

HOP_S = 0.005
PAUSE_S = 0.06
"""Quiet at a word's edge that is longer than this is a pause, not part of the word."""
MISSING_SHARE = 1 / 3
"""An utterance with more unknown word starts than this is thrown away."""

Span = tuple[float, float]


def word_spans(
    audio: NDArray[np.int16], rate: int, starts: Sequence[float | None], letters: Sequence[int]
) -> list[Span] | None:
    """Start and end of each word, or None if they cannot be told.

    Args:
        audio: one utterance, mono, shape (n,).
        rate: its sample rate in Hz.
        starts: the words' starts, None where the synthesiser ran two words together.
        letters: the words' lengths, by which the time of joined words is shared out.
    """
    duration = len(audio) / rate
    bounds = _complete(starts, letters, duration)
    if bounds is None:
        return None
    loud = _loud(audio, rate)
    spans = [_tighten(loud, first, after) for first, after in pairwise(bounds)]
    return None if any(span is None for span in spans) else [span for span in spans if span is not None]


def _complete(starts: Sequence[float | None], letters: Sequence[int], duration: float) -> list[float] | None:
    """The words' starts and the end of the last, unknown starts interpolated by letters."""
    missing = sum(start is None for start in starts)
    if starts[0] is None or missing > max(1, len(starts) * MISSING_SHARE):
        return None
    known = [i for i, start in enumerate(starts) if start is not None] + [len(starts)]
    bounds: list[float] = []
    for i, j in pairwise(known):
        first, after = starts[i] or 0.0, duration if j == len(starts) else starts[j] or 0.0
        share = np.cumsum([0, *letters[i:j]]) / max(1, sum(letters[i:j]))
        bounds += [float(first + (after - first) * part) for part in share[:-1]]
    bounds.append(duration)
    return bounds if all(a <= b for a, b in pairwise(bounds)) else None


def _loud(audio: NDArray[np.int16], rate: int) -> NDArray[np.bool_]:
    """For each hop of 5 ms: is there sound?"""
    hop = int(rate * HOP_S)
    hops = len(audio) // hop
    peaks = np.abs(audio[: hops * hop].astype(np.float32)).reshape(hops, hop).max(1, initial=0.0)
    return np.asarray(peaks > 0.01 * peaks.max(initial=0.0) + 8)


def _tighten(loud: NDArray[np.bool_], start: float, end: float) -> Span | None:
    """The word without pauses at its edges; None if it is silent."""
    first, after = round(start / HOP_S), min(len(loud), round(end / HOP_S))
    sounding = np.flatnonzero(loud[first:after])
    if not len(sounding):
        return None
    begins, ends = (first + sounding[0]) * HOP_S, (first + sounding[-1] + 1) * HOP_S
    return (float(begins) if begins - start >= PAUSE_S else start, float(ends) if end - ends >= PAUSE_S else end)
