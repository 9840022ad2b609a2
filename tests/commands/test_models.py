"""``streamasr models``, as a person runs it: in a process of its own, with the environment naming hub and cache."""

import json
import os
import subprocess
import sys

import pytest
from hub import LocalHub, files_of

from streamasr.inference.catalog import SIZES
from streamasr.inference.models import resolve

NANO = files_of(resolve("nano").path)


@pytest.fixture
def served():
    """Nano's files under a name of its own, and as tiny."""
    with LocalHub({"me/mine": NANO, "Systran/faster-whisper-tiny": NANO}) as running:
        yield running


@pytest.fixture
def streamasr(served, tmp_path):
    """Runs the command against that hub."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "STREAMASR_"))},
        "HF_ENDPOINT": served.url,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
    }

    def run(*words, **more):
        command = [sys.executable, "-m", "streamasr", "models", *words]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, timeout=60, check=False)

    return run


def test_a_download_to_a_directory_is_announced_checked_and_usable_without_a_hub(served, streamasr, tmp_path):
    to = tmp_path / "mine"
    done = streamasr("download", "me/mine@v1", "--to", str(to))

    assert done.returncode == 0, done.stderr
    assert f"streamasr serve --model {to}" in done.stdout
    assert f"7 MB from {served.url} (variable HF_ENDPOINT) to {to}; smaller: --model nano" in done.stderr
    assert "downloading me/mine: 100%" in done.stderr
    assert resolve(str(to)).size == "nano"

    assert streamasr("verify", str(to)).returncode == 0
    (to / "config.json").write_text("{}")
    spoilt = streamasr("verify", str(to))
    assert spoilt.returncode == 1
    assert "config.json is not what was downloaded" in spoilt.stderr


def test_the_list_shows_what_is_cached_what_auto_takes_and_why(served, streamasr, tmp_path):
    done = streamasr("download", "tiny")
    assert done.returncode == 0, done.stderr
    assert f"to {tmp_path / 'cache'} (variable HF_HUB_CACHE)" in done.stderr
    before = len(served.requests)

    listed = streamasr("list", "--json")

    assert len(served.requests) == before
    assert listed.stderr == ""
    found = json.loads(listed.stdout)
    rows = {row["name"]: row for row in found["models"]}
    assert list(rows) == [size.name for size in SIZES]
    assert [name for name, row in rows.items() if row["cached"]] == ["tiny"]
    assert f"{found['auto']['model']}: " not in found["auto"]["reason"]
    assert rows["nano"]["measured"]
    assert not rows["large-v3-turbo"]["translates"]
    assert rows["large-v3"]["real_time_factor_on_cpu"] > rows["tiny"]["real_time_factor_on_cpu"] > 0


def test_without_a_word_there_is_a_table_for_a_person(streamasr):
    done = streamasr(HF_HUB_OFFLINE="1")

    assert done.returncode == 0, done.stderr
    (turbo,) = [line for line in done.stdout.splitlines() if "large-v3-turbo = turbo" in line and "1621" in line]
    assert "reported" in turbo
    assert "auto takes " in done.stdout


def test_json_may_be_asked_for_without_a_word(streamasr):
    done = streamasr("--json", HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"]


@pytest.mark.parametrize("way", ["flag", "variable", "file"])
def test_the_list_is_for_the_device_that_the_server_would_have(streamasr, tmp_path, way):
    """Told by the words for one that no machine has."""
    (tmp_path / "server.toml").write_text('device = "abacus"\n')
    words, more = {
        "flag": (["list", "--device", "abacus"], {}),
        "variable": (["--json"], {"STREAMASR_DEVICE": "abacus"}),
        "file": (["list", "--config", str(tmp_path / "server.toml")], {}),
    }[way]
    done = streamasr(*words, **more)
    assert done.returncode == 2
    assert "expected one of auto, cpu, cuda, got 'abacus'" in done.stderr


def test_the_settings_reach_the_choice(streamasr):
    """A compute type that no CPU has is refused where the server would be, not ignored."""
    done = streamasr("list", "--device", "cpu", "--compute-type", "float16")
    assert done.returncode == 2
    assert "compute_type" in done.stderr


def test_a_download_checks_what_is_cached_and_mends_it(served, streamasr, tmp_path):
    assert streamasr("download", "me/mine").returncode == 0
    (path,) = (tmp_path / "cache").glob("models--me--mine/snapshots/*/model.bin")
    path.write_bytes(NANO["model.bin"][:-1] + b"?")
    done = streamasr("download", "me/mine")
    assert done.returncode == 0, done.stderr
    assert "model.bin: spoilt here, fetched again" in done.stderr
    assert path.read_bytes() == NANO["model.bin"]
    assert "its checksums are right" in done.stdout


@pytest.mark.parametrize(
    ("words", "more", "part"),
    [
        (["download", "smal"], {}, "did you mean small?"),
        (["download", "nano"], {}, "is on this machine already"),
        (["download", "me/other"], {}, "there is no me/other on http"),
        (["download", "me/mine"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids asking the hub"),
        (["download", "me/mine"], {"HF_ENDPOINT": "http://127.0.0.1:9"}, "http://127.0.0.1:9 (variable HF_ENDPOINT)"),
        (["verify", "nowhere"], {}, "nothing to compare with"),
    ],
)
def test_what_goes_wrong_is_one_sentence(streamasr, words, more, part):
    done = streamasr(*words, **more)

    assert done.returncode == 2
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("streamasr: model: ")
    assert part in last
    assert "Traceback" not in done.stderr
