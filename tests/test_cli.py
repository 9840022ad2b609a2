"""The command line: quick help, one sentence for what was started wrongly, and the embedded model for real."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import wave
from importlib.resources import files
from pathlib import Path

import pytest
from helpers import PATIENCE_S, Talk, talking

import streamasr
from streamasr import cli
from streamasr.inference.models import resolve


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "streamasr", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_command_and_imports_nothing_heavy():
    script = "import sys; from streamasr import cli; print(cli.parser().format_help()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    text, _, modules = done.stdout.strip().rpartition("\n")

    assert all(name in text for name in cli.COMMANDS)
    heavy = {"numpy", "ctranslate2", "onnxruntime", "uvicorn", "starlette", "rich", "websockets"}
    assert not heavy & set(modules.split())


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"streamasr {streamasr.__version__}\n"


def test_no_command_is_an_error_that_shows_the_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    assert "usage: streamasr" in capsys.readouterr().err


def _wrong(code: int, error: str, *parts: str) -> None:
    assert code == 2
    assert error.startswith("streamasr: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error


def test_a_missing_model_is_one_sentence(capsys, tmp_path):
    code = cli.main(["serve", "--port", "0", "--model", str(tmp_path / "none")])

    _wrong(code, capsys.readouterr().err, "model", "none")


def test_a_missing_file_of_a_model_is_one_sentence(capsys, tmp_path):
    shutil.copytree(resolve("nano").path, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    code = cli.main(["serve", "--port", "0", "--model", str(tmp_path / "model")])

    _wrong(code, capsys.readouterr().err, "tokenizer.json")


@pytest.mark.parametrize("kept", [0, 100_000], ids=["empty", "cut off"])
def test_a_broken_model_is_one_sentence_and_the_port_does_not_open(tmp_path, kept):
    shutil.copytree(resolve("nano").path, tmp_path / "model")
    weights = tmp_path / "model" / "model.bin"
    weights.write_bytes(weights.read_bytes()[:kept])
    done = run("serve", "--port", "0", "--model", str(tmp_path / "model"))

    _wrong(done.returncode, done.stderr, str(tmp_path / "model"))
    assert done.stdout == ""


def test_a_port_in_use_is_one_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        code = cli.main(["serve", "--model", "nano", "--port", port])

    _wrong(code, capsys.readouterr().err, port, "in use", "--port")


def test_a_wrong_setting_is_one_sentence(capsys, monkeypatch):
    monkeypatch.setenv("STREAMASR_PROT", "1")
    code = cli.main(["serve"])

    _wrong(code, capsys.readouterr().err, "STREAMASR_PROT", "STREAMASR_PORT")


async def test_ctrl_c_on_the_embedded_model_delivers_the_open_utterance_and_exits_0():
    with wave.open(str(files("streamasr") / "data" / "demo.wav")) as recording:
        audio = recording.readframes(2 * recording.getframerate())
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streamasr", "serve", "--model", "nano", "--port", "0", stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout
    try:
        async with asyncio.timeout(PATIENCE_S):
            while b"ws://" not in (line := await server.stdout.readline()):
                assert line, "it ended before it was ready"
        async with talking(line.split()[-1].decode(), sample_rate=16_000) as talk:
            await talk.audio(audio)
            await talk.until("partial")
            await _all_was_read(talk)
            server.send_signal(signal.SIGINT)
            assert (await talk.to_the_end())[0] == 1012
        async with asyncio.timeout(PATIENCE_S):
            assert await server.wait() == 0
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()

    truth = json.loads((Path(str(files("streamasr"))) / "data" / "demo.json").read_text("utf-8"))
    first = truth["words"][0]["word"].strip(".,").lower()
    (final,) = talk.of("final")
    assert final["reason"] == "drain"
    assert final["end"] == pytest.approx(2.0, abs=0.05)
    assert first in final["text"].lower()


async def _all_was_read(talk: Talk) -> None:
    await talk.say("ping")
    await talk.until("pong")
