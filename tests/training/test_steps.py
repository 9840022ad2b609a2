"""Every step of making a model, run for real on a model that is far too small: about a minute.

Without torch or espeak-ng it is skipped; with ``TRAINING_REQUIRED=1``, as in ``make train-check``, it fails.
"""

import os

import pytest

REQUIRED = os.environ.get("TRAINING_REQUIRED") == "1"

if not REQUIRED:
    pytest.importorskip("torch", reason="needs the training extra: pip install -e '.[training]'")

from training.check import check, falls  # noqa: E402 - torch may be missing
from training.speech import espeak  # noqa: E402

pytestmark = [
    pytest.mark.skipif(not REQUIRED and not espeak.available(), reason="needs the Debian package libespeak-ng1"),
]


def test_speech_is_made_a_model_trained_exported_and_heard(tmp_path):
    """The loss falls, a stopped run goes on, and both runtimes answer with the exported model."""
    report = check(tmp_path)

    assert "synthesise:" in report
    assert (tmp_path / "model" / "model.bin").stat().st_size < 5e6
    assert "| WER `seen`, % |" in report


def test_a_loss_that_does_not_fall_is_told():
    assert falls([8.0] * 5 + [6.0] * 40 + [5.0] * 5) == (8.0, 5.0)
    with pytest.raises(ValueError, match="does not fall"):
        falls([8.0, 7.0] * 20)
