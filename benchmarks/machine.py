"""What batches, the gate and the front end cost on one machine, and how its cores are shared: the simulation's costs.

The committed table is ``machine.json``; ``python -m benchmarks.simulated --calibrate`` measures another. The model of
the cores is this: the engine's thread has a core, or what the others leave of it; the event loop, the gate and the
load generator share the rest, and whoever works beside somebody else is slower by ``beside``. Pure: knows no engine,
session or clock.
"""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import msgspec

TABLE = Path(__file__).with_name("machine.json")
LEAST_SPEED = 0.25
"""However much is asked of the cores, the scheduler leaves the engine so much of one."""

Rows = tuple[tuple[float, ...], ...]
"""Milliseconds: for each batch size, for each encoder length."""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of CPU on one machine, for nano."""

    measured_on: str
    cores: int
    seconds: tuple[float, ...]
    """Encoder lengths, ascending."""
    sizes: tuple[int, ...]
    """Windows in a batch, ascending from 1."""
    features_ms: tuple[float, ...]
    """Log-mel of so much audio."""
    encode_ms: Rows
    """A batch's."""
    start_ms: Rows
    """A batch's decoding and alignment without a token: prompts, the first step."""
    token_ms: Rows
    """A batch's decoding and alignment for one further token in every window."""
    assembly_ms: float
    """One window's tokens to words."""
    beam: float
    """Times a token's cost at beam 5."""
    beside: float
    """How many times longer the engine's work takes while every other core is busy."""
    gil: float
    """What is added to the time of the engine's Python, as a share of it, by an event loop that never rests."""
    gate_ms: float
    """A stream-second of the voice-activity model."""
    front_ms: float
    """A stream-second of the server without gate and engine, at frames of 20 ms."""
    client_ms: float
    """A stream-second of the load generator."""

    def batch_s(
        self,
        encoder_s: float,
        tokens: Sequence[int],
        *,
        fresh_s: Sequence[float] | None = None,
        beam: bool = False,
        loop_share: float = 0.0,
    ) -> float:
        """CPU seconds of a batch, and what it waits for Python's lock.

        Args:
            encoder_s: the longest window's encoder input, to which all are padded.
            tokens: how many each window decodes, its forced prefix included; a window that ends leaves the batch.
            fresh_s: seconds of each window that the one before it did not begin with; None: all of them are new.
            beam: whether it is decoded with beam 5.
            loop_share: the share of the time in which the event loop works.
        """
        size = len(tokens)
        features = sum(_from_zero(self.seconds, self.features_ms, s) for s in fresh_s or [encoder_s] * size)
        total = (features + size * self.assembly_ms) * (1 + self.gil * loop_share)
        total += self._batch(self.encode_ms, size, encoder_s) + self._batch(self.start_ms, size, encoder_s)
        ends = sorted(tokens, reverse=True)
        for alive, (longer, shorter) in enumerate(zip(ends, [*ends[1:], 0], strict=True), start=1):
            steps = (self.beam if beam else 1.0) * (longer - shorter)
            total += steps * self._batch(self.token_ms, alive, encoder_s)
        return total / 1000

    def _batch(self, rows: Rows, size: int, encoder_s: float) -> float:
        return _between(self.sizes, [self._one(row, encoder_s) for row in rows], size)

    def _one(self, row: Sequence[float], encoder_s: float) -> float:
        return _between(self.seconds, row, encoder_s)


class Load:
    """So many speaking streams on a machine: how fast its engine is then."""

    def __init__(self, machine: Machine, streams: int) -> None:
        self._machine = machine
        beside = streams * (machine.gate_ms + machine.front_ms + machine.client_ms) / 1000
        room = max(1, machine.cores - 1)
        self.others = beside
        """Cores that everything but the engine wants."""
        self.stretch = max(1.0, beside / (machine.cores - LEAST_SPEED))
        """How many times longer than its CPU time a piece of audio takes: the engine yields first."""
        self._loop_share = min(1.0, streams * machine.front_ms / 1000)
        speed = min(1.0, max(LEAST_SPEED, machine.cores - beside))
        self.slowness = (1 + (machine.beside - 1) * min(1.0, beside / room)) / speed
        """How many times longer than its CPU time alone a batch takes."""

    def batch_s(
        self, encoder_s: float, tokens: Sequence[int], *, fresh_s: Sequence[float] | None = None, beam: bool = False
    ) -> float:
        """Seconds that a batch takes."""
        alone = self._machine.batch_s(encoder_s, tokens, fresh_s=fresh_s, beam=beam, loop_share=self._loop_share)
        return self.slowness * alone


class Front:
    """Event loop and gate: each takes one piece of audio after the other, and the gate those the loop has read."""

    def __init__(self, machine: Machine, load: Load, chunk: int, sample_rate: int) -> None:
        self.chunk = chunk
        """Samples of a piece."""
        self._loop_s = load.stretch * machine.front_ms / 1000 / sample_rate
        self._gate_s = load.stretch * machine.gate_ms / 1000 / sample_rate
        self._loop_free = 0.0
        self._gate_free = 0.0

    def scored_at(self, now: float, samples: int) -> float:
        """When a piece that arrives now has been scored."""
        self._loop_free = max(now, self._loop_free) + samples * self._loop_s
        self._gate_free = max(self._loop_free, self._gate_free) + samples * self._gate_s
        return self._gate_free


def read(path: Path = TABLE) -> Machine:
    """A table as ``write`` leaves it."""
    return msgspec.json.decode(path.read_bytes(), type=Machine)


def write(machine: Machine, path: Path = TABLE) -> None:
    """Keep a table."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(machine), indent=1) + b"\n")


def _from_zero(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """As ``_between``, but before the first point in proportion to it."""
    return ys[0] * x / xs[0] if x < xs[0] else _between(xs, ys, x)


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The point at ``x`` on the line through the points; beyond the last, in proportion to it."""
    if x >= xs[-1]:
        return ys[-1] * x / xs[-1]
    if x <= xs[0]:
        return ys[0]
    at = bisect_right(xs, x)
    return ys[at - 1] + (ys[at] - ys[at - 1]) * (x - xs[at - 1]) / (xs[at] - xs[at - 1])
