"""The file command: what is written where, what is skipped, what is said of what fails, and the exit codes."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import pytest
import srt
import webvtt

from streamasr import cli
from streamasr.commands.ledger import LEDGER
from streamasr.core.events import Segment as Heard
from streamasr.core.events import Word
from streamasr.errors import InvalidSetting, MediaError, Refused, Unavailable
from streamasr.results import Transcript
from streamasr.wire.files import DoneMessage, LostMessage, ProgressMessage, said

RATE = 16_000
DONE = DoneMessage(language="en", language_probability=1.0, duration=6.0, model="scripted")


def segment(number: int, text: str):
    words = text.split()
    times = [(number * 3 + k / 2) * RATE for k in range(len(words) + 1)]
    spans = zip(words, times, times[1:], strict=False)
    heard = tuple(Word(word, round(start), round(end), 0.9) for word, start, end in spans)
    return said(
        Heard(number=number, start=heard[0].start, end=heard[-1].end, text=text, words=heard, language="en"), 0.0
    )


FIRST, SECOND = segment(0, "Good morning, everyone."), segment(1, "Let us begin.")
TALK = (ProgressMessage(done=0.0, read=6.0), FIRST, ProgressMessage(done=3.0, read=6.0), SECOND, DONE)


class Script:
    """Stands in for a model: what it says of each recording, by its name; what is an exception is raised."""

    def __init__(self) -> None:
        self.says = {}
        self.heard: list[str] = []
        self.request = None
        self.settings = None
        self.together = self.most_together = 0

    @asynccontextmanager
    async def embedded(self, settings, request, *, quiet=False, times=None):
        self.settings, self.request = settings, request
        yield self.hear

    async def hear(self, recording):
        self.together += 1
        self.most_together = max(self.together, self.most_together)
        self.heard.append(Path(recording.source).name)
        try:
            await asyncio.to_thread(lambda: None)  # others may begin meanwhile
            for item in self.says.get(Path(recording.source).name, TALK):
                if isinstance(item, BaseException):
                    raise item
                if callable(item):
                    await item()
                else:
                    yield item
        finally:
            self.together -= 1


@pytest.fixture
def script(monkeypatch, tmp_path):
    """A scripted model, and an empty directory to be in."""
    monkeypatch.chdir(tmp_path)
    interrupted = signal.getsignal(signal.SIGINT)
    for name in [name for name in os.environ if name.startswith("STREAMASR_")]:
        monkeypatch.delenv(name)
    scripted = Script()
    monkeypatch.setattr("streamasr.commands.hearing.embedded", scripted.embedded)
    yield scripted
    signal.signal(signal.SIGINT, interrupted)


def make(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"not looked at by a scripted model")


def transcribe(*arguments: str) -> int:
    return cli.main(["transcribe", *arguments])


def tree() -> set[str]:
    """Every file below the current directory, without the lists of results."""
    return {path.as_posix() for path in Path().rglob("*") if path.is_file() and path.name != LEDGER}


# What is printed and written.


def test_one_recording_is_printed_and_nothing_else_is_on_stdout(script, capsys):
    make("talk.wav")

    assert transcribe("talk.wav") == 0
    out, err = capsys.readouterr()
    assert out == "Good morning, everyone.\nLet us begin.\n"
    assert "talk.wav: 0:06 of audio" in err
    assert tree() == {"talk.wav"}


def test_text_is_printed_as_it_comes(script, capsys):
    make("talk.wav")
    seen = []

    async def look() -> None:
        seen.append(capsys.readouterr().out)

    script.says["talk.wav"] = (FIRST, look, SECOND, look, DONE)

    assert transcribe("talk.wav") == 0
    assert seen == ["Good morning, everyone.\n", "Let us begin.\n"]


@pytest.mark.parametrize("format_", ["json", "srt", "vtt"])
def test_one_recording_in_one_other_format_is_printed_whole(script, capsys, tmp_path, format_):
    make("talk.wav")

    assert transcribe("talk.wav", "--format", format_) == 0
    printed = capsys.readouterr().out
    match format_:
        case "json":
            assert Transcript.from_json(printed).text == "Good morning, everyone. Let us begin."
        case "srt":
            assert [cue.content for cue in srt.parse(printed)] == ["Good morning, everyone.", "Let us begin."]
        case "vtt":
            assert [cue.text for cue in webvtt.from_string(printed)] == ["Good morning, everyone.", "Let us begin."]


def test_several_formats_go_beside_the_recording(script, capsys):
    make("talks/a.wav")

    assert transcribe("talks/a.wav", "--format", "srt,vtt", "--format", "json, text") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{Path('talks/a.srt')}, .vtt, .json, .txt" in err
    assert tree() == {"talks/a.wav", "talks/a.srt", "talks/a.vtt", "talks/a.json", "talks/a.txt"}
    assert Path("talks/a.txt").read_text() == "Good morning, everyone.\nLet us begin.\n"
    assert json.loads(Path("talks/a.json").read_text())["model"] == "scripted"


def test_several_recordings_are_written_and_a_tree_is_mirrored(script, capsys):
    make("talks/a.wav", "talks/b/a.wav")

    assert transcribe("talks") == 0
    assert {"talks/a.txt", "talks/b/a.txt"} < tree()
    assert transcribe("talks", "--output-dir", "out", "--format", "srt") == 0
    assert {"out/a.srt", "out/b/a.srt"} < tree()
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 transcribed (0:12 of audio)" in err


def test_the_limits_of_captions_hold(script, capsys):
    make("talk.wav")

    assert (
        transcribe("talk.wav", "--format", "srt", "--max-line-width", "10", "--max-lines", "1", "--max-cue", "2") == 0
    )
    for cue in srt.parse(capsys.readouterr().out):
        assert len(cue.content) <= 10
        assert (cue.end - cue.start).total_seconds() <= 2


def test_quiet_says_nothing_of_what_goes_well(script, capsys):
    make("a.wav", "b.wav")
    script.says["b.wav"] = (MediaError("b.wav has no audio."),)

    assert transcribe("a.wav", "b.wav", "--quiet") == 1
    assert capsys.readouterr().err == "b.wav has no audio.\n"


# Resuming.


def test_finished_recordings_are_skipped_and_said_to_be(script, capsys):
    make("a.wav", "b.wav")
    assert transcribe("a.wav", "b.wav") == 0
    make("c.wav")
    script.heard.clear()

    assert transcribe("a.wav", "b.wav", "c.wav") == 0
    assert script.heard == ["c.wav"]
    assert "1 transcribed (0:06 of audio), 2 skipped" in capsys.readouterr().err
    script.heard.clear()
    assert transcribe("a.wav", "b.wav", "c.wav", "--overwrite") == 0
    assert sorted(script.heard) == ["a.wav", "b.wav", "c.wav"]


def test_nothing_is_loaded_when_everything_is_finished(script, capsys):
    make("a.wav", "b.wav")
    assert transcribe("a.wav", "b.wav") == 0
    script.request = None

    assert transcribe("a.wav", "b.wav", "--profile") == 0
    assert script.request is None
    assert "2 skipped" in capsys.readouterr().err


def test_a_recording_that_lacks_a_result_or_is_newer_than_one_is_done_again(script):
    make("a.wav", "b.wav", "c.wav")
    assert transcribe("a.wav", "b.wav", "c.wav", "--format", "text,srt") == 0
    script.heard.clear()
    Path("a.srt").unlink()
    later = Path("b.srt").stat().st_mtime + 10
    os.utime("b.wav", (later, later))

    assert transcribe("a.wav", "b.wav", "c.wav", "--format", "text,srt") == 0
    assert sorted(script.heard) == ["a.wav", "b.wav"]


def test_ctrl_c_ends_with_130_keeps_what_is_done_and_the_rest_is_done_next_time(script, capsys):
    make("a.wav", "b.wav", "c.wav")

    written = Path("a.txt").exists

    async def interrupt() -> None:
        while not written():
            await asyncio.to_thread(lambda: None)
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.get_running_loop().create_future()

    script.says["b.wav"] = (FIRST, interrupt, DONE)
    before = threading.active_count()

    assert transcribe("a.wav", "b.wav", "c.wav", "--jobs", "2") == 130
    assert "b.txt" not in tree()
    assert "a.txt" in tree()
    assert not [name for name in tree() if not name.endswith((".wav", ".txt"))]
    assert "interrupted; " in capsys.readouterr().err
    assert script.together == 0
    assert threading.active_count() <= before

    del script.says["b.wav"]
    script.heard.clear()
    assert transcribe("a.wav", "b.wav", "c.wav") == 0
    assert "a.wav" not in script.heard
    assert {"a.txt", "b.txt", "c.txt"} < tree()


# What fails.


def test_one_bad_recording_is_reported_and_the_rest_is_done(script, capsys):
    make("a.wav", "bad.wav", "c.wav")
    script.says["bad.wav"] = (MediaError("bad.wav has no audio."),)

    assert transcribe("a.wav", "bad.wav", "c.wav", "--jobs", "1") == 1
    assert {"a.txt", "c.txt"} < tree()
    assert "bad.txt" not in tree()
    err = capsys.readouterr().err
    assert "bad.wav has no audio.\n" in err
    assert "2 transcribed (0:12 of audio), 1 failed" in err


def test_a_damaged_recording_fails_but_what_was_said_before_the_damage_is_kept(script, capsys):
    make("a.wav", "b.wav")
    script.says["a.wav"] = (*TALK[:2], MediaError("a.wav is damaged at 3.0 s: cut off."))

    assert transcribe("a.wav", "b.wav") == 1
    assert Path("a.partial.txt").read_text() == "Good morning, everyone.\n"
    assert "a.wav is damaged at 3.0 s: cut off. What was heard is in a.partial.txt.\n" in capsys.readouterr().err
    assert "a.txt" not in tree()


PARTLY = {
    "damaged": (*TALK[:2], MediaError("a.wav is damaged at 3.0 s: cut off.")),
    "lost": (FIRST, LostMessage(start=3.0, end=4.5, reason="it failed"), DONE),
}


@pytest.mark.parametrize("trouble", PARTLY)
def test_what_was_had_in_part_is_tried_again_and_never_counts_as_finished(script, capsys, trouble):
    make("a.wav", "b.wav")
    script.says["a.wav"] = PARTLY[trouble]
    assert transcribe("a.wav", "b.wav", "--format", "text,srt") == 1
    script.heard.clear()

    assert transcribe("a.wav", "b.wav", "--format", "text,srt") == 1
    assert script.heard == ["a.wav"]
    assert "0 transcribed (0:06 of audio), 1 skipped (finished before; --overwrite does them again), 1 failed" in (
        capsys.readouterr().err
    )

    del script.says["a.wav"]
    assert transcribe("a.wav", "b.wav", "--format", "text,srt") == 0
    assert tree() == {"a.wav", "a.txt", "a.srt", "b.wav", "b.txt", "b.srt"}


# Other people's files.


def test_a_file_that_nobody_here_has_written_is_neither_replaced_nor_taken_for_a_result(script, capsys):
    make("a.wav", "b.wav")
    Path("a.txt").write_text("what was really said\n")

    for _ in range(2):
        assert transcribe("a.wav", "b.wav") == 1
        assert (
            "streamasr: a.wav: a.txt is there and is not as this command wrote it: --overwrite replaces it,"
            " --output-dir writes the results elsewhere.\n" in capsys.readouterr().err
        )
    assert script.heard == ["b.wav"]
    assert Path("a.txt").read_text() == "what was really said\n"

    assert transcribe("a.wav", "b.wav", "--output-dir", "out") == 0
    assert transcribe("a.wav", "b.wav", "--overwrite") == 0
    assert Path("a.txt").read_text() == Path("out/a.txt").read_text() == "Good morning, everyone.\nLet us begin.\n"
    assert transcribe("a.wav", "b.wav") == 0


def test_a_file_that_appears_while_a_recording_is_transcribed_is_not_replaced(script, capsys):
    make("a.wav", "b.wav")

    async def appear() -> None:
        await asyncio.to_thread(Path("a.txt").write_text, "mine")

    script.says["a.wav"] = (*TALK[:2], appear, *TALK[2:])

    assert transcribe("a.wav", "b.wav") == 1
    assert Path("a.txt").read_text() == "mine"
    assert "a.wav: a.txt is there and is not as" in capsys.readouterr().err


def test_a_result_that_somebody_has_corrected_stays_as_it_is(script, capsys):
    make("a.wav", "b.wav")
    assert transcribe("a.wav", "b.wav") == 0
    Path("a.txt").write_text("Good morning, every one.\n")
    script.heard.clear()

    assert transcribe("a.wav", "b.wav") == 0
    assert "2 skipped" in capsys.readouterr().err
    later = Path("a.txt").stat().st_mtime + 10
    os.utime("a.wav", (later, later))
    assert transcribe("a.wav", "b.wav") == 1
    assert script.heard == []
    assert Path("a.txt").read_text() == "Good morning, every one.\n"


def test_a_server_that_goes_away_midway_leaves_no_half_of_a_result(script, capsys):
    make("a.wav", "b.wav")
    script.says["a.wav"] = (FIRST, Refused("shutting down", retry_after_s=5.0))

    assert transcribe("a.wav", "b.wav") == 1
    assert "a.txt" not in tree()
    assert "b.txt" in tree()


def test_stretches_that_were_lost_are_told_and_the_rest_is_written(script, capsys):
    make("a.wav", "b.wav")
    script.says["a.wav"] = (FIRST, LostMessage(start=3.0, end=4.5, reason="it failed"), DONE)

    assert transcribe("a.wav", "b.wav", "--format", "json") == 1
    err = capsys.readouterr().err
    assert "a.wav: 3 to 4.5 s could not be transcribed (it failed); the rest was" in err
    assert "1 transcribed" in err
    assert "1 failed" in err
    assert json.loads(Path("a.partial.json").read_text())["failed"] == [
        {"start": 3.0, "end": 4.5, "reason": "it failed"}
    ]


def test_an_engine_that_stops_ends_the_run(script, capsys):
    make("a.wav", "b.wav", "c.wav")
    script.says["a.wav"] = (Unavailable("the engine has stopped"),)

    assert transcribe("a.wav", "b.wav", "c.wav", "--jobs", "1") == 1
    assert script.heard == ["a.wav"]
    err = capsys.readouterr().err
    assert "streamasr: the engine has stopped\n" in err
    assert "streamasr: 0 transcribed (0:00 of audio), 1 failed, 2 not transcribed\n" in err


def test_a_result_that_cannot_be_written_fails_that_recording_only(script, capsys):
    make("a/x.wav", "b/x.wav")

    async def block() -> None:
        await asyncio.to_thread(Path("a/x.txt").mkdir)

    script.says["x.wav"] = (*TALK[:2], block, *TALK[2:])

    assert transcribe("a/x.wav", "--format", "text", "--format", "srt", "--overwrite") == 1
    assert "x.txt cannot be written" in capsys.readouterr().err
    del script.says["x.wav"]
    assert transcribe("a/x.wav", "b/x.wav") == 1
    assert Path("b/x.txt").is_file()
    assert tree() == {"a/x.wav", "b/x.wav", "b/x.txt"}


def test_what_is_not_there_is_a_failure_and_nothing_at_all_is_a_wrong_start(script, capsys):
    make("a.wav")

    assert transcribe("a.wav", "b.wav") == 1
    assert "streamasr: b.wav: there is no such file" in capsys.readouterr().err
    assert "a.txt" in tree()
    assert transcribe("b.wav") == 2
    assert transcribe("*.ogg") == 2


@pytest.mark.skipif(os.name != "posix", reason="links need no rights there")
def test_a_link_to_nowhere_is_reported_like_any_bad_recording(script, capsys):
    make("talks/a.wav")
    Path("talks/b.wav").symlink_to("gone.wav")
    script.says["b.wav"] = (MediaError("talks/b.wav does not exist."),)

    assert transcribe("talks") == 1
    assert "talks/b.wav does not exist.\n" in capsys.readouterr().err
    assert Path("talks/a.txt").is_file()


# Arguments.


@pytest.mark.parametrize("directory", ["taken", "taken/below"])
def test_an_output_directory_that_cannot_be_one_is_noticed_before_anything_is_transcribed(script, capsys, directory):
    make("a.wav", "b.wav", "taken")

    assert transcribe("a.wav", "b.wav", "--output-dir", directory) == 2
    assert capsys.readouterr().err.startswith(f"streamasr: --output-dir: {directory} cannot be made a directory: ")
    assert script.heard == []


def test_options_reach_the_model(script, capsys):
    make("a.wav")
    flags = (
        "--language de --task translate --prompt Hello --hotwords x,y --beam 2 --temperature 0,0.5 --no-word-timestamps"
        " --offset 1.5 --duration 60 --compression-ratio-threshold 2 --logprob-threshold -1 --no-speech-threshold 0.5"
        " --model nano --threads 3"
    )

    assert transcribe("a.wav", *flags.split()) == 0
    options = script.request.options
    assert (options.language, options.task, options.prompt, options.hotwords) == ("de", "translate", "Hello", "x,y")
    assert (options.beam_size, options.temperatures, options.word_timestamps) == (2, (0.0, 0.5), False)
    assert (options.compression_ratio_threshold, options.logprob_threshold) == (2.0, -1.0)
    assert options.no_speech_threshold == 0.5
    assert (script.request.offset_s, script.request.duration_s) == (1.5, 60.0)
    assert (script.settings.model, script.settings.threads) == ("nano", 3)


def test_the_models_settings_come_from_variables_too(script, monkeypatch):
    make("a.wav")
    monkeypatch.setenv("STREAMASR_MODEL", "tiny")

    assert transcribe("a.wav") == 0
    assert script.settings.model == "tiny"


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_so_many_recordings_are_transcribed_at_a_time(script, jobs):
    make(*(f"{k}.wav" for k in range(4)))

    async def company() -> None:
        async with asyncio.timeout(20):
            while script.most_together < min(jobs, 4):
                await asyncio.to_thread(lambda: None)

    script.says = {f"{k}.wav": (company, *TALK) if k < jobs else TALK for k in range(4)}

    assert transcribe("*.wav", "--jobs", str(jobs), "--quiet") == 0
    assert script.most_together == min(jobs, 4)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ("--beam 0", ("--beam: expected an integer from 1 to 20", '"0"')),
        ("--temperature 0,2", ("--temperature: expected numbers from 0 to 1",)),
        ("--no-speech-threshold 2", ("--no-speech-threshold: expected a number from 0 to 1",)),
        ("--compression-ratio-threshold 0", ("--compression-ratio-threshold: expected a number above 0",)),
        ("--logprob-threshold 1", ("--logprob-threshold: expected a number of at most 0",)),
        ("--language english!", ("--language: expected a lower-case language code",)),
        ("--task sing", ("--task: expected one of transcribe, translate",)),
        ("--offset -1", ("--offset: expected seconds",)),
        ("--duration 0", ("--duration: expected seconds",)),
        ("--format docx", ("--format: expected one or several of text, json, srt, vtt", "docx")),
        ("--jobs 0", ("--jobs: expected an integer of at least 1",)),
        ("--jobs many", ("--jobs: expected an integer of at least 1",)),
        ("--max-lines 0", ("--max-lines: expected an integer",)),
        ("--min-cue nan", ("--min-cue: expected a number",)),
        ("--min-cue 8", ("--max-cue: expected at least the 8 s of --min-cue, got 7",)),
        ("--threads none", ("--threads: expected an integer",)),
        ("--server here", ("--server: expected an address such as http://localhost:8765, got 'here'",)),
        ("--server http://x --model nano", ("--model: does not go with --server",)),
        ("--server http://x --profile", ("--profile: does not go with --server",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_argument_is_one_sentence_that_names_it_and_exit_code_2(script, capsys, flags, parts):
    make("a.wav")

    assert transcribe("a.wav", *flags.split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("streamasr: --")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert script.heard == []


def test_what_the_model_cannot_do_is_said_under_the_flags_name(script, capsys):
    make("a.wav", "b.wav")
    error = InvalidSetting("beam_size: the model says no", field="beam_size")
    script.says = {"a.wav": (error,), "b.wav": (error,)}

    assert transcribe("a.wav", "b.wav", "--jobs", "1") == 2
    assert capsys.readouterr().err == "streamasr: --beam: the model says no\n"
    assert script.heard == ["a.wav"]


def test_a_terminal_is_no_recording(script, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    assert transcribe("-") == 2
    assert "terminal" in capsys.readouterr().err


# The embedded model, for real.

DEMO = Path(str(files("streamasr") / "data" / "demo.wav"))
SPOKEN = DEMO.read_bytes()


def run(*arguments: str, **kwargs) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "streamasr", "transcribe", "--model", "nano", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **kwargs)


def test_the_embedded_model_transcribes_a_file_and_what_is_piped_alike(tmp_path):
    shutil.copy(DEMO, tmp_path / "demo.wav")
    part = ("--offset", "1", "--duration", "6")
    from_file = run(str(tmp_path / "demo.wav"), *part, "--format", "json", "--profile")
    piped = run("-", *part, "--format", "json", "--quiet", input=DEMO.read_bytes())

    assert from_file.returncode == piped.returncode == 0
    first, second = Transcript.from_json(from_file.stdout), Transcript.from_json(piped.stdout)
    assert first.text == second.text
    assert first.duration == 6.0
    assert len(first.words) > 5
    assert all(1.0 <= word.start < word.end <= 7.1 for word in first.words)
    told = from_file.stderr.decode()
    for stage in ("decode", "gate", "encode", "decode text", "align", "assembly", "Real-time factor"):
        assert stage in told
    assert piped.stderr == b""


@pytest.mark.skipif(os.name != "posix", reason="signals as a terminal sends them")
def test_ctrl_c_does_not_wait_for_a_pipe_in_which_nothing_comes():
    command = [sys.executable, "-m", "streamasr", "transcribe", "-", "--model", "nano"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert b"nano" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        code = process.wait(timeout=20)
        told = process.stderr.read().decode()
    assert code == 130
    assert told.startswith("streamasr: interrupted")
    assert told.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="signals as a terminal sends them")
@pytest.mark.parametrize("way", ["embedded", "server"])
async def test_ctrl_c_does_not_wait_for_a_web_server_that_has_fallen_silent(way):
    pytest.importorskip("aiohttp")
    half, asked = SPOKEN[:100_000], asyncio.Event()

    async def serve(reader, writer):
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError):
            while not (request := await reader.readuntil(b"\r\n\r\n")).startswith(b"POST"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                if request.startswith(b"GET"):
                    writer.write(half)
                    asked.set()
                await writer.drain()
            await reader.read()  # an upload to the same server, which says nothing to it either

    async with asyncio.timeout(50), await asyncio.start_server(serve, "127.0.0.1", 0) as web:
        address = f"http://127.0.0.1:{web.sockets[0].getsockname()[1]}"
        hearing = ("--model", "nano") if way == "embedded" else ("--server", address)
        command = [sys.executable, "-m", "streamasr", "transcribe", f"{address}/talk.wav", *hearing]
        process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        try:
            await asked.wait()
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(15):
                told = (await process.communicate())[1].decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
    assert process.returncode == 130
    assert "streamasr: interrupted" in told
    assert "Traceback" not in told


@pytest.mark.skipif(os.name != "posix", reason="a shell's pipe")
def test_a_reader_that_has_seen_enough_ends_it_without_a_traceback():
    command = f"{sys.executable} -m streamasr transcribe {DEMO} --model nano | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, timeout=60, check=False)

    assert done.stdout.count(b"\n") == 1
    assert b"Traceback" not in done.stderr
