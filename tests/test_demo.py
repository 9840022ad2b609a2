"""``streamasr demo``: what it measures, what it shows, and the whole of it run as a person would."""

import argparse
import io
import json
import re
import signal
import socket
import subprocess
import sys

import pytest
from rich.console import Console

from streamasr import demo
from streamasr.errors import ConfigError
from streamasr_client import Final, Partial, SpeechEnded, SpeechStarted, Word, read_wav

COMMAND = [sys.executable, "-m", "streamasr", "demo"]


def partial(stable: str, unstable: str = "") -> Partial:
    return Partial(utterance=0, start=0.5, stable=stable, unstable=unstable)


def final(text: str, *words: Word, start: float = 0.5, end: float = 3.0) -> Final:
    return Final(utterance=0, text=text, start=start, end=end, reason="endpoint", words=words)


TRUTH = [demo.Spoken("Good", 1.0, 1.5), demo.Spoken("morning,", 1.5, 2.0), demo.Spoken("Watt!", 2.0, 2.5)]

CONVERSATION = [
    (0.9, SpeechStarted(utterance=0, time=0.5)),
    (1.4, partial("", "God")),
    (1.8, partial("", "Good mourning")),
    (2.25, partial("Good", " morning")),
    (2.5, partial("Good morning", ", what.")),
    (3.0, SpeechEnded(utterance=0, time=2.9)),
    (3.125, final("Good morning, what.")),
]


def test_a_word_is_shown_and_stable_when_it_first_stands_at_its_place():
    latencies = demo.Latencies(TRUTH)
    for at, event in CONVERSATION:
        latencies.observe(event, at)

    assert latencies.shown == pytest.approx([0.3, 0.25])
    assert latencies.stable == pytest.approx([0.75, 0.5])
    assert latencies.finals == [0.125]


def test_what_is_first_seen_in_the_final_counts_from_there():
    latencies = demo.Latencies(TRUTH)
    latencies.observe(SpeechEnded(utterance=0, time=2.9), 3.0)
    latencies.observe(final("Good"), 3.5)

    assert latencies.shown == latencies.stable == [2.0]


def test_words_outside_the_utterance_are_not_its_own():
    latencies = demo.Latencies(TRUTH)
    latencies.observe(final("Good morning, Watt!", start=1.6, end=2.2), 3.0)

    assert latencies.shown == pytest.approx([1.0])


def test_at_twice_the_speed_words_end_in_half_the_time():
    latencies = demo.Latencies(TRUTH, speed=2.0)
    latencies.observe(final("Good"), 1.0)

    assert latencies.shown == [0.25]


def test_without_truth_the_words_of_the_final_stand_in():
    latencies = demo.Latencies(None)
    latencies.observe(final("Hello.", Word("Hello.", 1.0, 1.75, 0.9)), 2.0)
    latencies.observe(final("你好。", Word("你", 1.0, 1.2, 0.9), Word("好。", 1.2, 1.75, 0.9)), 2.0)

    assert latencies.shown == [0.25]


def pictured(screen: demo.Screen) -> list[str]:
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    console.print(screen)
    return console.file.getvalue().splitlines()


def screen_of(width: int = 40, **options) -> tuple[demo.Screen, Console]:
    console = Console(file=io.StringIO(), width=width, **options)
    return demo.Screen(console, 10.0, demo.Latencies(TRUTH)), console


def test_stable_text_is_plain_and_the_rest_dimmed():
    screen, _ = screen_of(80)
    screen.observe(partial("Good", " morning"))
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(screen)

    assert "Good\x1b[2;3m morning" in console.file.getvalue()


def test_the_screen_keeps_its_height_whatever_is_said():
    screen, _ = screen_of()
    heights = [len(pictured(screen))]
    for text in ("", "Good", "Good " * 10, "Good " * 100):
        screen.observe(partial("", text))
        heights.append(len(pictured(screen)))

    assert set(heights) == {demo.CAPTION_LINES + 2}


def test_of_a_long_utterance_the_end_is_shown():
    screen, _ = screen_of()
    screen.observe(partial("word " * 50, "and this is the end"))

    assert "this is the end" in " ".join(pictured(screen))


