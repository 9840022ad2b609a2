"""Engines without a model, so that everything around one can be tested.

``ScriptedEngine`` says what it is told to say. ``FixedCostEngine`` costs what a table says, for questions of
capacity. ``ToneCodeEngine`` hears: its words are pairs of tones in the audio itself, so that words lost,
doubled, out of order or in the wrong session can be counted exactly, on audio that really travelled.
``ToneVad`` stands in for the voice-activity model on such audio.

Must not know sessions, nor how it is driven. Nothing here reads a clock.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window, Word
from streamasr.errors import WindowFailed

Answer = Hypothesis | WindowFailed

WORDS = 64
"""Words of the tone code's vocabulary: w00 to w63."""

FIRST_TOKEN = 1_000
"""The token id of w00."""

_FREQUENCIES = np.array([*range(400, 1_451, 150), *range(1_700, 3_101, 200)])
"""Hertz. Word 8 i + j is the i-th of the first eight and the j-th of the last eight; a telephone passes all."""

_MS = SAMPLE_RATE // 1_000
_FADE = 5 * _MS
_CORE = 140 * _MS
"""The middle of every word: where its tones are told apart."""
_TOLERANCE = 5 * _MS
_FLOOR = 0.002
"""Amplitude of silence, at most."""
_PAUSE = 20 * _MS
"""Silence that ends a word: longer than the tones' beat (4 ms), shorter than any gap."""


class _FakeEngine:
    """What the engines here share: an ``Engine`` whose subclasses answer one window at a time.

    A batch costs 1 ms and another 0.1 ms for each second of each window.
    """

    def __init__(self, max_batch_size: int = 16, parallel: int = 1) -> None:
        self._max_batch_size = max_batch_size
        self._parallel = parallel

    @property
    def parallel(self) -> int:
        """How many batches may be transcribed at once."""
        return self._parallel

    @property
    def max_batch_size(self) -> int:
        """The most windows one call takes."""
        return self._max_batch_size

    def batch_key(self, window: Window) -> Hashable:
        """As real engines have it: options that hold for a whole call."""
        return window.beam_size, window.temperature

    def cost(self, windows: int, encoder_samples: int) -> float:
        """Predicted seconds for a batch."""
        return 0.001 + 0.0001 * windows * encoder_samples / SAMPLE_RATE

    def transcribe(self, batch: Sequence[Window]) -> list[Answer]:
        """One answer for each window, in order."""
        return [self._answer(window) for window in batch]

    def close(self) -> None:
        """Nothing to free."""

    def _answer(self, window: Window) -> Answer:
        raise NotImplementedError


class ScriptedEngine(_FakeEngine):
    """Says what it is told to.

    Args:
        script: the answers by (lane, number), or a function of the window. What a function raises fails its
            whole batch; a window that a mapping lacks is answered with ``WindowFailed``.
        max_batch_size: the most windows in a batch.
    """

    def __init__(
        self,
        script: Mapping[tuple[str, int], Answer] | Callable[[Window], Answer],
        max_batch_size: int = 16,
    ) -> None:
        super().__init__(max_batch_size)
        self._script = script
        self.batches: list[tuple[Window, ...]] = []
        """Every batch it was given, in order."""

    def transcribe(self, batch: Sequence[Window]) -> list[Answer]:
        """One answer for each window, in order."""
        self.batches.append(tuple(batch))
        return super().transcribe(batch)

    def _answer(self, window: Window) -> Answer:
        if callable(self._script):
            return self._script(window)
        missing = WindowFailed(f"no answer is scripted for window {window.number} of lane {window.lane}")
        return self._script.get((window.lane, window.number), missing)


