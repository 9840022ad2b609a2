"""A load test: N paced speakers against a streaming speech-to-text server, and how right and late their words were.

    python -m loadtest --streams 8                                  # a server of its own, nano
    python -m loadtest --url ws://host:9000 --streams 32 --idle 200
    python -m loadtest --find-limit --json limit.json --report limit.html
    python -m loadtest --find-limit --compare "" "--encoder-window 30 --max-batch 1" --rounds 3

Owns the command line; what is run is in ``loadtest.commands``.
"""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtest import results
from loadtest.commands import Order, execute
from loadtest.console import say_results
from loadtest.lanes import source
from loadtest.pacing import loop_factory
from loadtest.results import Figures, Results
from loadtest.runner import Setup
from loadtest.search import Limit, broken
from loadtest.server import ServerError
from loadtest.targets import TARGETS, TargetOptions
from streamasr.errors import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line says; 0: all promises kept, 1: not, 2: wrongly started, 130: interrupted."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    arguments = parser.parse_args(given)
    _check(parser, arguments)
    console = Console(stderr=True)
    try:
        found = _run(execute(_order(arguments, _shown(given, arguments.key)), console))
    except (ValueError, OSError, ConfigError) as error:
        console.print(str(error), style="red", markup=False)
        return 2
    except ServerError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    say_results(console, found)
    _write(arguments, found)
    return 1 if any(map(_faulty, found.runs)) else 0


def _faulty(figures: Figures) -> bool:
    """Whether a promise was broken; where a search tried too many streams on purpose, only those that always hold."""
    if figures.within is False:
        return figures.quality.stable_violations > 0
    return bool(broken(figures))


