"""Whole files beside faster-whisper, small; and the arithmetic on figures made up."""

import io
import json
import sys
import wave
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import beside, evalset, files
from benchmarks.beside import Disturbance
from benchmarks.files import BATCHED, OURS, Figures
from streamasr.bench.scoring import Errors

BUNDLED = str(evalset.PLACES[-1])


def figures(name, speeds, *totals):
    errors = [Errors(sub=total, words=100) for total in totals]
    return Figures(name=name, speeds=speeds, errors=errors, texts=[""] * len(errors))


def test_a_sample_is_measured_and_written(tmp_path, capsys):
    out = tmp_path / "out.json"

    code = files.main(
        f"--place {BUNDLED} --sets seen --every 4 --rounds 1 --beam 1 --threads 1 --no-plain --json {out}".split()
    )

    told = json.loads(out.read_text())
    assert code == 0
    assert [system["name"] for system in told["systems"]] == [OURS, BATCHED]
    assert all(text for system in told["systems"] for text in system["texts"])
    assert all(system["speeds"][0] > 0 for system in told["systems"])
    assert told["preparation_ms"]["together"] > 0
    assert "CPU milliseconds" in capsys.readouterr().out


def test_systems_take_turns_and_each_round_counts_by_itself():
    order = []

    class System:
        def __init__(self, name):
            self.name = name

        def transcribe(self, path, language):
            order.append((self.name, path.name))
            return "one"

    recordings = evalset.load(evalset.PLACES[-1], ("seen",))[:2]
    found = files.measure({"a": System("a"), "b": System("b")}, evalset.PLACES[-1], recordings, 2)

    first, second = (evalset.PLACES[-1] / r.path for r in recordings)
    one_round = [("a", first.name), ("b", first.name), ("a", second.name), ("b", second.name)]
    assert order == [("a", first.name), ("b", first.name), *one_round, *one_round]
    assert [len(f.speeds) for f in found] == [2, 2]


def test_speeds_are_compared_round_by_round_and_errors_file_by_file():
    ours = figures("ours", [10.0, 40.0, 30.0], 10, 20)
    other = figures("other", [5.0, 10.0, 30.0], 20, 30)

    assert files.speed_ratio(ours, other) == 2.0
    assert files.difference(ours, other).difference == pytest.approx(-10.0)
    (_, (name, speed, ratio, wer, difference)) = files.table([ours, other]).lines
    assert (name, speed, ratio, wer) == ("other", "10.0", "2.00", "25.0")
    assert difference.startswith("-10.0 [")


def test_a_disturbance_is_the_median_of_the_rounds_moves():
    found = Disturbance(
        alone=[(0.2, 0.5), (0.2, 0.4), (0.2, 0.5)], beside=[(0.3, 0.55), (0.2, 0.8), (0.2, 0.6)], file_seconds=60.0
    )

    assert found.moved == pytest.approx(0.2)
    assert files.disturbance_table(found).lines[1] == ("2", "0.20 / 0.40", "0.20 / 0.80", "+100 %")


def test_a_recording_is_sent_as_wav():
    samples = np.array([0, 1, -1, 32767], np.int16)
    with wave.open(io.BytesIO(beside.wav(samples))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert file.readframes(10) == samples.astype("<i2").tobytes()


@pytest.mark.slow
def test_live_streams_are_measured_with_and_without_a_file(tmp_path, capsys):
    """In real time, through a server of its own; the project's bound is 30 %, a busy machine's is wider."""
    out = tmp_path / "out.json"

    assert files.main(f"--beside --place {BUNDLED} --rounds 1 --streams 2 --json {out}".split()) == 0

    told = json.loads(out.read_text())
    assert len(told["alone"]) == len(told["beside"]) == 1
    assert 0 < told["beside"][0][1] < 5
    assert told["file_seconds"] > 0
    assert "beside a file" in capsys.readouterr().out


def test_openai_whisper_gets_the_decoded_file_and_the_same_beam_and_threads(monkeypatch):
    """It is not installed here; its interface is what is stood in for."""
    asked = {}

    class Model:
        def transcribe(self, audio, **options):
            asked.update(options, seconds=len(audio) / evalset.SAMPLE_RATE)
            return {"text": " one two "}

    def load_model(name, device):
        asked.update(name=name, device=device)
        return Model()

    monkeypatch.setitem(sys.modules, "whisper", SimpleNamespace(load_model=load_model))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(set_num_threads=lambda n: asked.update(threads=n)))
    recording = evalset.load(evalset.PLACES[-1], ("seen",))[0]

    system = files.OpenAIWhisper("tiny", threads=3, beam=4)
    assert system.transcribe(evalset.PLACES[-1] / recording.path, "en") == "one two"
    assert asked.pop("seconds") == pytest.approx(recording.duration, abs=0.1)
    assert asked == {"name": "tiny", "device": "cpu", "threads": 3, "language": "en", "beam_size": 4, "fp16": False}
