"""Log-mel features for training: the runtime's, stopped before the clamp, where channels can be imitated.

``tests/training`` holds them equal to ``streamasr.inference.features``.
"""

import math

import numpy as np
from numpy.typing import NDArray

from streamasr.inference.features import FLOOR, N_FFT, hann, mel_filters

HOP = 160
RANGE = 8.0
"""Decades below the loudest that are kept."""

Floats = NDArray[np.float32]


def log_power(signal: Floats, mels: int) -> Floats:
    """log10 mel power of whole frames of a signal followed by zeros, shape (mels, len(signal) // 160)."""
    half = N_FFT // 2
    frames = len(signal) // HOP
    padded = np.pad(np.pad(signal, (half, 0), mode="reflect"), (0, N_FFT))
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP][:frames]
    spectrum = np.fft.rfft(windows * hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = np.maximum(mel_filters(mels) @ power.T.astype(np.float32), FLOOR)
    return np.asarray(np.log10(mel), np.float32)


def normalise(power: Floats, top: float) -> Floats:
    """Log power as the model takes it: nothing more than 8 decades below ``top``, scaled to about -1 … 1."""
    return np.asarray((np.maximum(power, top - RANGE) + 4.0) / 4.0, np.float32)


def silence(top: float) -> float:
    """What a frame of zeros is in features whose loudest is ``top``."""
    return (max(math.log10(FLOOR), top - RANGE) + 4.0) / 4.0
