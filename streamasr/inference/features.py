"""Log-mel spectrograms as Whisper computes them, from int16 windows.

Follows the feature extraction of openai/whisper (``audio.py``): 25 ms Hann windows every 10 ms, Slaney mel
filters, log10, clamped to 8 below the window's maximum, scaled to about -1 … 1. Zeros after the audio are
not transformed: their frames are known.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamasr.core.events import GRID, SAMPLE_RATE

N_FFT = 400
FLOOR = 1e-10
"""Power below this counts as this: the value of a frame of zeros."""

Floats = NDArray[np.float32]


@cache
def mel_filters(n_mels: int) -> Floats:
    """Slaney-style mel filters, shape (n_mels, 201), unit area in Hz, 0 to 8000 Hz."""
    lowest_log_hz, lowest_log_mel, step = 1000.0, 15.0, np.log(6.4) / 27
    top_mel = lowest_log_mel + np.log(SAMPLE_RATE / 2 / lowest_log_hz) / step
    mels = np.linspace(0.0, top_mel, n_mels + 2)
    hz = np.where(mels < lowest_log_mel, mels * 200 / 3, lowest_log_hz * np.exp(step * (mels - lowest_log_mel)))
    bins = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    width = np.diff(hz)
    rising = (bins - hz[:-2, None]) / width[:-1, None]
    falling = (hz[2:, None] - bins) / width[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (hz[2:] - hz[:-2]))[:, None]
    return np.asarray(filters, np.float32)


@cache
def _sparse_filters(n_mels: int) -> tuple[NDArray[np.intp], Floats, NDArray[np.intp]]:
    """The filters' bins and weights, filter after filter, and where each filter begins.

    Each bin is in two filters at most. Summing those is far less work than a matrix product, and a small
    product on BLAS threads costs milliseconds of waiting on a busy machine.
    """
    bins: list[int] = []
    weights: list[float] = []
    begins: list[int] = []
    for row in mel_filters(n_mels):
        begins.append(len(bins))
        inside = np.flatnonzero(row)
        inside = inside if len(inside) else np.zeros(1, np.intp)  # a narrow filter between two bins hears nothing
        bins += inside.tolist()
        weights += row[inside].tolist()
    return np.array(bins, np.intp), np.array(weights, np.float32), np.array(begins, np.intp)


@cache
def hann() -> Floats:
    """The periodic Hann window of ``N_FFT`` samples."""
    return np.hanning(N_FFT + 1)[:-1].astype(np.float32)


def log_mel(pcm: NDArray[np.int16], encoder_samples: int, n_mels: int) -> Floats:
    """The model's input for ``pcm`` followed by zeros up to ``encoder_samples``.

    Args:
        pcm: mono 16 kHz audio, shape (n,), n ≤ encoder_samples.
        encoder_samples: how much audio the encoder is to see; a multiple of 320.
        n_mels: the model's mel bins (80 or 128).

    Returns:
        Shape (n_mels, encoder_samples / 160).
    """
    frames = encoder_samples // GRID
    half = N_FFT // 2
    signal = pcm[:encoder_samples].astype(np.float32) / 32768.0
    # Frames are centred, with the edges mirrored as torch.stft does; at the right there is room for zeros,
    # unless the audio fills the encoder's window to its end.
    padded = np.pad(signal, (half if len(signal) > half else 0, 0), mode="reflect")
    if len(signal) <= half:
        padded = np.concatenate([np.zeros(half, np.float32), signal])
    sounding = min(frames, -(-(len(signal) + half) // GRID))
    needed = (sounding - 1) * GRID + N_FFT
    padded = np.concatenate([padded, np.zeros(max(0, needed - len(padded)), np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::GRID][:sounding]
    spectrum = np.fft.rfft(windows * hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = np.full((n_mels, frames), np.log10(FLOOR), np.float32)
    bins, weights, begins = _sparse_filters(n_mels)
    energy = np.add.reduceat(power[:, bins] * weights, begins, axis=1)
    mel[:, :sounding] = np.log10(np.maximum(energy.T, FLOOR))
    return np.asarray((np.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0, np.float32)
