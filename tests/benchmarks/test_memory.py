"""What a stream takes of memory, measured on a real server in a process of its own."""

import sys

import msgspec
import pytest

from benchmarks import memory
from benchmarks.evalset import ROOT
from benchmarks.memory import Figures, lines

FLAT = Figures(
    began="2026-01-01T00:00:00",
    command="python -m benchmarks.memory",
    idle_streams=50,
    speaking_streams=10,
    fresh=150_000_000,
    empty=160_000_000,
    idle=170_000_000,
    speaking=190_000_000,
    per_idle=200_000.0,
    per_speaking=2_000_000.0,
    per_speaking_most=4_000_000.0,
    churn_minutes=30.0,
    churn_sessions=700,
    churn_early=190_000_000,
    churn_late=191_000_000,
    after=180_000_000,
    points=(),
)


def test_every_mark_is_named_with_its_verdict():
    """Held or missed, with both numbers."""
    told = "\n".join(lines(FLAT))
    assert "an idle stream takes 0.20 MB (mark 1.00 MB): held" in told
    assert "a speaking stream takes 2.00 MB (mark 4.00 MB, at most 4.00 MB): held" in told
    assert "700 sessions in 30 minutes: 190 MB early, 191 MB late (+0.5%): held" in told
    leaking = msgspec.structs.replace(FLAT, per_idle=2e6, per_speaking=5e6, churn_late=220_000_000)
    assert "\n".join(lines(leaking)).count("missed") == 3


def test_without_churn_nothing_is_said_of_it():
    """Growth is not a number then, and not a failure."""
    still = msgspec.structs.replace(FLAT, churn_minutes=0.0, churn_early=None, churn_late=None)
    assert len(lines(still)) == len(lines(FLAT)) - 1
    assert not still.growth > memory.FLAT


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells what another process holds")
def test_a_real_server_is_measured_in_every_phase(tmp_path, monkeypatch, capsys):
    """Fresh, idle, speaking, coming and going, and empty again: so many clients are there each time."""
    monkeypatch.setattr(memory, "EVERY_S", 0.1)
    monkeypatch.setattr(memory, "CHURN_S", (0.3, 0.6))
    file = tmp_path / "memory.json"
    size = ["--idle", "3", "--speaking", "2", "--minutes", "0.03", "--scale", "0.03"]
    code = memory.main([*size, "--audio", str(ROOT / "tests" / "data"), "--json", str(file)])
    figures = msgspec.json.decode(file.read_bytes(), type=Figures)
    at_most = {}
    for point in figures.points:
        at_most[point.phase] = max(at_most.get(point.phase, 0), point.streams)
    assert at_most["fresh"] == at_most["empty"] == 0
    assert (at_most["3 idle"], at_most["3 idle, 2 speaking"]) == (3, 5)
    assert at_most["sessions come and go"] == 2
    assert figures.churn_sessions >= 4
    assert figures.points[-1].streams == 0
    assert all(point.rss_bytes > 50_000_000 for point in figures.points)
    assert ("missed" in capsys.readouterr().out) == (code == 1)
