"""``streamasr transcribe``: recordings to text, captions and JSON, in this process or by a running server.

Owns the arguments and the exit codes: 0 all done, 1 something failed, 2 wrongly started, 130 interrupted.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from streamasr.commands.inputs import FORMATS, STDIN, Recording, find, is_single
from streamasr.errors import ConfigError, EngineError, InvalidSetting
from streamasr.ops import config

if TYPE_CHECKING:
    from streamasr.commands.filerun import FileRun, Hear, Wanted
    from streamasr.commands.stages import StageTimes

Number = TypeVar("Number", int, float)

FLAGS = {
    "language": ("--language", "CODE", "The language spoken, such as en; auto tells it from the audio. [auto]"),
    "languages": ("--languages", "CODES", "The languages that auto chooses from, such as en,de. [all]"),
    "task": ("--task", "TASK", "transcribe, or translate into English. [transcribe]"),
    "prompt": ("--prompt", "TEXT", "A text in the style and with the spellings expected."),
    "hotwords": ("--hotwords", "WORDS", "Words to expect, separated by commas or spaces."),
    "beam_size": ("--beam", "N", "Hypotheses kept while decoding; 1 is fastest. [5]"),
    "temperatures": (
        "--temperature",
        "T",
        "One, or several separated by commas that are tried in order until the text passes the thresholds below."
        " [0,0.2,0.4,0.6,0.8,1]",
    ),
    "compression_ratio_threshold": (
        "--compression-ratio-threshold",
        "X",
        "Text that compresses better repeats itself: the next temperature is tried. [the model's]",
    ),
    "logprob_threshold": (
        "--logprob-threshold",
        "X",
        "Below this average log-probability the next temperature is tried. [the model's]",
    ),
    "no_speech_threshold": (
        "--no-speech-threshold",
        "X",
        "Above this no-speech probability, and below the log-probability, nothing was said. [the model's]",
    ),
    "offset": ("--offset", "SECONDS", "Where in the recording to begin. [0]"),
    "duration": ("--duration", "SECONDS", "How much of it to transcribe. [all]"),
}
"""Option of ``wire.files`` -> flag, metavar, help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments; those of the model are the server's settings."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a file (audio or video), a directory (searched for recordings), a pattern in quotes, a URL"
        " (http, https, s3, gs, az), or - for the standard input",
    )
    results = parser.add_argument_group("Results")
    results.add_argument(
        "--format",
        action="append",
        metavar="FORMAT",
        help="text, json, srt or vtt; several separated by commas, or given several times. [text]",
    )
    results.add_argument(
        "--output-dir",
        metavar="DIR",
        help="Write below this directory. [one PATH in one format: to the screen; otherwise beside each recording]",
    )
    results.add_argument(
        "--overwrite",
        action="store_true",
        help="Do recordings again whose results are there, and replace whatever files have the results' names.",
    )
    results.add_argument("--max-line-width", metavar="N", help="Columns of a caption's line. [42]")
    results.add_argument("--max-lines", metavar="N", help="Lines of a caption. [2]")
    results.add_argument("--min-cue", metavar="SECONDS", help="The shortest time a caption is shown. [1]")
    results.add_argument("--max-cue", metavar="SECONDS", help="The longest time a caption is shown. [7]")
    hearing = parser.add_argument_group("Transcription")
    for option, (flag, metavar, text) in FLAGS.items():
        hearing.add_argument(flag, dest=option, metavar=metavar, default=argparse.SUPPRESS, help=text)
    hearing.add_argument(
        "--word-timestamps",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="Whether each word gets its times. [yes]",
    )
    running = parser.add_argument_group("Running")
    running.add_argument("--server", metavar="URL", help="Let a running server do it, at http://HOST:PORT.")
    running.add_argument("--jobs", metavar="N", help="Recordings transcribed at a time. [2]")
    running.add_argument("--profile", action="store_true", help="Show where the time went, stage by stage.")
    running.add_argument("--quiet", action="store_true", help="Show nothing but results and what went wrong.")
    config.add_arguments(parser, only={"Model"})


def run(arguments: argparse.Namespace) -> int:
    """Transcribe."""
    wanted, jobs = _wanted(arguments), _number("--jobs", arguments.jobs, 2, low=1)
    if arguments.paths == [STDIN] and sys.stdin.isatty():
        raise ConfigError("-: the standard input is a terminal; give it a recording: streamasr transcribe - < FILE")
    found = find(arguments.paths, Path(arguments.output_dir) if arguments.output_dir else None)
    times, hearing = _hearing(arguments, wanted)

    from rich.console import Console

    from streamasr.commands import filerun, progress

    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # a pipe on Windows would not take every language
    console = Console(stderr=True)
    todo, skipped, in_the_way = filerun.sort_out(found.recordings, wanted)
    problems = (*found.problems, *in_the_way)
    for problem in problems:
        progress.Shown(console).note(f"streamasr: {problem}")
    if not found.recordings:
        return 2
    _make(arguments.output_dir)
    account = filerun.Account(skipped=skipped, failed=len(problems), left=len(todo))
    shown = progress.shown(console, len(todo), time.monotonic, quiet=arguments.quiet)
    try:
        if todo:
            asyncio.run(_transcribe(hearing, filerun.FileRun(wanted, shown, _print, account), todo, jobs))
    except InvalidSetting as error:
        raise ConfigError(_with_flag(error)) from error
    except EngineError as error:
        shown.note(f"streamasr: {error}")
        account.failed, account.left = account.failed + 1, account.left - 1
    except BrokenPipeError:  # whoever was reading the text has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        kept = "" if wanted.printed else f"; {account}; the same command goes on from here"
        shown.note(f"streamasr: interrupted{kept}")
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # asked once more, while threads end: at once, without a word
        return 130
    if times is not None and todo:
        console.print(times.table(account.seconds, account.took_s))
    if not arguments.quiet and (len(found.recordings) > 1 or account.skipped):
        shown.note(f"streamasr: {account}")
    return 1 if account.failed else 0


