"""Making clean speech less clean: level, noise and room on the signal, channels on the log-mel power."""

from random import Random

import numpy as np

from training.mel import Floats
from training.settings import Recipe
from training.windows.noise import NoiseBank, in_a_room, slow_levels

MELS_BELOW_300_HZ, MELS_BELOW_3400_HZ = 7, 58
"""Of 80 mel bins: the telephone's band lies between."""


class Augmenter:
    """Draws what happens to a window; the more of it, the further the run has come (0 to 1)."""

    def __init__(self, recipe: Recipe, bank: NoiseBank, rng: Random, generator: np.random.Generator) -> None:
        self._recipe, self._bank, self._rng, self._generator = recipe, bank, rng, generator

    def _happens(self, progress: float, easy: float, middle: float, late: float) -> bool:
        """With the chance of this stage of the run."""
        stage = (progress >= self._recipe.easy_until) + (progress >= self._recipe.long_from)
        return self._rng.random() < (easy, middle, late)[stage]

    def signal(self, signal: Floats, speakers: int, progress: float) -> Floats:
        """Speech as it may reach a microphone, shape as given."""
        rng = self._rng
        if speakers > 1 and rng.random() < 0.3:
            signal = signal * slow_levels(self._generator, len(signal), 0.4, 1.0)
        if self._happens(progress, 0.04, 0.06, 0.12):
            signal = in_a_room(signal, rng, self._generator)
        rms = np.sqrt((signal**2).mean() + 1e-9)
        if self._happens(progress, 0.12, 0.25, 0.45):
            noise = self._bank.piece(len(signal))
            signal = signal + noise * (rms / (noise.std() + 1e-6)) * 10 ** (-rng.uniform(5, 32) / 20)
        elif rng.random() < 0.5:
            hiss = self._generator.standard_normal(len(signal)).astype(np.float32)
            signal = signal + hiss * 10 ** (rng.uniform(-90, -55) / 20)
        return np.asarray(np.clip(signal * 10 ** (rng.uniform(-28, 3) / 20), -1, 1), np.float32)

    def power(self, power: Floats, progress: float) -> Floats:
        """Channels, on log10 mel power of shape (80, frames): a longer throat, an equaliser, a telephone."""
        rng = self._rng
        if self._happens(progress, 0.1, 0.1, 0.2):
            power = _warp(power, rng.uniform(0.92, 1.09))
        if self._happens(progress, 0.15, 0.2, 0.3):
            knots = rng.randrange(2, 6)
            gains = self._generator.uniform(-0.7, 0.7, knots)
            curve = np.interp(np.arange(len(power)), np.linspace(0, len(power) - 1, knots), gains)
            power = power + curve.astype(np.float32)[:, None]
        if rng.random() < 0.07:
            power = power.copy()
            power[:MELS_BELOW_300_HZ] -= rng.uniform(2, 5)
            power[MELS_BELOW_3400_HZ + rng.randrange(-2, 3) :] -= rng.uniform(2, 6)
        return power

    def features(self, features: Floats, progress: float) -> Floats:
        """Blots on the features (SpecAugment), in place; shape (80, frames)."""
        if not self._happens(progress, 0.1, 0.1, 0.3):
            return features
        rng, frames, mean = self._rng, features.shape[1], float(features.mean())
        for _ in range(rng.randrange(3)):
            width = rng.randrange(1, 10)
            at = rng.randrange(len(features) - width)
            features[at : at + width] = mean
        for _ in range(rng.randrange(2 + frames // 250)):
            width = rng.randrange(1, 10)
            at = rng.randrange(max(1, frames - width))
            features[:, at : at + width] = mean
        return features


def _warp(power: Floats, factor: float) -> Floats:
    """The mel axis stretched: what another length of the vocal tract does."""
    place = np.clip(np.arange(len(power)) * factor, 0, len(power) - 1)
    below = place.astype(int)
    share = (place - below)[:, None].astype(np.float32)
    above = power[np.minimum(below + 1, len(power) - 1)]
    return np.asarray(power[below] * (1 - share) + above * share, np.float32)
