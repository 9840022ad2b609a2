"""The figures of a result as tables, for the report, the documentation and whoever else draws them. Pure."""

from collections.abc import Sequence
from statistics import median

from benchmarks.report import Grid
from loadtest.plots import STAGES
from loadtest.results import Comparison, Distribution, Figures, Results
from loadtest.search import server_ms

NONE = "–"
AS_IT_COMES = "as it comes"
"""A server without settings of its own."""


def grids(results: Results) -> list[Grid]:
    """One run in full; several, a row each; a comparison's medians."""
    found = [] if results.comparison is None else [_comparison(results.comparison)]
    if len(results.runs) == 1:
        run = results.runs[0]
        return [*found, lags(run), *([steps(run)] if run.steps else []), quality(run)]
    return [*found, overview(results.runs, judged=results.kind == "limit")]


def conditions(runs: Sequence[Figures]) -> str:
    """What was measured and how, in a sentence; what differs between runs is in their table."""
    c = runs[0].conditions
    streams = _counted(c.streams, "stream") if len(runs) == 1 else "streams"
    server = c.server if len({run.conditions.server for run in runs}) == 1 else ""
    idle = f", {c.idle} idle sockets beside them" if c.idle else ""
    jitter = f", up to {c.jitter_ms:g} ms late" if c.jitter_ms else ""
    end = (
        f"the client says that speech has ended {c.vad_stop_ms} ms after it has"
        if c.vad_stop_ms
        else "the server finds the end of speech"
    )
    parts = [
        " ".join(filter(None, (f"{c.began[:10]}: {c.target}", server))) + (f", model {c.model}" if c.model else ""),
        f"{streams} of {c.seconds:.0f} s all speaking{idle}, frames of {c.frame_ms} ms{jitter}",
        end,
        f"recordings: {c.audio}" if c.audio else "",
        f"on {c.machine}, the load tool beside it" if c.machine else "",
        c.versions,
    ]
    return "; ".join(part for part in parts if part) + "."


def lags(run: Figures) -> Grid:
    """How long somebody waited."""
    found = run.lags
    rows = {
        "word shown": found.shown,
        "word stable": found.stable,
        "end of speech to final": found.final,
        "end of speech to preflight": found.preflight,
    }
    return Grid(
        "Seconds after it was truly spoken.",
        ("s", "p50", "p95", "p99", "most", "values"),
        tuple((name, *_seconds(d.p50, d.p95, d.p99, d.max), str(d.count)) for name, d in rows.items() if d.count),
    )


def quality(run: Figures) -> Grid:
    """Whether it was right, and whether promises were kept."""
    q, trouble = run.quality, run.troubles
    beside = "" if q.reference_wer is None else f" ({q.reference_wer:.1f} without streaming)"
    lost = "" if q.reference_lost is None else f" ({q.reference_lost})"
    doubled = "" if q.reference_doubled is None else f" ({q.reference_doubled})"
    lines = [
        ("words spoken", str(q.words)),
        ("word errors, %", _number(q.wer) + beside),
        ("three or more words lost in a row", f"{q.lost}{lost}"),
        ("words doubled", f"{q.doubled}{doubled}"),
        ("stable text changed", _counted(q.stable_violations, "time")),
        ("unstable words erased, for each word shown", _number(q.erased_per_word, 2)),
        ("utterances without a final", f"{q.finals_missing} of {q.utterances}"),
        ("sessions refused, failed", f"{trouble.refused}, {trouble.failed}"),
    ]
    bracket = "" if q.reference_wer is None else "; in brackets the same model without streaming"
    return Grid(f"Right, and as promised{bracket}.", ("", ""), tuple(lines))


def server(run: Figures) -> Grid | None:
    """What the server told of itself; None if it tells nothing."""
    side = run.server
    if side is None:
        return None
    mean = side.windows_in_batches / side.batches if side.batches else None
    lines = [
        ("processor, ms a stream-second", _number(server_ms(run))),
        ("processor, cores in use", _number(side.cpu_s / side.seconds if side.cpu_s and side.seconds else None, 2)),
        ("memory at the end, MB", _number(side.rss_bytes / 1e6 if side.rss_bytes else None, 0)),
        ("windows in a batch, mean", _number(mean, 2)),
        ("padding, % of what was encoded", _number(100 * side.padded_share if side.padded_share is not None else None)),
        ("age of the queue p50 / p95 / p99, ms", _queue(side.queue_age_p50, side.queue_age_p95, side.queue_age_p99)),
        ("least headroom, %", _number(100 * side.headroom_min if side.headroom_min is not None else None, 0)),
        *((f"windows: {kind}", str(count)) for kind, count in side.windows.items()),
        *((f"{stage}, s", _number(side.stages_s[stage], 2)) for stage in STAGES if stage in side.stages_s),
    ]
    return Grid("The server, from its own statistics.", ("", ""), tuple(lines))


