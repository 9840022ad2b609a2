"""Makes docs/pictures/demo.svg: what ``streamasr demo`` shows in the middle of a sentence.

Runs the real thing (``python docs/make_terminal_picture.py``); only the terminal is a recorded one.
"""

import asyncio
import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from streamasr import demo
from streamasr_client import Event, Partial, Recording, read_wav

PICTURE = Path(__file__).parent / "pictures" / "demo.svg"
WIDTH = 96
MOMENT_S = 30.9
"""Into the recording: the picture is taken at the next partial that has something of both kinds of text."""


class Camera(demo.Screen):
    """A screen that stops the show once its picture is taken."""

    def __init__(self, console: Console, seconds: float, latencies: demo.Latencies) -> None:
        super().__init__(console, seconds, latencies)
        self.console = console
        self.heard_s = 0.0
        self.taken = asyncio.Event()

    def hear(self, chunk: bytes, elapsed: float) -> None:
        """Note how far the recording is."""
        super().hear(chunk, elapsed)
        self.heard_s = elapsed

    def observe(self, event: Event) -> None:
        """Take the picture when the moment has come."""
        if self.taken.is_set():
            return
        super().observe(event)
        if self.heard_s > MOMENT_S and isinstance(event, Partial) and event.stable and event.unstable:
            self.console.print()
            self.console.print(self)
            self.taken.set()


async def show(console: Console, recording: Recording) -> None:
    """Run the demo until the picture is taken."""
    latencies = demo.Latencies(demo.read_truth(demo.DATA / "demo.json"))
    camera = Camera(console, recording.seconds, latencies)
    async with demo.server(port=8765) as url:
        demo.introduce(console, url, recording, speed=1.0)
        streaming = asyncio.create_task(demo.stream(url, recording, "en", camera, latencies))
        taken = asyncio.create_task(camera.taken.wait())
        await asyncio.wait([streaming, taken], return_when=asyncio.FIRST_COMPLETED)
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)


if __name__ == "__main__":
    recorded = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=False, color_system="truecolor")
    asyncio.run(show(recorded, read_wav(demo.DATA / "demo.wav")))
    PICTURE.parent.mkdir(exist_ok=True)
    svg = recorded.export_svg(title="streamasr demo", theme=MONOKAI, unique_id="demo")
    PICTURE.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL))  # no fonts from elsewhere
