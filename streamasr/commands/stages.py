"""Where the time of a run went, stage by stage. Adds up what it is told; knows nothing of how it is measured."""

from collections.abc import AsyncIterator

from rich.table import Table

from streamasr.core.events import Segment
from streamasr.core.filelane import Lost
from streamasr.inference.engine import Stages
from streamasr.inference.files import Preparation, Progress


class StageTimes:
    """The stages of all recordings of a run; ``add_batch`` is called on the engine's threads."""

    def __init__(self) -> None:
        self._batches: list[Stages] = []
        self._prepared: dict[str, Preparation] = {}

    def add_batch(self, stages: Stages) -> None:
        """Take one batch's times."""
        self._batches.append(stages)

    async def watched(
        self, source: str, items: AsyncIterator[Segment | Lost | Progress]
    ) -> AsyncIterator[Segment | Lost | Progress]:
        """The same items, with an eye on what the recording's preparation costs."""
        async for item in items:
            if isinstance(item, Progress):
                self._prepared[source] = item.preparation
            yield item

    def rows(self) -> list[tuple[str, float, str]]:
        """Name of a stage, its seconds on all threads together, and what is done in it."""
        prepared, batches = self._prepared.values(), self._batches
        assembly_s = sum(one.assembly_s for one in prepared) + sum(one.assembly_s for one in batches)
        return [
            ("decode", sum(one.decode_s for one in prepared), "container to samples"),
            ("gate", sum(one.gate_s for one in prepared), "where is speech"),
            ("features", sum(one.features_s for one in batches), "samples to log-mel"),
            ("encode", sum(one.encode_s for one in batches), "model: encoder"),
            ("decode text", sum(one.decode_s for one in batches), "model: language, text"),
            ("align", sum(one.align_s for one in batches), "model: word times"),
            ("assembly", assembly_s, "tokens to sentences"),
        ]

    def table(self, audio_s: float, took_s: float) -> Table:
        """A table of the stages and the real-time factor.

        Args:
            audio_s: seconds of audio transcribed.
            took_s: seconds that took, the loading of the model not counted.
        """
        table = Table("stage", "seconds", "ms per s of audio", "what", title="Where the time went")
        for column in table.columns[1:3]:
            column.justify = "right"
        for name, seconds, what in self.rows():
            table.add_row(name, f"{seconds:.2f}", _each(seconds, audio_s), what)
        table.add_section()
        table.add_row("all, overlapping", f"{took_s:.2f}", _each(took_s, audio_s), "from start to end")
        if audio_s:
            factor = took_s / audio_s
            table.caption = f"Real-time factor {factor:.3f}: {1 / factor:.1f} times as fast as the audio plays"
        return table


def _each(seconds: float, audio_s: float) -> str:
    return f"{1000 * seconds / audio_s:.1f}" if audio_s else ""
