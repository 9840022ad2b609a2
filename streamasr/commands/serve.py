"""``streamasr serve``: what is printed when the server starts, and with which model."""

import argparse
import os

from streamasr import __version__
from streamasr.ops import config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every setting of the server."""
    config.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal."""
    settings = config.load(arguments, os.environ)
    from contextlib import ExitStack

    from streamasr.commands.show import at_terminal, loading_shown
    from streamasr.ops import logs
    from streamasr.server import app

    logs.configure(settings.log_level)
    with ExitStack() as shown:
        built = app.build(settings, terminal=at_terminal(), watcher=shown.enter_context(loading_shown()))
        listener = app.bind(settings)
        host, port = listener.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

        def ready() -> None:
            shown.close()
            services = built.registry.services
            print(welcome(services.model.name, services.reason, services.notice, address), flush=True)

        return app.run(built, listener, ready)


def welcome(model: str, reason: str, notice: str, address: str) -> str:
    """What a person wants to know when the server is ready."""
    lines = [f"streamasr {__version__} is ready, with the model {model}"]
    if reason:
        lines.append(f"  auto took it: {reason}")
    if notice:
        lines += ["", f"  Note: {notice}"]
    lines += [
        "",
        f"  WebSocket  ws://{address}/v1/stream",
        f"  Files      http://{address}/v1/transcribe  (streamasr transcribe FILE --server http://{address})",
        f"  Health     http://{address}/healthz  (ready: /readyz, model: /v1/models)",
        "  Try it     streamasr demo, in another terminal (it brings its own server)",
        "",
        "Ctrl-C finalises what is being said, then stops.",
    ]
    return "\n".join(lines)
