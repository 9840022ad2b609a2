"""The mel features are Whisper's: the same as faster-whisper's for the same audio."""

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.inference.features import MelCache, hann, log_mel, mel_filters

RATE = 16_000


def speechlike(samples, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    wave = 0.3 * np.sin(2 * np.pi * 220 * time) * np.sin(2 * np.pi * 3 * time) + rng.normal(0, 0.02, samples)
    return np.clip(wave * 32_768, -32_768, 32_767).astype(np.int16)


def theirs(pcm, encoder_samples, n_mels):
    """Their features of the audio and zeros after it; they pad for one frame more than Whisper takes."""
    signal = np.zeros(encoder_samples, np.float32)
    signal[: len(pcm)] = pcm.astype(np.float32) / 32_768
    return FeatureExtractor(feature_size=n_mels)(signal, padding=0)[:, : encoder_samples // 160]


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize(
    ("samples", "encoder_s"), [(RATE, 2), (RATE // 2, 1), (3 * RATE - 7, 4), (5 * RATE, 10), (201, 1), (2_000, 30)]
)
def test_features_equal_those_of_faster_whisper(samples, encoder_s, n_mels):
    pcm = speechlike(samples)
    ours = log_mel(pcm, encoder_s * RATE, n_mels)
    assert ours.shape == (n_mels, encoder_s * 100)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs(pcm, encoder_s * RATE, n_mels), atol=2e-3)


def test_audio_that_fills_its_window_differs_in_the_last_frame_at_most():
    """They mirror the right edge, for us zeros follow: live audio has no end yet."""
    pcm = speechlike(2 * RATE)
    ours, reference = log_mel(pcm, 2 * RATE, 80), theirs(pcm, 2 * RATE, 80)
    np.testing.assert_allclose(ours[:, :-2], reference[:, :-2], atol=2e-3)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 200])
def test_hardly_any_audio_has_features_too(samples):
    features = log_mel(speechlike(samples), RATE, 80)
    assert features.shape == (80, 100)
    assert np.isfinite(features).all()


def test_silence_is_flat():
    np.testing.assert_allclose(log_mel(np.zeros(RATE, np.int16), RATE, 80), -1.5, atol=1e-6)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_the_filters_are_whispers(n_mels):
    reference = FeatureExtractor(feature_size=n_mels).mel_filters
    np.testing.assert_allclose(mel_filters(n_mels), reference, atol=1e-6)


def test_the_window_is_periodic():
    """One more sample would be the first again."""
    assert hann()[0] == 0
    assert hann()[200] == 1
    np.testing.assert_allclose(hann()[1:], hann()[1:][::-1], atol=1e-6)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_features_are_the_same_to_the_bit_whether_their_beginning_is_remembered_or_not(data):
    """Windows that grow, shrink, begin anew and change their audio, of several lanes, in any order."""
    cache = MelCache(80)
    sources = {seed: speechlike(2 * RATE, seed) for seed in range(3)}
    for _ in range(data.draw(st.integers(1, 8))):
        audio = sources[data.draw(st.sampled_from(sorted(sources)))]
        begin = data.draw(st.sampled_from([0, 160, 8_000]))
        pcm = audio[begin : begin + data.draw(st.integers(0, RATE))]
        lane = data.draw(st.sampled_from("ab"))

        ours = cache.log_mel(lane, pcm, RATE)

        np.testing.assert_array_equal(ours, log_mel(pcm, RATE, 80))


def test_only_the_lanes_used_last_are_remembered(monkeypatch):
    monkeypatch.setattr(MelCache, "LANES", 2)
    cache = MelCache(80)
    for lane in "abac":
        cache.log_mel(lane, speechlike(RATE), RATE)
    assert set(cache._known) == {"a", "c"}


def test_what_is_remembered_is_not_computed_again(monkeypatch):
    counted = []
    original = np.fft.rfft
    monkeypatch.setattr(np.fft, "rfft", lambda frames, axis: counted.append(len(frames)) or original(frames, axis=axis))
    cache, pcm = MelCache(80), speechlike(2 * RATE)
    cache.log_mel("a", pcm[:RATE], RATE)
    cache.log_mel("a", pcm, 2 * RATE)

    assert counted == [100, 101]  # the last frame of the first second heard too little
