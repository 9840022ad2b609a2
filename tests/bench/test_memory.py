"""The process's memory, as far as the system tells it."""

import sys

import numpy as np
import pytest

from streamasr.bench import memory


def test_memory_that_is_used_is_seen():
    before = memory.resident()
    if before is None:
        pytest.skip("this system does not tell")
    held = np.ones(8_000_000)

    assert memory.resident() > before + 0.8 * held.nbytes
    assert memory.peak() >= memory.resident() > 10_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="has another way")
def test_systems_without_a_status_file_are_asked_in_their_own_way(monkeypatch, tmp_path):
    usual = memory.resident()
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")

    assert memory.peak() > 10_000_000
    told = memory.resident()
    assert told is None or usual is None or abs(told - usual) < usual / 2
