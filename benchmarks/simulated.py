"""How many streams a machine carries, predicted on the simulated clock.

    python -m benchmarks.simulated --streams 1,8,16,32,48,64        # lags, accuracy, queue under each load
    python -m benchmarks.simulated --find-limit                     # the most streams whose words come in time
    python -m benchmarks.simulated --find-limit --encoder-window 30 --max-batch 1
    python -m benchmarks.simulated --calibrate                      # measure this machine's costs first (2 minutes)

The speakers are the load tool's; sessions, gate, batcher and nano's answers are real; what they cost comes from the
table of ``machine.json`` (see ``machine.py``). Every run gives the same numbers, on every machine that has nano's
answers alike; answers are kept under ``.out``, so that asking again is quick.
"""

import argparse
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import machine
from benchmarks.evalset import ROOT
from benchmarks.machine import Front, Load, Machine
from benchmarks.recall import Recall, Scored, Store, scores
from loadtest.lanes import Lane, Source, lane, source
from loadtest.search import Search
from streamasr.bench.scoring import (
    Errors,
    WordLag,
    count_errors,
    doubled_words,
    lost_runs,
    normalise,
    percentile,
    word_lags,
)
from streamasr.bench.sharing import fingerprint
from streamasr.bench.simulated import Ran, Said, Simulation, Stream
from streamasr.bench.streamed import broken_promises, erased_words, shown
from streamasr.core.events import SAMPLE_RATE, Final, Window
from streamasr.core.options import SessionOptions
from streamasr.inference import costs
from streamasr.inference.ct2 import MAX_BATCH, Ct2Engine
from streamasr.inference.features import MelCache
from streamasr.inference.models import resolve
from streamasr.inference.vad import VadModel
from streamasr.server.sessions import piece_s

STORE = ROOT / ".out" / "simulated.db"
STAGGER_S = 3.0
"""Streams begin within this, evenly spread, …"""
WARM_UP_S = 5.0
"""… and lags count from so long after the last has begun, as the load tool has it."""
P95_S = 1.5
"""A number of streams is carried if the slowest twentieth of their words is shown within this."""
VAD_STOP_MS = 200
WIDTH = 140
"""Columns of what is written to a file."""
HEARD_S = 0.3
"""A final that ends no earlier than this before an utterance's end is the one with its last word."""
STREAMS = "1,8,16,32,48,64"
FIRST = 16
"""Streams that a search for the limit begins with, unless told others."""


class Spread(msgspec.Struct, frozen=True):
    """Seconds; nan without values."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The percentiles of values."""
        return cls(*(round(percentile(values, q), 4) for q in (50, 95, 99)))


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """So many streams at once."""

    streams: int
    shown: Spread
    """From a word's true end to its first display."""
    stable: Spread
    final: Spread
    """From the true end of speech to the final that has it, the client's voice-activity stop included."""
    wer: float
    """Word errors in per cent."""
    lost: int
    """How often three words or more in a row are missing."""
    doubled: int
    stable_violations: int
    finals_missing: int
    """Utterances whose end no final reached."""
    erased_per_word: float
    queue_age: Spread
    """How long a window waited for the engine; of all kinds."""
    final_queue_age: Spread
    """The same of finals only."""
    superseded: float
    """The share of partials that a newer one replaced before the engine had time for them."""
    windows_per_batch: float
    engine_share: float
    """The share of the time in which the engine worked."""
    others_cores: float
    """Cores that everything else wanted: front end, gate, load generator."""

    @property
    def carried(self) -> bool:
        """Whether words came in time, and all of them."""
        return self.shown.p95 <= P95_S


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How the server is run, and what is said to it."""

    seconds: float = 60.0
    encoder_window_s: float | None = None
    max_batch: int = MAX_BATCH["cpu"]
    endpointing_ms: int = 500
    vad_stop_ms: int = VAD_STOP_MS
    """How long after the end of speech the client asks for the final; 0: it does not."""
    warm_up_s: float = WARM_UP_S
    """So long after the last stream's beginning the lags begin to count, for ``seconds``."""
    estimate: str = "engine"
    """Whose estimate the batcher forms batches by: the engine's own, or the measured table's."""


