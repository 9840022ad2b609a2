"""What a load test found, as values that go to JSON and come back.

Times are seconds, rates per cent unless a name says otherwise. A figure that there is nothing to take it from is
None. Pure: knows nothing of sockets, files or how figures are drawn.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec
import numpy as np

BIN_S = 0.05
"""Width of a histogram's bins."""


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """How a time is spread; made by ``distribution``."""

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None
    quantiles: tuple[float, ...] = ()
    """The 0th to the 100th percentile, 101 values: the curve of the share that is not later than…; empty: no values."""
    first_bin: float = 0.0
    """Where the histogram's first bin begins, a multiple of ``BIN_S``."""
    bins: tuple[int, ...] = ()
    """How many values in each ``BIN_S`` from ``first_bin`` on; the last bin has all above too."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What was run: enough to run it again."""

    command: str
    """The whole command line."""
    began: str
    """Local date and time, ISO 8601."""
    target: str = "native"
    server: str = ""
    """The command of the tool's own server, or the URL of the one that was there."""
    model: str = ""
    streams: int
    """Lanes that all speak."""
    idle: int = 0
    """Sockets beside them that hear near-silence."""
    seconds: float
    """How long each lane spoke."""
    warm_up_s: float = 0.0
    """Words spoken before this time after the last lane's start are not in the lags."""
    frame_ms: int = 20
    jitter_ms: float = 0.0
    endpointing_ms: int | None = None
    vad_stop_ms: int = 0
    """How long after the true end of speech the client asked for the final; 0: the server found the end."""
    audio: str = ""
    """Which recordings."""
    machine: str = ""
    """Processor and cores."""
    processes: int = 1
    """Of the tool."""
    versions: str = ""
    """Of streamasr and Python."""


class Lags(msgspec.Struct, frozen=True, kw_only=True):
    """How long somebody waited, from what truly was spoken."""

    shown: Distribution
    """From a word's true end to its first display at its place."""
    stable: Distribution
    """… until it was inside the stable text (for a wire without: in the final)."""
    final: Distribution
    """From the true end of speech to the final with its last word (as Pipecat's stt-benchmark counts)."""
    preflight: Distribution
    """… to the first preflight that the final kept."""


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Whether what came back is right, and whether promises were kept."""

    words: int
    """Spoken."""
    wer: float | None
    """Word errors of the finals in per cent of ``words``."""
    sub: int
    ins: int
    dels: int
    reference_wer: float | None = None
    """Of the same recordings, decoded utterance by utterance without streaming; None: not asked for."""
    difference: tuple[float, float, float] | None = None
    """wer − reference_wer in points, and its 95 % interval from lanes resampled in blocks of 25 words."""
    lost: int
    """How often three words or more in a row are missing."""
    unheard: int = 0
    """Of those, how many have no word of any final in their place: not misheard but lost."""
    unheard_words: tuple[str, ...] = ()
    """The first of these: the lane, the second of its audio, and what was said there."""
    doubled: int
    """Words that repeat those before them, though nobody said them twice."""
    reference_lost: int | None = None
    reference_doubled: int | None = None
    """The same of the reference: what the model does by itself."""
    stable_violations: int
    """How often stable text was changed; must be 0."""
    erased_per_word: float | None
    """Unstable words that went away, for each word shown."""
    utterances: int
    finals_missing: int
    """True utterances of which no word came in any final, and that had at least three."""
    idle_words: int = 0
    """Words that came on idle sockets, where nobody spoke."""


class Troubles(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with connections."""

    refused: int = 0
    failed: int = 0
    """Ended early, or with an error."""
    messages: tuple[str, ...] = ()
    """What the first of them said."""


class ToolHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the tool itself was the bottleneck."""

    late: Distribution
    """How late frames were sent."""
    loop_lag: Distribution
    """How late a timer of the event loop came."""
    cpu_share: float
    """Of one core, the busiest process while streaming (0 to 1)."""
    cpu_s: float
    """All processes together, while streaming."""
    bottleneck: str = ""
    """Why these figures are the tool's and not the server's; empty: they are the server's."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The server at one second of the run; None where it does not tell."""

    at: float
    """Seconds since the run began."""
    streams: int
    """Lanes that were speaking."""
    headroom: float | None = None
    """The engine's idle share (0 to 1)."""
    queue_age_p95: float | None = None
    cpu: float | None = None
    """Cores in use since the moment before."""
    rss_bytes: int | None = None


class ServerSide(msgspec.Struct, frozen=True, kw_only=True):
    """What the server told of the time from the run's begin to its end (``/v1/stats``, read twice)."""

    seconds: float
    """Between the two readings."""
    cpu_s: float | None = None
    rss_bytes: int | None = None
    """At the end."""
    stages_s: dict[str, float] = {}
    """``features``, ``encode``, ``decode``, ``align``, ``assembly``, ``gate``."""
    batches: int = 0
    windows_in_batches: int = 0
    batch_sizes: dict[str, int] = {}
    """How many batches of each size."""
    padded_share: float | None = None
    """0 to 1, of what was encoded."""
    windows: dict[str, int] = {}
    """``partial``, ``final``, ``file``, ``superseded``, ``failed``."""
    queue_age_p50: float | None = None
    queue_age_p95: float | None = None
    queue_age_p99: float | None = None
    """Over the server's last minute, at the end of the streams."""
    headroom_min: float | None = None
    sessions_refused: int = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One number of streams within a ramp."""

    streams: int
    shown: Distribution
    stable: Distribution
    final: Distribution


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one run."""

    conditions: Conditions
    lags: Lags
    quality: Quality
    troubles: Troubles
    spoken_s: float = 0.0
    """Audio that the speaking lanes sent, all together: what costs are divided by."""
    tool: ToolHealth
    server: ServerSide | None = None
    """None: the service tells nothing of itself."""
    series: tuple[Moment, ...] = ()
    steps: tuple[Step, ...] = ()
    """Of a ramp: lags by how many were speaking."""
    within: bool | None = None
    """In a search for the limit: whether this many streams were within it."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two configurations of a server, run in turns. ``a`` and ``b`` are their settings."""

    a: str
    b: str
    rounds: int
    medians: dict[str, tuple[float | None, float | None]]
    """Of each figure: a's and b's median over the rounds."""
    ratios: dict[str, float | None]
    """a's median over b's."""


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--json`` writes: the runs of one command."""

    kind: Literal["run", "ramp", "limit", "compare"]
    command: str
    runs: tuple[Figures, ...]
    """Of a search: every step, in order; of a comparison: a, b, a, b, …"""
    limit: int | None = None
    """The most streams that were within the limit; None: not searched for."""
    limit_shown_p95_s: float | None = None
    """The limit that was asked for."""
    comparison: Comparison | None = None


def distribution(values: Iterable[float]) -> Distribution:
    """How ``values`` are spread; those that are not numbers do not count."""
    array = np.array([v for v in values if not np.isnan(v)], dtype=float)
    if not array.size:
        return Distribution()
    quantiles = np.percentile(array, np.arange(101))
    top = float(np.percentile(array, 99.5))
    first = int(np.floor(array.min() / BIN_S))
    places = np.minimum(np.floor(array / BIN_S).astype(int), int(np.floor(top / BIN_S))) - first
    return Distribution(
        count=int(array.size),
        mean=round(float(array.mean()), 4),
        p50=round(float(quantiles[50]), 4),
        p95=round(float(quantiles[95]), 4),
        p99=round(float(quantiles[99]), 4),
        max=round(float(array.max()), 4),
        quantiles=tuple(round(float(q), 4) for q in quantiles),
        first_bin=round(first * BIN_S, 4),
        bins=tuple(int(n) for n in np.bincount(places)),
    )


def read(text: bytes | str) -> Results:
    """Results from their JSON.

    Raises:
        msgspec.ValidationError: it is something else.
    """
    return msgspec.json.decode(text, type=Results)


def write(results: Results) -> bytes:
    """Results as JSON that people can read too."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"