def tool(run: Figures) -> Grid:
    """The load tool's own health."""
    t = run.tool
    lines = (
        ("frames sent late: p50 / p99 / most, ms", " / ".join(_ms(v) for v in (t.late.p50, t.late.p99, t.late.max))),
        ("event loop late: p99 / most, ms", " / ".join(_ms(v) for v in (t.loop_lag.p99, t.loop_lag.max))),
        ("its busiest process, % of a core", _number(100 * t.cpu_share, 0)),
        ("its processor time, s", _number(t.cpu_s)),
    )
    return Grid("The load tool.", ("", ""), lines)


def steps(run: Figures) -> Grid:
    """A row for each step of a ramp."""
    header = ("streams", "shown p50 / p95 / p99, s", "stable p50 / p95", "final p50 / p95 / p99")
    lines = tuple((str(s.streams), _three(s.shown), _two(s.stable), _three(s.final)) for s in run.steps)
    return Grid("Lags while so many were speaking.", header, lines)


def overview(runs: Sequence[Figures], *, judged: bool = False) -> Grid:
    """A row for each run, with its server if there are several; ``judged``: whether it was within the limit."""
    header = ("streams", "shown p50 / p95 / p99, s", "stable p50 / p95", "final p50 / p95 / p99", "WER, %", "erased")
    header += ("CPU, ms a stream-second",)
    lines = [_row(run) for run in runs]
    if len({run.conditions.server for run in runs}) > 1:
        header = ("server", *header)
        lines = [(run.conditions.server or AS_IT_COMES, *line) for run, line in zip(runs, lines, strict=True)]
    if judged:
        header += ("served",)
        verdict = {True: "yes", False: "no", None: NONE}
        lines = [(*line, verdict[run.within]) for run, line in zip(runs, lines, strict=True)]
    return Grid("Each run.", header, tuple(lines))


def _comparison(c: Comparison) -> Grid:
    header = ("median", c.a or AS_IT_COMES, c.b or AS_IT_COMES, "ratio")
    lines = tuple((name, _round(a), _round(b), _number(c.ratios.get(name), 2)) for name, (a, b) in c.medians.items())
    return Grid(f"Two servers in turns, {_counted(c.rounds, 'round')}.", header, lines)


def summary(runs: Sequence[Figures]) -> str:
    """The tool's health over several runs, in a sentence."""
    bad = [run for run in runs if run.tool.bottleneck]
    if bad:
        of = f" in {len(bad)} of {len(runs)} runs" if len(runs) > 1 else ""
        return f"The tool was the bottleneck{of}: {bad[0].tool.bottleneck}. These figures are not the server's."
    late = max((run.tool.late.p99 or 0.0) for run in runs)
    share = median(run.tool.cpu_share for run in runs)
    return f"The tool kept up: 99 % of the frames were at most {_ms(late)} ms late, {100 * share:.0f} % of a core."


def _row(run: Figures) -> tuple[str, ...]:
    q = run.quality
    return (
        str(run.conditions.streams),
        _three(run.lags.shown),
        _two(run.lags.stable),
        _three(run.lags.final),
        _number(q.wer),
        _number(q.erased_per_word, 2),
        _number(server_ms(run)),
    )


def _three(d: Distribution) -> str:
    return " / ".join(_seconds(d.p50, d.p95, d.p99))


def _two(d: Distribution) -> str:
    return " / ".join(_seconds(d.p50, d.p95))


def _queue(*values: float | None) -> str:
    return " / ".join(_ms(value) for value in values)


def _seconds(*values: float | None) -> tuple[str, ...]:
    return tuple(_number(value, 2) for value in values)


def _ms(value: float | None) -> str:
    return NONE if value is None else f"{1000 * value:.0f}"


def _number(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _round(value: float | None) -> str:
    return str(int(value)) if value is not None and value == int(value) else _number(value, 3)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