class Study:
    """Speakers, a machine and a setting: plays any number of streams.

    Args:
        speakers: whose speech.
        table: the machine.
        setting: how it is run.
        store: where answers are kept.
    """

    def __init__(self, speakers: Source, table: Machine, setting: Setting, store: Store) -> None:
        self._speakers = speakers
        self._machine = table
        self._setting = setting
        self._store = store
        self._vad = VadModel()
        entry = resolve("nano")
        self._policy = entry.policy(encoder_window_s=setting.encoder_window_s)
        # As the server does: what a window takes on this machine scales the estimate.
        self._scale = table.batch_s(5.0, [round(5 * costs.TOKENS_PER_SECOND)]) / (costs.window_ms("nano", 5.0) / 1000)
        name = f"{fingerprint(entry.path)} {version('ctranslate2')}"
        engine = partial(Ct2Engine, entry, threads=1)
        self.engine = Recall(engine, name, store, setting.max_batch, self._estimate)

    def play(self, streams: int, advance: Callable[[float], None] = lambda _: None) -> Figures:
        """So many streams at once; ``advance`` is told the share that is done."""
        setting = self._setting
        begins = [STAGGER_S * number / streams for number in range(streams)]
        ends = STAGGER_S + setting.warm_up_s + setting.seconds
        lanes = [self._speaker(number, ends - begin) for number, begin in enumerate(begins)]
        load = Load(self._machine, streams)
        ran: list[Ran] = []
        fresh_s = _Fresh()

        def cost(batch: Sequence[Window]) -> float:
            longest = max(window.encoder_samples for window in batch) / SAMPLE_RATE
            fresh = [fresh_s.of(window) for window in batch]
            return load.batch_s(longest, self.engine.tokens, fresh_s=fresh, beam=batch[0].beam_size > 1)

        def note(batch: Ran) -> None:
            # What was heard is not needed for the figures, and an hour of it would fill the memory.
            light = [msgspec.structs.replace(window, pcm=b"") for window in batch.windows]
            ran.append(batch._replace(windows=light))
            advance(min(1.0, batch.at / ends))

        scored = iter([known for _, known in lanes])

        def scorer() -> Scored:
            return Scored(next(scored))

        simulation = Simulation(
            self.engine,
            scorer,
            self._policy,
            cost,
            keep_windows=False,
            front=Front(self._machine, load, round(piece_s(streams) * SAMPLE_RATE), SAMPLE_RATE),
            on_batch=note,
        )
        options = SessionOptions(language=self._speakers.language, endpointing_ms=setting.endpointing_ms)
        plays = [
            Stream(spoken.pcm, options, begins_at, self._flushes(spoken))
            for (spoken, _), begins_at in zip(lanes, begins, strict=True)
        ]
        logs = simulation.run(plays)
        advance(1.0)
        spoken = [_Heard(who, begin, log) for (who, _), begin, log in zip(lanes, begins, logs, strict=True)]
        return self._figures(spoken, ran, simulation.superseded, load)

    def _speaker(self, number: int, seconds: float) -> tuple[Lane, NDArray[np.float32]]:
        """One speaker, and the scores of his frames."""
        spoken = lane(self._speakers, number, seconds)
        return spoken, scores(spoken.pcm, self._vad, f"silero {version('onnxruntime')}", self._store)

    def _flushes(self, spoken: Lane) -> tuple[int, ...]:
        if not self._setting.vad_stop_ms:
            return ()
        at = [round((u.end + self._setting.vad_stop_ms / 1000) * SAMPLE_RATE) for u in spoken.utterances]
        return tuple(sample for sample in at if sample < len(spoken.pcm))

    def _estimate(self, windows: int, encoder_samples: int) -> float:
        """Seconds, as the batcher is told: the engine's rule, or the table's own."""
        seconds = encoder_samples / SAMPLE_RATE
        if self._setting.estimate == "table":
            return self._machine.batch_s(seconds, [round(seconds * costs.TOKENS_PER_SECOND)] * windows)
        one = self._scale * costs.window_ms("nano", seconds) / 1000
        return windows * one * costs.batch_factor("nano", windows, seconds)

    def _figures(self, spoken: Sequence["_Heard"], ran: Sequence[Ran], superseded: int, load: Load) -> Figures:
        steady = STAGGER_S + self._setting.warm_up_s
        lags = [lag for heard in spoken for lag in heard.lags(steady, steady + self._setting.seconds)]
        waits = [wait for heard in spoken for wait in heard.final_waits()]
        texts = [(heard.truth, heard.text) for heard in spoken]
        errors = sum((count_errors(*pair) for pair in texts), Errors())
        erased = sum(erased_words(heard.displays, heard.lane.language) for heard in spoken)
        partials = sum(w.kind in ("first", "partial") for batch in ran for w in batch.windows)
        ages = [(w.kind, age) for batch in ran for w, age in zip(batch.windows, batch.waited, strict=True)]
        end = max((batch.at + batch.seconds for batch in ran), default=0.0)
        return Figures(
            streams=len(spoken),
            shown=Spread.of([lag.shown for lag in lags]),
            stable=Spread.of([lag.stable for lag in lags]),
            final=Spread.of(waits),
            wer=round(errors.wer, 2),
            lost=sum(lost_runs(*pair) for pair in texts),
            doubled=sum(doubled_words(*pair) for pair in texts),
            stable_violations=sum(broken_promises(heard.displays) for heard in spoken),
            finals_missing=sum(len(heard.lane.utterances) for heard in spoken) - len(waits),
            erased_per_word=round(erased / max(1, sum(len(said) for _, said in texts)), 3),
            queue_age=Spread.of([age for _, age in ages]),
            final_queue_age=Spread.of([age for kind, age in ages if kind == "final"]),
            superseded=round(superseded / max(1, superseded + partials), 3),
            windows_per_batch=round(len(ages) / max(1, len(ran)), 2),
            engine_share=round(sum(batch.seconds for batch in ran) / max(1.0, end), 3),
            others_cores=round(load.others, 3),
        )


