"""What else is to be heard: noises to mix in, rooms, and windows without speech. Signals are -1 to 1."""

from random import Random

import numpy as np

from training.mel import Floats
from training.settings import SAMPLE_RATE
from training.windows.corpus import Corpus

BANK_S = 40
HUMS = (50, 60, 120)
BABBLE_VOICES = 70
KINDS = ("white", "pink", "pink", "brown", "babble", "babble", "hum50", "hum60", "hum120")


def coloured(generator: np.random.Generator, samples: int, power: float) -> Floats:
    """Noise whose power falls with frequency to the ``power``: 0 white, 1 pink, 2 brown. RMS 1."""
    frequencies = np.fft.rfftfreq(samples)
    frequencies[0] = frequencies[1]
    size = len(frequencies)
    spectrum = generator.standard_normal(size) + 1j * generator.standard_normal(size)
    signal = np.fft.irfft(spectrum * frequencies ** (-power / 2), samples)
    return np.asarray(signal / signal.std(), np.float32)


class NoiseBank:
    """Forty seconds of every kind of noise, to take pieces of."""

    def __init__(self, corpus: Corpus, rng: Random, generator: np.random.Generator) -> None:
        self._corpus, self._rng, self._generator = corpus, rng, generator
        size = BANK_S * SAMPLE_RATE
        colours = {"white": 0.0, "pink": 1.0, "brown": 1.8}
        self._bank = {name: coloured(generator, size, power) for name, power in colours.items()}
        time = np.arange(size) / SAMPLE_RATE
        for base in HUMS:
            fall = rng.uniform(0.5, 1.5)
            partials = [np.sin(2 * np.pi * base * k * time + k) / k**fall for k in range(1, 12)]
            hum = np.sum(partials, axis=0)
            self._bank[f"hum{base}"] = np.asarray(hum / hum.std() + 0.05 * self._bank["white"], np.float32)
        self.renew_babble()

    def renew_babble(self) -> None:
        """Other people talking at once, from the corpus as it now is."""
        size = BANK_S * SAMPLE_RATE
        babble = np.zeros(size, np.float32)
        for _ in range(BABBLE_VOICES):
            voice = self._corpus.audio(self._rng.choice(self._corpus.entries))[: size // 2]
            at = self._rng.randrange(size - len(voice))
            babble[at : at + len(voice)] += voice * self._rng.uniform(0.3, 1)
        self._bank["babble"] = babble / (babble.std() + 1e-6)

    def piece(self, samples: int) -> Floats:
        """Some noise of RMS about 1, its level now and then changing slowly."""
        bank = self._bank[self._rng.choice(KINDS)]
        at = self._rng.randrange(len(bank) - samples)
        piece = bank[at : at + samples].copy()
        if self._rng.random() < 0.3:
            piece *= slow_levels(self._generator, samples, 0.2, 1.5)
        return piece

    def silence(self, samples: int) -> Floats:
        """A window without speech: digital silence, noise at any level, sometimes with clicks."""
        rng, kind = self._rng, self._rng.random()
        if kind < 0.25:
            faint = 1e-5 * self._generator.standard_normal(samples) * (rng.random() < 0.5)
            return faint.astype(np.float32)
        noise = self.piece(samples)
        if kind > 0.9:
            for _ in range(rng.randrange(1, 5)):
                at, width = rng.randrange(samples), rng.randrange(40, 2000)
                place = noise[at : at + width]
                decay = np.exp(-np.arange(len(place)) / (width / 4))
                place += (6 * self._generator.standard_normal(len(place)) * decay).astype(np.float32)
        return noise * np.float32(10 ** (rng.uniform(-70, -12) / 20))


def slow_levels(generator: np.random.Generator, samples: int, low: float, high: float) -> Floats:
    """A gain that wanders between two bounds."""
    knots = generator.uniform(low, high, 6)
    return np.interp(np.arange(samples), np.linspace(0, samples, 6), knots).astype(np.float32)


def in_a_room(signal: Floats, rng: Random, generator: np.random.Generator) -> Floats:
    """The signal with a decaying tail of reflections, 80 to 500 ms long; same length."""
    tail = int(rng.uniform(0.08, 0.5) * SAMPLE_RATE)
    response = generator.standard_normal(tail) * np.exp(-6.9 * np.arange(tail) / tail)
    response *= rng.uniform(0.15, 0.7) / np.sqrt((response**2).sum())
    response[: int(rng.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0
    response[0] = 1
    size = 1 << (len(signal) + tail - 1).bit_length()
    heard = np.fft.irfft(np.fft.rfft(signal, size) * np.fft.rfft(response, size), size)
    return heard[: len(signal)].astype(np.float32)
