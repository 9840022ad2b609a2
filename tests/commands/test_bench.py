"""``streamasr bench`` on nano and recordings with known words, as a person runs it."""

import json
import shutil
from pathlib import Path

import pytest

from streamasr import cli
from streamasr.inference.models import resolve

DATA = Path(__file__).parents[1] / "data"
MODEL = ("--model", "nano", "--device", "cpu", "--threads", "1")


@pytest.fixture
def talks(tmp_path):
    """A directory with two recordings."""
    for name in ("seen_000", "seen_010"):
        shutil.copy(DATA / "seen" / f"{name}.flac", tmp_path)
    return tmp_path


@pytest.fixture
def bench(capsys, monkeypatch):
    """Runs the command; its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        try:
            code = cli.main(["bench", *map(str, words), *MODEL])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def test_recordings_with_a_manifest_are_measured_and_the_figures_shared(bench, talks, tmp_path):
    code, out, err = bench(talks, DATA / "manifest.jsonl", "--no-streams", "--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())

    assert code == 0, err
    assert "In per cent of 17 words of your transcripts" in out
    assert "your transcripts' word times" in out
    assert "Stable text never changed." in out
    assert figures["figures"]["lag"]["shown"][1] < 1.5
    assert figures["figures"]["speed"]["stages"]["encode"] > 0
    assert figures["facts"]["memory_after"] > figures["facts"]["memory_before"]
    assert "texts" not in figures
    assert "streamasr: without streaming" in err


def test_a_sweep_without_truth_writes_an_entry_that_the_model_takes(bench, talks, tmp_path):
    entry = tmp_path / "mine.toml"
    code, out, err = bench(
        talks / "seen_010.flac", "--no-streams", "--sweep", "--floors", "30", "--margins", "0", "--entry", entry
    )

    assert code == 0, err
    assert "words that differ" in out
    assert f"streamasr serve --model nano --model-entry {entry}" in out.replace("\n", " ")
    assert resolve("nano", entry_file=entry).encoder_floor_s == 30


def test_too_little_speech_leaves_no_entry_and_says_so(bench, talks, tmp_path):
    entry = tmp_path / "mine.toml"
    code, out, err = bench(
        talks / "seen_010.flac", "--no-streams", "--sweep", "--floors", "6", "--margins", "0", "--entry", entry
    )

    assert code == 1
    assert "Too little speech to tell" in out
    assert f"{entry} was not written" in err
    assert not entry.exists()


def test_a_recording_that_cannot_be_read_is_told_and_the_rest_is_measured(bench, talks):
    (talks / "broken.wav").write_text("no audio")
    code, out, err = bench(talks, "--no-streams")

    assert code == 1
    assert "broken.wav" in err
    assert "2 recordings" in out


def test_what_does_not_fit_the_limit_is_left_out(bench, talks):
    code, out, err = bench(talks, DATA / "manifest.jsonl", "--no-streams", "--minutes", "0.08")

    assert code == 0, err
    assert "2 recordings" in out
    code, out, err = bench(talks, "--no-streams", "--minutes", "0.05")
    assert "1 recording," in out
    assert "The last 1 of 2 recordings are left out" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.wav"], "none.wav"),
        (["seen_000.flac", "none.txt"], "none.txt: cannot be read"),
        (["talk.txt"], "expected a recording too"),
        (["seen_000.flac", "--entry", "x"], "--entry is for --sweep"),
        (["seen_000.flac", "--json", "none/x"], "--json: none/x cannot be written: there is no directory none"),
        (["seen_000.flac", "--sweep", "--floors", "two"], "--floors: expected seconds"),
        (["seen_000.flac", "--sweep", "--margins", "40"], "--margins: expected seconds from 0 to 30"),
        (["seen_000.flac", "--language", "fr"], "nano knows only"),
        (["seen_000.flac", "talk.txt", "--minutes", "0.02"], "no word times"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_sentence(bench, talks, monkeypatch, words, said):
    monkeypatch.chdir(talks)
    Path("talk.txt").write_text("He is so quiet")
    code, out, err = bench(*words)

    assert code == 2
    assert out == ""
    assert said in err.splitlines()[-1]


def test_the_help_tells_what_it_does(bench):
    code, out, _ = bench("--help")

    assert code == 0
    assert "AUDIO… [TRUTH…]" in out
    assert "--sweep" in out
