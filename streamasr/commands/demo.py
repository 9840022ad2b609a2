"""``streamasr demo``: its arguments; the demonstration itself is in ``streamasr/demo.py``."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How fast, and of what."""
    parser.add_argument("--speed", type=float, default=1.0, help="times real time [%(default)s]")
    parser.add_argument("--audio", metavar="PATH", help="a WAV file of your own in place of the recording")
    parser.add_argument("--port", type=int, default=0, help="the port of its server [a free one]")


def run(arguments: argparse.Namespace) -> int:
    """Show it."""
    from streamasr import demo

    return demo.main(arguments)
