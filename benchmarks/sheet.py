"""Keeps what a measurement printed, with its command, so that it can stand in the documentation.

    python -m benchmarks.sheet docs/results/memory.json -- python -m benchmarks.memory --minutes 30

``loadtest.report --docs`` puts it into a page. Progress goes to the terminal as usual; a measurement that fails is
not kept.
"""

import datetime
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

import streamasr
from benchmarks.report import Grid
from loadtest.commands import processor

WIDTH = 110
"""Characters in a line of what is printed."""


class Sheet(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="sheet"):
    """Figures, and what is needed to measure them again."""

    command: str
    """The whole command line."""
    conditions: str
    """When, on what, with what: a sentence."""
    text: str = ""
    """What was printed."""
    tables: tuple[Grid, ...] = ()


def write(sheet: Sheet) -> bytes:
    """As JSON that people can read too."""
    return msgspec.json.format(msgspec.json.encode(sheet), indent=1) + b"\n"


def record(command: Sequence[str], conditions: str) -> Sheet:
    """Run a command to its end and keep what it prints; ``python`` is this one.

    Raises:
        OSError: there is no such program.
        subprocess.CalledProcessError: it could not measure. With 1 it could, but missed a mark: that is kept.
    """
    program = sys.executable if command[0] == "python" else command[0]
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    done = subprocess.run(  # noqa: S603 - it is what somebody has just typed
        [program, *command[1:]], stdout=subprocess.PIPE, text=True, check=False, env=environment
    )
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise subprocess.CalledProcessError(done.returncode, list(command), done.stdout)
    lines = [line.rstrip() for line in done.stdout.strip("\n").splitlines()]
    return Sheet(command=shlex.join(command), conditions=conditions, text="\n".join(lines) + "\n")


def here() -> str:
    """Today, this machine and these versions, in a sentence."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    versions = f"streamasr {streamasr.__version__}, Python {platform.python_version()}"
    return f"{today}: {processor()}, {os.cpu_count()} cores; {versions}."


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: where to, ``--``, and the command."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) < 3 or given[1] != "--":
        print("usage: python -m benchmarks.sheet FILE.json -- COMMAND…", file=sys.stderr)
        return 2
    try:
        sheet = record(given[2:], here())
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"benchmarks.sheet: nothing was kept: {error}", file=sys.stderr)
        return 1
    place = Path(given[0])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(write(sheet))
    print(sheet.text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
