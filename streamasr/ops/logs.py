"""Where log lines go and what they look like. Called once, by the command line; nothing logs at import."""

import logging
import sys


def configure(level: str) -> None:
    """Log to stderr from ``level`` (``debug`` … ``error``) on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # uvicorn logs request lines with their query string (prompts, tokens) at info.
    # So do the hub's HTTP clients, and those URLs may be signed.
    for chatty in ("uvicorn", "httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