def test_the_figures_fit_into_a_narrow_terminal():
    screen, _ = screen_of()
    screen.hear(b"\x00\x40" * 640, 3.0)

    assert all(len(line) <= 40 for line in pictured(screen))
    assert "█" in pictured(screen)[-1]


def test_without_a_terminal_finals_are_lines():
    screen, console = screen_of(80)
    with screen:
        for _, event in CONVERSATION:
            screen.observe(event)

    assert console.file.getvalue().split() == ["0.5", "s", "Good", "morning,", "what."]
    assert "Good" not in "".join(pictured(screen))


def test_in_a_terminal_the_open_utterance_is_shown_too():
    screen, console = screen_of(80, force_terminal=True)
    with screen:
        screen.observe(partial("Good", " mourning"))

    assert "mourning" in console.file.getvalue()


def test_the_report_gives_word_times_and_latencies():
    latencies = demo.Latencies(TRUTH)
    for at, event in CONVERSATION:
        latencies.observe(event, at)
    console = Console(file=io.StringIO(), width=100)
    demo.report(console, [final("Good.", Word("Good.", 1.0, 1.75, 0.9)), final("")], latencies)
    text = console.file.getvalue()

    assert "Good. 1.00–1.75" in text
    assert re.search(r"a word is shown after its end +0\.2[78] s +0\.30 s", text)
    assert re.search(r"a word is stable after its end +0\.62 s +0\.74 s", text)
    assert "2 of 3 words" in text


def test_the_report_of_silence_has_no_figures():
    console = Console(file=io.StringIO(), width=100)
    demo.report(console, [], demo.Latencies(None))

    assert "no truth is known" in console.file.getvalue()
    assert "nan s" not in console.file.getvalue()


def test_the_bundled_recording_is_what_its_truth_says():
    recording = read_wav(demo.DATA / "demo.wav")
    about = json.loads((demo.DATA / "demo.json").read_text())
    words = demo.read_truth(demo.DATA / "demo.json")

    assert recording.settings == {"encoding": "pcm_s16le", "sample_rate": 16000, "channels": 1}
    assert 40 <= recording.seconds <= 60
    assert recording.seconds == about["duration"]
    assert " ".join(word.word for word in words) == about["text"]
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] <= recording.seconds


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"speed": 0.0}, "--speed takes a number above 0"),
        ({"speed": float("nan")}, "--speed takes a number above 0"),
        ({"audio": "/nowhere/talk.wav"}, "talk.wav cannot be read: No such file"),
        ({"audio": __file__}, "is not a 16-bit PCM WAV file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(changes, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)) as error:
        demo.main(argparse.Namespace(**({"speed": 1.0, "audio": None, "port": 0} | changes)))

    assert "\n" not in str(error.value)


async def test_a_server_that_cannot_start_says_why_in_its_own_words():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ConfigError, match=str(port)) as error:
            async with demo.server(port):
                pass

    assert not str(error.value).startswith("streamasr:")


def test_the_whole_demo():
    """It shows finals with word times and latencies, ends with one line on what it was, and exits 0."""
    done = subprocess.run([*COMMAND, "--speed", "20"], capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()

    assert (done.returncode, done.stderr) == (0, "")
    captions = [line for line in lines[: lines.index("Every word with its times (seconds)")] if " s  " in line]
    assert len(captions) >= 10
    assert re.search(r"^ {2}\d\.\d s  It costs 15 pounds", captions[0])
    assert re.search(r"\bIt \d\.\d\d–\d\.\d\d ", done.stdout)
    assert re.search(r"a word is shown after its end +-?\d\.\d\d s +-?\d\.\d\d s", done.stdout)
    right = re.search(r"(\d+) of 113 words", done.stdout)
    assert right is not None
    assert int(right[1]) >= 90
    assert lines[-1].startswith("This was nano, a built-in test model that knows only synthetic voices; for real ones")
    assert " serve --model DIRECTORY" in lines[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_stops_its_server(number, code):
    """Sent to the demo alone, as ``kill`` does: no server may be left behind."""
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        port = next(found[1] for line in running.stdout if (found := re.search(r"ws://[^:]+:(\d+)/", line)))
        running.send_signal(number)
        rest = running.stderr.read()

    assert (running.returncode, rest) == (code, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)