class _Fresh:
    """How much of a window's audio is new to the engine, which remembers each lane's last window."""

    def __init__(self) -> None:
        self._known = OrderedDict[str, tuple[int, int]]()

    def of(self, window: Window) -> float:
        """Seconds."""
        anchor, end = self._known.pop(window.lane, (-1, 0))
        self._known[window.lane] = (window.anchor, window.end)
        if len(self._known) > MelCache.LANES:
            self._known.popitem(last=False)
        known = min(end, window.end) - anchor if anchor == window.anchor else 0
        return (window.samples - known) / SAMPLE_RATE


class _Heard:
    """One speaker, and what his client was told."""

    def __init__(self, lane: Lane, begins_at: float, log: Sequence[Said]) -> None:
        self.lane = lane
        self.displays = list(shown(log))
        self.truth = normalise(" ".join(word.text for word in lane.truth), lane.language)
        self.text = normalise(" ".join(d.stable for d in self.displays if d.final), lane.language)
        self._begins_at = begins_at
        self._finals = [(said.at, said.event.end / SAMPLE_RATE) for said in log if isinstance(said.event, Final)]

    def lags(self, begin: float, end: float) -> list[WordLag]:
        """Of the words spoken from ``begin`` to ``end`` of the simulation."""
        counted = {(w.start, w.end) for w in self.lane.truth if begin <= self._begins_at + w.end < end}
        words = [w for w in self.lane.truth if (w.start, w.end) in counted]
        return word_lags(words, self.displays, self.lane.language)

    def final_waits(self) -> list[float]:
        """Seconds from each utterance's true end to the first final that reaches it; fewer if none does."""
        waits = []
        for utterance in self.lane.utterances:
            reached = utterance.end - HEARD_S
            at = next((at for at, end in self._finals if end >= reached and at >= reached), None)
            if at is not None:
                waits.append(at - utterance.end)
        return waits


