"""Log-mel spectrograms as Whisper computes them, from int16 windows.

Follows the feature extraction of openai/whisper (``audio.py``): 25 ms Hann windows every 10 ms, Slaney mel
filters, log10, clamped to 8 below the window's maximum, scaled to about -1 … 1. Zeros after the audio are
not transformed: their frames are known.
"""

from collections import OrderedDict
from functools import cache
from threading import Lock

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
    signal = _float(pcm[:encoder_samples])
    rows = _log_energies(signal, 0, _sounding(len(signal), encoder_samples), n_mels)
    return _normalised(rows, encoder_samples)


class MelCache:
    """Remembers the frames of each lane's newest window: the next one usually begins at the same sample.

    It may miss: a window is still a value, and its features are the same with and without. Any thread may ask.
    """

    LANES = 128
    """The lanes remembered, those used last; 10 s of a lane are 0.6 MB."""

    def __init__(self, n_mels: int) -> None:
        self.n_mels = n_mels
        self._known: OrderedDict[str, tuple[NDArray[np.int16], Floats]] = OrderedDict()
        self._lock = Lock()

    def log_mel(self, lane: str, pcm: NDArray[np.int16], encoder_samples: int) -> Floats:
        """As the function of this name; what the lane's last window began with is not computed again."""
        signal = _float(pcm[:encoder_samples])
        count = _sounding(len(signal), encoder_samples)
        whole = max(0, (len(signal) - N_FFT // 2) // GRID + 1)  # frames that no further audio changes
        known = self._begins_with(lane, pcm, min(whole, count))
        rows = np.concatenate([known, _log_energies(signal, len(known), count, self.n_mels)])
        with self._lock:
            self._known[lane] = (pcm, rows[:whole])
            self._known.move_to_end(lane)
            if len(self._known) > self.LANES:
                self._known.popitem(last=False)
        return _normalised(rows, encoder_samples)

    def _begins_with(self, lane: str, pcm: NDArray[np.int16], most: int) -> Floats:
        """The first frames of ``pcm``, as far as they are known; shape (n, n_mels)."""
        with self._lock:
            before, rows = self._known.get(lane, (pcm[:0], np.empty((0, self.n_mels), np.float32)))
        rows = rows[:most]
        used = (len(rows) - 1) * GRID + N_FFT // 2
        if len(rows) < 2 or not np.array_equal(before[:used], pcm[:used]):
            return rows[:0]
        return rows


def _float(pcm: NDArray[np.int16]) -> Floats:
    return pcm.astype(np.float32) / np.float32(32768)


def _sounding(samples: int, encoder_samples: int) -> int:
    """How many frames hear some of the audio."""
    return min(encoder_samples // GRID, -(-(samples + N_FFT // 2) // GRID))


def _log_energies(signal: Floats, first: int, end: int, n_mels: int) -> Floats:
    """The logarithm of the mel energies of the frames from ``first`` up to ``end``; shape (end - first, n_mels).

    Frames are centred, with the left edge mirrored as torch.stft does; at the right there is room for zeros, unless
    the audio fills the encoder's window to its end.
    """
    if end <= first:
        return np.empty((0, n_mels), np.float32)
    half = N_FFT // 2
    begin = first * GRID - half
    if begin >= 0:
        heard = signal[begin:]
    else:
        left = signal[half:0:-1] if len(signal) > half else np.zeros(half, np.float32)
        heard = np.concatenate([left, signal])[first * GRID :]
    needed = (end - first - 1) * GRID + N_FFT
    heard = np.concatenate([heard[:needed], np.zeros(max(0, needed - len(heard)), np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(heard, N_FFT)[::GRID]
    spectrum = np.fft.rfft(windows * hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    bins, weights, begins = _sparse_filters(n_mels)
    energy = np.add.reduceat(power[:, bins] * weights, begins, axis=1)
    return np.asarray(np.log10(np.maximum(energy, FLOOR)), np.float32)


def _normalised(rows: Floats, encoder_samples: int) -> Floats:
    """The frames, with silence up to the encoder's length, clamped and scaled."""
    mel = np.full((rows.shape[1], encoder_samples // GRID), np.log10(FLOOR), np.float32)
    mel[:, : len(rows)] = rows.T
    np.maximum(mel, mel.max() - np.float32(8.0), out=mel)
    mel += np.float32(4.0)
    mel /= np.float32(4.0)
    return mel
