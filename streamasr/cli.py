"""The command line. Imports what a command needs when it is run, so that ``--help`` is quick.

Owns what is printed and the exit codes: 0 done, 1 a fault of ours, 2 started wrongly, 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from streamasr import __version__
from streamasr.errors import ConfigError
from streamasr.ops import config

DESCRIPTION = "Real-time streaming speech to text: words come back while the person still speaks."
EPILOG = "`streamasr COMMAND --help` explains a command; `streamasr demo` is the quickest way to see it work."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except ConfigError as error:
        print(f"streamasr: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    root = argparse.ArgumentParser("streamasr", description=DESCRIPTION, epilog=EPILOG)
    root.add_argument("--version", action="version", version=f"streamasr {__version__}")
    commands = root.add_subparsers(title="Commands", metavar="COMMAND", required=True)

    command = commands.add_parser("serve", help="run the server", description="Run the server until Ctrl-C.")
    config.add_arguments(command)
    command.set_defaults(run=serve)

    about = "see it work: a recording, streamed in real time, with live captions"
    command = commands.add_parser("demo", help=about, description=f"{about[0].upper()}{about[1:]}.")
    command.add_argument("--speed", type=float, default=1.0, help="times real time [%(default)s]")
    command.add_argument("--audio", metavar="PATH", help="a WAV file of your own in place of the recording")
    command.add_argument("--port", type=int, default=0, help="the port of its server [a free one]")
    command.set_defaults(run=demo)
    return root


def serve(arguments: argparse.Namespace) -> int:
    """``streamasr serve``."""
    settings = config.load(arguments, os.environ)
    from streamasr.ops import logs
    from streamasr.server import app

    logs.configure(settings.log_level)
    built = app.build(settings)
    listener = app.bind(settings)
    host, port = listener.getsockname()[:2]
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return app.run(built, listener, lambda: print(_welcome(built.registry.services.model.name, address), flush=True))


def demo(arguments: argparse.Namespace) -> int:
    """``streamasr demo``."""
    from streamasr import demo as demonstration

    return demonstration.main(arguments)


def _welcome(model: str, address: str) -> str:
    return "\n".join(
        (
            f"streamasr {__version__} is ready, with the model {model}",
            "",
            f"  WebSocket  ws://{address}/v1/stream",
            f"  Health     http://{address}/healthz  (ready: /readyz, model: /v1/models)",
            "  Try it     streamasr demo, in another terminal (it brings its own server)",
            "",
            "Ctrl-C finalises what is being said, then stops.",
        )
    )
