"""What the Makefile says to somebody whose machine is not ready: one sentence with what to install."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

OLD = """case "$*" in
    --version) echo Python 3.9.2 ;;
    *) exit 1 ;;
esac
"""
DEBIAN = """case "$*" in
    *ensurepip*) exit 1 ;;
esac
"""


def python(folder: Path, script: str) -> Path:
    """A Python of another machine."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)
    return path


def make(target: str, folder: Path, name: Path | str) -> tuple[int, list[str]]:
    """Exit code and lines of a target that has no virtual environment yet."""
    command = ["make", "-C", str(ROOT), "--no-print-directory", target, f"VENV={folder}/venv", f"PYTHON={name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).splitlines()


@pytest.mark.parametrize("target", ["demo", "serve", "test"])
def test_a_python_without_venv_names_the_package(tmp_path, target):
    code, lines = make(target, tmp_path, python(tmp_path, DEBIAN))

    assert code != 0
    assert len(lines) == 1
    assert "python3-venv" in lines[0]


def test_an_old_python_is_told_its_version_and_what_is_needed(tmp_path):
    code, lines = make("demo", tmp_path, python(tmp_path, OLD))

    assert code != 0
    assert len(lines) == 1
    assert "is Python 3.9.2" in lines[0]
    assert "3.11" in lines[0]
    assert "make PYTHON=python3.12 demo" in lines[0]


def test_no_python_at_all(tmp_path):
    code, lines = make("demo", tmp_path, "python-of-nobody")

    assert code != 0
    assert len(lines) == 1
    assert "no python-of-nobody" in lines[0]


def test_without_a_target_it_prints_every_target():
    done = subprocess.run(["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=True)
    targets = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")]

    assert {"demo", "serve", "test", "test-slow", "train-check", "lint", "format", "clean", "help"} == set(targets)
