"""The features that are trained on are those the runtime makes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamasr.inference.features import log_mel
from training.mel import log_power, normalise, silence


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 200), st.integers(0, 50), st.integers(0, 2**31), st.sampled_from([0.01, 0.3, 1.0]))
def test_features_are_the_runtimes(frames, padding, seed, level):
    """For whole frames of any audio, with any padding after it."""
    noise = np.random.default_rng(seed).uniform(-level, level, 320 * frames)
    pcm = (noise * 32_767).astype(np.int16)

    power = log_power(pcm.astype(np.float32) / 32_768, 80)
    features = np.pad(
        normalise(power, float(power.max())),
        ((0, 0), (0, 2 * padding)),
        constant_values=silence(float(power.max())),
    )

    runtime = log_mel(pcm, 320 * (frames + padding), 80)
    assert features.shape == runtime.shape
    inside = [i for i in range(runtime.shape[1]) if not 2 * frames <= i < 2 * frames + 2]
    np.testing.assert_allclose(features[:, inside], runtime[:, inside], atol=1e-4)


def test_digital_silence_has_the_padding_of_its_own_floor():
    power = log_power(np.zeros(3_200, np.float32), 80)

    assert (normalise(power, float(power.max())) == log_mel(np.zeros(3_200, np.int16), 3_200, 80)).all()
