"""A server on tones as a process of its own: prints its port when it is ready, ends on a signal."""

import sys

from helpers import tone_app

from streamasr.server.app import bind, run

if __name__ == "__main__":
    app = tone_app()
    listener = bind(app.settings)

    def tell() -> None:
        sys.stdout.write(f"{listener.getsockname()[1]}\n")
        sys.stdout.flush()

    sys.exit(run(app, listener, tell))