class FixedCostEngine(_FakeEngine):
    """Costs what a table says; hears a word every 0.4 s of the session clock, whatever the audio.

    Args:
        table: rows of (encoder samples, seconds of the first window, seconds of each further one), rising; a
            batch costs by the first row that is long enough, the last one if none is.
        spend: called with each batch's cost, on an engine's thread: waits so long, or advances a test's clock.
        max_batch_size: the most windows in a batch.
        parallel: how many devices it stands for.
    """

    def __init__(
        self,
        table: Sequence[tuple[int, float, float]],
        spend: Callable[[float], object],
        max_batch_size: int = 16,
        parallel: int = 1,
    ) -> None:
        super().__init__(max_batch_size, parallel)
        self._table = sorted(table)
        self._spend = spend

    def cost(self, windows: int, encoder_samples: int) -> float:
        """Seconds for a batch, by the table."""
        long_enough = (row for row in self._table if row[0] >= encoder_samples)
        _, first_s, further_s = next(long_enough, self._table[-1])
        return first_s + (windows - 1) * further_s

    def transcribe(self, batch: Sequence[Window]) -> list[Answer]:
        """One answer for each window, after the batch's cost has been spent."""
        self._spend(self.cost(len(batch), max(window.encoder_samples for window in batch)))
        return super().transcribe(batch)

    def _answer(self, window: Window) -> Hypothesis:
        step, length = 4 * SAMPLE_RATE // 10, 3 * SAMPLE_RATE // 10
        first = -(-window.anchor // step)
        last = (window.end - length) // step
        return _hypothesis(window, [_word(k % WORDS, k * step, k * step + length) for k in range(first, last + 1)])


class ToneCodeEngine(_FakeEngine):
    """Hears the words of ``tone_words`` in a window's own samples, each with its start and end to 5 ms.

    A word is heard exactly if it lies wholly inside the window; lacking less than 5 ms at an edge counts as
    wholly, and so does losing no more in a codec or a resampler. Two words on top of each other are not heard.
    Like Whisper it says the forced prefix in any case; ``prefix_mismatches`` counts when it was not what it heard.
    """

    def __init__(self, max_batch_size: int = 16) -> None:
        super().__init__(max_batch_size)
        self.prefix_mismatches = 0
        """Windows whose prefix the audio did not begin with: no correct session makes one."""
        weights = np.hanning(_CORE)
        time_s = np.arange(_CORE) / SAMPLE_RATE
        self._weights = weights / weights.sum()
        self._tones = 2 * self._weights * np.exp(-2j * np.pi * np.outer(_FREQUENCIES, time_s))

    def _answer(self, window: Window) -> Hypothesis:
        heard = self._hear(np.frombuffer(window.pcm, np.int16) / 32768, window.anchor)
        forced = _forced(window)
        if [word.tokens[0] for word in heard[: len(forced)]] != forced:
            self.prefix_mismatches += 1
        return _hypothesis(window, heard)

    def _hear(self, samples: NDArray[np.float64], anchor: int) -> list[Word]:
        loud = np.flatnonzero(np.abs(samples) > _FLOOR)
        words = []
        for run in np.split(loud, np.flatnonzero(np.diff(loud) > _PAUSE) + 1) if len(loud) else ():
            start, end = int(run[0]), int(run[-1]) + 1
            number = self._identify(samples[start:end])
            if number is not None:
                words.append(_word(number, anchor + start, anchor + end))
        return words

    def _identify(self, sound: NDArray[np.float64]) -> int | None:
        """Which word a sound between two silences is, if any: its tones must be pure and its length right."""
        if len(sound) < _CORE:
            return None
        begin = (len(sound) - _CORE) // 2
        core = sound[begin : begin + _CORE]
        # Not ``@``: BLAS would wake a thread on every core for this, and wait for them for milliseconds.
        levels = np.abs(np.einsum("ij,j->i", self._tones, core))
        low, high = int(levels[:8].argmax()), int(levels[8:].argmax())
        number = 8 * low + high
        pure = (levels[low] ** 2 + levels[8 + high] ** 2) / 2 > 0.9 * (self._weights @ core**2)
        balanced = 0.5 < levels[low] / levels[8 + high] < 2
        whole = abs(len(sound) - _length(number)) < _TOLERANCE
        return number if pure and balanced and whole else None


class ToneLane:
    """One lane's ``ToneVad``: the interface of the real one's lanes, without their state."""

    def score(self, frames: NDArray[np.float32]) -> list[float]:
        """Speech probabilities of frames, shape (n, 512)."""
        return tone_probability(frames)


class ToneVad:
    """Stands in for the voice-activity model where the speech is tones."""

    def lane(self) -> ToneLane:
        """A new lane."""
        return ToneLane()


def tone_probability(frames: NDArray[np.float32]) -> list[float]:
    """0.98 for each frame with a tone in it, 0.02 for silence; ``frames`` has shape (n, 512)."""
    level = np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1))
    return [0.98 if loud else 0.02 for loud in level > _FLOOR]


