"""The command line. Imports what a command needs when it is run, so that ``--help`` is quick.

Owns the exit codes: 0 done, 1 something failed, 2 started wrongly, 130 interrupted. What a command takes and
prints is in its module in ``commands/``.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from streamasr import __version__
from streamasr.errors import ConfigError

DESCRIPTION = "Real-time streaming speech to text: words come back while the person still speaks."
EPILOG = "`streamasr COMMAND --help` explains a command; `streamasr demo` is the quickest way to see it work."

COMMANDS = {
    "serve": "run the server until Ctrl-C",
    "demo": "see it work: a recording, streamed in real time, with live captions",
    "transcribe": "transcribe recordings: files, directories, URLs",
    "models": "list models, choose one, download one",
    "bench": "measure a model on recordings of your own",
    "doctor": "check this machine: devices, libraries, threads, hub, ports",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    asked = sys.argv[1:] if argv is None else argv
    arguments = parser(asked[0] if asked else "").parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except ConfigError as error:
        print(f"streamasr: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def parser(command: str | None = None) -> argparse.ArgumentParser:
    """Every command, with the arguments of ``command``; None: with everybody's."""
    root = argparse.ArgumentParser("streamasr", description=DESCRIPTION, epilog=EPILOG)
    root.add_argument("--version", action="version", version=f"streamasr {__version__}")
    commands = root.add_subparsers(title="Commands", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        described = f"{about[0].upper()}{about[1:]}."
        added = commands.add_parser(name, help=about, description=described)
        if command in (name, None):
            module = import_module(f"streamasr.commands.{name}")
            module.add_arguments(added)
            added.set_defaults(run=module.run)
    return root