async def _transcribe(
    hearing: "AbstractAsyncContextManager[Hear]", run: "FileRun", todo: "Sequence[Recording]", jobs: int
) -> None:
    async with hearing as hear:
        await run.transcribe(hear, todo, jobs)


def _hearing(
    arguments: argparse.Namespace, wanted: "Wanted"
) -> "tuple[StageTimes | None, AbstractAsyncContextManager[Hear]]":
    """What will hear the recordings, and what keeps account of its time, if that is asked for.

    Raises:
        ConfigError: an argument is wrong, or does not go with ``--server``.
    """
    if arguments.server is None:
        settings = config.load(arguments, os.environ)
        from streamasr.commands.hearing import embedded
        from streamasr.commands.stages import StageTimes

        times = StageTimes() if arguments.profile else None
        return times, embedded(settings, wanted.request, quiet=arguments.quiet, times=times)

    from streamasr.commands.hearing import by_server
    from streamasr.commands.upload import ServerAddress

    given = [option.flag for option in config.options() if option.group == "Model" and option.name in arguments]
    for flag in [*given, *(["--profile"] if arguments.profile else [])]:
        raise ConfigError(f"{flag}: does not go with --server, which has its own model")
    return None, by_server(ServerAddress(arguments.server), wanted.request, quiet=arguments.quiet)


def _wanted(arguments: argparse.Namespace) -> "Wanted":
    """What is to become of the recordings.

    Raises:
        ConfigError: an argument is wrong.
    """
    from streamasr.commands.filerun import Wanted
    from streamasr.core.captions import CueLimits
    from streamasr.wire.files import read_query

    formats = tuple(dict.fromkeys(",".join(arguments.format or ["text"]).replace(" ", "").split(",")))
    for format_ in formats:
        if format_ not in FORMATS:
            raise ConfigError(f"--format: expected one or several of {', '.join(FORMATS)}, got {format_!r}")
    query = {option: text for option, text in vars(arguments).items() if option in FLAGS}
    if "word_timestamps" in arguments:
        query["word_timestamps"] = str(arguments.word_timestamps).lower()
    try:
        request = read_query(query)
    except InvalidSetting as error:
        raise ConfigError(_with_flag(error)) from error
    shortest, longest = (
        _number(flag, text, default, low=0.1)
        for flag, text, default in (("--min-cue", arguments.min_cue, 1.0), ("--max-cue", arguments.max_cue, 7.0))
    )
    if longest < shortest:
        raise ConfigError(f"--max-cue: expected at least the {shortest:g} s of --min-cue, got {longest:g}")
    limits = CueLimits(
        lines=_number("--max-lines", arguments.max_lines, 2, low=1),
        line_width=_number("--max-line-width", arguments.max_line_width, 42, low=2),
        min_ms=round(1000 * shortest),
        max_ms=round(1000 * longest),
    )
    printed = arguments.output_dir is None and len(formats) == 1 and is_single(arguments.paths)
    return Wanted(request=request, formats=formats, limits=limits, printed=printed, overwrite=arguments.overwrite)


def _make(name: str | None) -> None:
    """Make the directory of the results, if there is to be one.

    Raises:
        ConfigError: it cannot be made, or written to.
    """
    if not name:
        return
    directory = Path(name)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output-dir: {directory} cannot be made a directory: {error.strerror}") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigError(f"--output-dir: {directory} cannot be written to")


def _number(flag: str, text: str | None, default: Number, *, low: Number) -> Number:
    """A number of the default's kind.

    Raises:
        ConfigError: it is none, or too small.
    """
    if text is None:
        return default
    kind = "an integer" if isinstance(default, int) else "a number"
    try:
        value = type(default)(text)
    except ValueError as error:
        raise ConfigError(f"{flag}: expected {kind} of at least {low:g}, got {text!r}") from error
    if not low <= value < 1e6:
        raise ConfigError(f"{flag}: expected {kind} of at least {low:g}, got {text!r}")
    return value


def _with_flag(error: InvalidSetting) -> str:
    """What is wrong with an option, under the name it has here."""
    flag = FLAGS.get(error.field or "", (error.field,))[0]
    return error.message.replace(f"{error.field}:", f"{flag}:", 1)


def _print(text: str) -> None:
    print(text, end="", flush=True)