def table_of(figures: Sequence[Figures]) -> Table:
    """The figures as people read them; seconds are p50, p95, p99."""
    caption = "* runs of words lost / words doubled / stable text changed / finals missing"
    table = Table(box=None, header_style="bold", padding=(0, 1), caption=caption, caption_justify="left")
    columns = "streams", "shown s", "stable s", "final s", "queue s", "superseded", "batch", "engine", "WER", "wrong*"
    for name in columns:
        table.add_column(name, justify="right")
    for f in figures:
        spreads = [f"{s.p50:.2f} {s.p95:.2f} {s.p99:.2f}" for s in (f.shown, f.stable, f.final, f.queue_age)]
        wrong = f"{f.lost}/{f.doubled}/{f.stable_violations}/{f.finals_missing}"
        shares = f"{f.superseded:.0%}", f"{f.windows_per_batch:.1f}", f"{f.engine_share:.0%}", f"{f.wer:.1f}"
        table.add_row(str(f.streams), *spreads, *shares, wrong)
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.simulated", description=(__doc__ or "").split("\n\n", maxsplit=1)[0]
    )
    parser.add_argument("--streams", help="numbers of streams to play, as in 1,8,16")
    parser.add_argument("--find-limit", action="store_true", help=f"the most streams with p95 shown ≤ {P95_S} s")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each speaks")
    parser.add_argument("--encoder-window", type=float, help="seconds of every encoder input, as the server takes it")
    parser.add_argument("--max-batch", type=int, default=MAX_BATCH["cpu"])
    parser.add_argument("--endpointing", type=int, default=500, metavar="MS")
    parser.add_argument("--vad-stop", type=int, default=VAD_STOP_MS, metavar="MS", help="0: the client never flushes")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, metavar="S", help="speech before the lags count")
    parser.add_argument("--estimate", choices=("engine", "table"), default="engine", help="what forms the batches")
    parser.add_argument("--audio", type=Path, help="a manifest, or its directory")
    parser.add_argument("--sets", nargs="+", default=["seen", "unseen", "long"], help="which recordings of it")
    parser.add_argument("--language", default="en")
    parser.add_argument("--table", type=Path, default=machine.TABLE, help="the machine's costs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--calibrate", action="store_true", help="measure this machine, write its costs to --table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Calibrate, or play and print."""
    arguments = _parser().parse_args(argv)
    if arguments.calibrate:
        from benchmarks.calibrate import calibrate

        machine.write(calibrate(), arguments.table)
        sys.stdout.write(f"{arguments.table} is written\n")
        return 0
    setting = Setting(
        seconds=arguments.seconds,
        encoder_window_s=arguments.encoder_window,
        max_batch=arguments.max_batch,
        endpointing_ms=arguments.endpointing,
        vad_stop_ms=arguments.vad_stop,
        warm_up_s=arguments.warm_up,
        estimate=arguments.estimate,
    )
    table = machine.read(arguments.table)
    speakers = source(arguments.audio, arguments.sets, arguments.language)
    store = Store(STORE)
    try:
        figures, limit = _run(Study(speakers, table, setting, store), arguments.streams, find=arguments.find_limit)
    finally:
        store.close()
    if arguments.json:
        document = {"setting": setting, "machine": table.measured_on, "limit": limit, "figures": figures}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
        return 0
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(f"predicted for {table.measured_on}: p50 p95 p99")
    console.print(table_of(figures))
    if limit is not None:
        console.print(f"limit: {limit} streams with 95 % of words shown within {P95_S} s")
    return 0


def _run(study: Study, streams: str | None, *, find: bool) -> tuple[list[Figures], int | None]:
    """All figures in order of streams, and the limit if it was asked for."""
    played: dict[int, Figures] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:

        def carried(number: int) -> bool:
            if number not in played:
                task = progress.add_task(f"{number} streams", total=1.0)
                played[number] = study.play(number, lambda share: progress.update(task, completed=share))
            return played[number].carried

        for number in map(int, filter(None, (streams or ("" if find else STREAMS)).split(","))):
            carried(number)
        if not find:
            return [played[number] for number in sorted(played)], None
        search = Search(max(played, default=FIRST))
        while (trial := search.next) is not None:
            search.tried(trial, within=carried(trial))
    return [played[number] for number in sorted(played)], search.limit


if __name__ == "__main__":
    sys.exit(main())