def tone_word_times(ids: Sequence[int], *, gap: int = 80 * _MS, lead: int = 0) -> list[tuple[int, int]]:
    """Start and end, in samples at 16 kHz, of the words that ``tone_words`` renders."""
    times = []
    at = lead
    for number in ids:
        times.append((at, at + _length(number)))
        at += _length(number) + gap
    return times


def tone_words(
    ids: Sequence[int],
    *,
    gap: int = 80 * _MS,
    lead: int = 0,
    tail: int = 0,
    sample_rate: int = SAMPLE_RATE,
    level: float = 0.2,
) -> NDArray[np.float32]:
    """Render words as mono audio.

    Args:
        ids: words, 0 to 63; each takes 160 to 240 ms, depending on which it is.
        gap: silence between two words, in samples at 16 kHz; at least 40 ms, 60 to 100 if it is to be speech.
        lead: silence before the first word, in samples at 16 kHz.
        tail: silence after the last word, in samples at 16 kHz.
        sample_rate: of the audio returned.
        level: amplitude of each of the two tones, at most 0.5; -40 dBFS is 0.01.
    """
    times = tone_word_times(ids, gap=gap, lead=lead)
    seconds = ((times[-1][1] if times else lead) + tail) / SAMPLE_RATE
    audio = np.zeros(round(seconds * sample_rate), np.float32)
    for number, (start, end) in zip(ids, times, strict=True):
        first, last = (round(sample * sample_rate / SAMPLE_RATE) for sample in (start, end))
        at = np.arange(first, last) / sample_rate
        edge = np.minimum(at - start / SAMPLE_RATE, end / SAMPLE_RATE - at) * SAMPLE_RATE / _FADE
        shape = np.sin(np.pi / 2 * edge.clip(0, 1)) ** 2
        low, high = _FREQUENCIES[number // 8], _FREQUENCIES[8 + number % 8]
        audio[first:last] = level * shape * (np.sin(2 * np.pi * low * at) + np.sin(2 * np.pi * high * at))
    return audio


def _length(number: int) -> int:
    """Samples of a word: 160 to 240 ms."""
    return (160 + 10 * (number % 9)) * _MS


def _word(number: int, start: int, end: int) -> Word:
    return Word(f" w{number:02d}", start, end, 0.99, (FIRST_TOKEN + number,))


def _forced(window: Window) -> list[int]:
    """The tokens that the hypothesis must begin with."""
    return list(window.prefix) or [FIRST_TOKEN + int(n) for n in re.findall(r"w(\d\d)", window.prefix_text)]


def _hypothesis(window: Window, heard: Sequence[Word]) -> Hypothesis:
    """What was heard, said as Whisper would: the forced prefix first, and no more than so many tokens after it."""
    forced = _forced(window)
    words = []
    for place, token in enumerate(forced):
        start, end = (heard[place].start, heard[place].end) if place < len(heard) else (window.end, window.end)
        words.append(_word(token - FIRST_TOKEN, start, end))
    words += heard[len(forced) : len(forced) + window.max_new_tokens]
    return Hypothesis(
        lane=window.lane,
        number=window.number,
        words=tuple(words),
        language=window.language or window.previous_language or next(iter(window.languages), "en"),
        no_speech_probability=0.01 if words else 0.99,
        average_logprob=-0.01,
    )
