"""The command line: what it prints, and one sentence and exit code 2 when something is missing."""

import json
from pathlib import Path

import pytest

from training.__main__ import main, own_text
from training.text.sentence import fingerprint

STEPS = ("synthesise", "train", "export", "evaluate", "check", "tokenizer", "fingerprints")


@pytest.mark.parametrize("step", STEPS)
def test_every_step_explains_itself(step, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([step, "--help"])

    assert exit_.value.code == 0
    assert f"python -m training {step}" in capsys.readouterr().out


def test_fingerprints_are_printed_one_a_line(tmp_path, capsys):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text(json.dumps({"text": "Go home. Now!"}) + "\n")

    assert main(["fingerprints", str(manifest)]) == 0

    assert capsys.readouterr().out.split() == sorted([fingerprint("go home"), fingerprint("now")])


def test_a_vocabulary_needs_speech_first(tmp_path, capsys):
    assert main(["tokenizer", "--work", str(tmp_path)]) == 2

    assert "run `python -m training synthesise` first" in capsys.readouterr().err


def test_missing_recordings_are_one_sentence(tmp_path, capsys):
    assert main(["evaluate", "--eval", str(tmp_path)]) == 2

    error = capsys.readouterr().err
    assert error.startswith("training: ")
    assert "manifest.jsonl" in error
    assert len(error.splitlines()) == 1


def test_a_model_that_is_none_is_one_sentence(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path), "--eval", str(tmp_path)]) == 2

    assert "training: model:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "language", "path"),
    [("de:a.txt", "de", "a.txt"), ("b.txt", "en", "b.txt"), ("a folder: x/c.txt", "en", "a folder: x/c.txt")],
)
def test_texts_may_name_their_language(argument, language, path):
    assert own_text(argument) == (language, Path(path))


def test_a_language_without_voices_is_refused(tmp_path, capsys):
    assert main(["synthesise", "--work", str(tmp_path), "--text", "fr:c.txt"]) == 2

    assert "no voices for 'fr'" in capsys.readouterr().err