def _shown(given: Sequence[str], key: str) -> str:
    """The command line as it may be published: without the key."""
    command = shlex.join(["python", "-m", "loadtest", *given])
    return command.replace(key, "KEY") if key else command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=(__doc__ or "").partition("\n")[0])
    where = parser.add_argument_group("what is measured")
    where.add_argument("--url", default="", help="a running server; without it the tool starts one of its own")
    where.add_argument("--server-args", default="", metavar="ARGS", help='for its own server: "--model nano --…"')
    where.add_argument("--target", choices=sorted(TARGETS), default="native", help="which protocol it speaks")
    where.add_argument("--key", default="", help="your API key for it")
    where.add_argument("--model", default="", help="the model to ask for, where the protocol names one")
    who = parser.add_argument_group("who speaks")
    who.add_argument("--audio", type=Path, metavar="MANIFEST|DIR", help="recordings with words and times")
    who.add_argument("--sets", default="", metavar="A,B", help="which of its sets; default: seen, unseen, long")
    who.add_argument("--language", default="en")
    who.add_argument("--streams", type=int, default=4, metavar="N", help="speakers; of a search: the first try")
    who.add_argument("--idle", type=int, default=0, metavar="M", help="sockets beside them on which nobody speaks")
    who.add_argument("--seconds", type=float, default=60.0, help="measured speech of each lane (default %(default)g)")
    who.add_argument("--warm-up", type=float, default=5.0, metavar="S", help="speech before that (default %(default)g)")
    who.add_argument("--stagger", type=float, default=3.0, metavar="S", help="the lanes begin within this time")
    how = parser.add_argument_group("how they speak")
    how.add_argument("--frame-ms", type=int, default=20, help="audio in one message, 20 to 100 (default 20)")
    how.add_argument("--jitter", type=float, default=0.0, metavar="MS", help="delay each message by up to this")
    how.add_argument("--endpointing", type=int, metavar="MS", help="the silence that ends an utterance at the server")
    how.add_argument(
        "--vad-stop-ms", type=int, default=200, help="the client asks for the final so long after speech; 0: never"
    )
    how.add_argument("--preflight", action="store_true", help="ask for preflights")
    how.add_argument("--processes", type=int, default=1, help="of the tool (default 1)")
    what = parser.add_argument_group("what is looked for")
    what.add_argument("--ramp", type=int, nargs="?", const=4, metavar="STEPS", help="add the streams step by step")
    what.add_argument("--find-limit", action="store_true", help="find the most streams that are served")
    what.add_argument("--limit-shown-p95", type=float, default=1.5, metavar="S", help="served: not later than this")
    what.add_argument("--limit-wer", type=float, default=1.0, metavar="POINTS", help="… nor less right by this")
    what.add_argument("--most", type=int, default=1024, metavar="N", help="the most streams that are tried")
    what.add_argument("--compare", nargs=2, metavar="ARGS", help="two servers of its own, in turns")
    what.add_argument("--rounds", type=int, default=3, help="of a comparison (default 3)")
    what.add_argument("--reference", nargs="?", const="nano", metavar="MODEL", help="also without streaming, for WER")
    out = parser.add_argument_group("what is written")
    out.add_argument("--json", type=Path, metavar="FILE", help="all figures")
    out.add_argument("--report", type=Path, metavar="FILE", help="a page with plots")
    return parser


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Say what cannot be asked for."""
    wrong = [
        (not 20 <= arguments.frame_ms <= 100, "--frame-ms: expected 20 to 100"),
        (arguments.streams < 1, "--streams: expected at least 1"),
        (arguments.idle < 0, "--idle: expected at least 0"),
        (arguments.seconds <= 0, "--seconds: expected more than 0"),
        (arguments.processes < 1, "--processes: expected at least 1"),
        (arguments.rounds < 1, "--rounds: expected at least 1"),
        (
            arguments.ramp is not None and not 2 <= arguments.ramp <= arguments.streams,
            "--ramp: expected 2 steps or more, and not more than --streams",
        ),
        (
            bool(arguments.url and arguments.server_args),
            "--server-args is for a server of the tool's own, without --url",
        ),
        (bool(arguments.compare and arguments.url), "--compare starts servers of the tool's own, without --url"),
        (bool(arguments.compare and arguments.server_args), "--compare has the servers' arguments, not --server-args"),
        (arguments.target != "native" and not arguments.url, f"--target {arguments.target} needs its --url"),
        (bool(arguments.find_limit and arguments.ramp), "--find-limit and --ramp: choose one"),
    ]
    for is_wrong, message in wrong:
        if is_wrong:
            parser.error(message)


def _order(arguments: argparse.Namespace, command: str) -> Order:
    """What the command line orders."""
    audio = source(arguments.audio, tuple(filter(None, arguments.sets.split(","))), arguments.language)
    options = TargetOptions(
        url=arguments.url,
        key=arguments.key,
        language=arguments.language,
        model=arguments.model,
        endpointing_ms=arguments.endpointing,
        preflight=arguments.preflight,
        flushes=arguments.vad_stop_ms > 0,
    )
    setup = Setup(
        streams=arguments.streams,
        idle=arguments.idle,
        seconds=arguments.seconds,
        warm_up_s=arguments.warm_up,
        stagger_s=arguments.stagger,
        steps=arguments.ramp or 1,
        frame_ms=arguments.frame_ms,
        jitter_ms=arguments.jitter,
        vad_stop_ms=arguments.vad_stop_ms,
        target=arguments.target,
        options=options,
        processes=arguments.processes,
    )
    limit = Limit(shown_p95_s=arguments.limit_shown_p95, wer_points=arguments.limit_wer)
    return Order(
        command=command,
        setup=setup,
        source=audio,
        server_args=arguments.server_args,
        reference=arguments.reference or ("nano" if _judged_by_nano(arguments) else None),
        limit=limit if arguments.find_limit else None,
        most=arguments.most,
        compare=tuple(arguments.compare) if arguments.compare else None,
        rounds=arguments.rounds,
    )


def _judged_by_nano(arguments: argparse.Namespace) -> bool:
    """Whether a search needs a yardstick and the servers run nano."""
    servers = arguments.compare or [arguments.server_args]
    return arguments.find_limit and not arguments.url and not any("--model" in given for given in servers)


def _write(arguments: argparse.Namespace, found: Results) -> None:
    """The files that were asked for."""
    if arguments.json:
        arguments.json.write_bytes(results.write(found))
    if arguments.report:
        from loadtest.report import render

        arguments.report.write_text(render(found), "utf-8")


def _run(work: Coroutine[Any, Any, Results]) -> Results:
    """Run it in a fresh event loop: a faster one where there is one."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work)


if __name__ == "__main__":
    sys.exit(main())
