"""Which plots a result is worth, and what is in them. Pure: values in, SVG text out."""

from collections.abc import Sequence

from loadtest import svg
from loadtest.results import BIN_S, Distribution, Figures, Moment, Results, ServerSide
from loadtest.search import server_ms
from loadtest.svg import Axis, Mark, Series

OVERFLOW = 3.0
"""Lags of more than so many limits are off the chart: a queue that grows has any lag one waits for."""
LIMIT_S = 1.5
"""The lag of the 95th percentile above which a server is full, if the result has no other."""
STAGES = ("features", "encode", "decode", "align", "assembly", "gate")


def run(figures: Figures) -> dict[str, str]:
    """The plots of one run by name; only those that there are values for."""
    found = {
        "lags": _lags(figures),
        "shown": _histogram("Word shown: how the lag is spread", figures.lags.shown, 0),
        "final": _histogram("End of speech to final: how it is spread", figures.lags.final, 2),
        "cpu": _cpu(figures),
        "batches": _batches(figures.server),
        "queue": _over_time("Age of the queue", "ms, p95", figures.series, "queue_age_p95", 1000.0, 1),
        "headroom": _over_time("Headroom: the engine's idle share", "%", figures.series, "headroom", 100.0, 2),
        "cores": _over_time("Processor of the server", "cores", figures.series, "cpu", 1.0, 0),
        "memory": _over_time("Memory of the server", "MB", figures.series, "rss_bytes", 1e-6, 3),
    }
    return {name: plot for name, plot in found.items() if plot}


def load(all_results: Sequence[Results]) -> dict[str, str]:
    """What changes with the number of streams, by name; nothing if there is but one number."""
    limit = next((r.limit_shown_p95_s for r in all_results if r.limit_shown_p95_s), LIMIT_S)
    steps = [(s.streams, s.shown, s.final) for r in all_results for f in r.runs for s in f.steps]
    runs = sorted((f for r in all_results if r.kind != "compare" for f in r.runs), key=lambda f: f.conditions.streams)
    rows = steps or [(f.conditions.streams, f.lags.shown, f.lags.final) for f in runs]
    if len({streams for streams, _, _ in rows}) < 2:
        return {}
    rows.sort(key=lambda row: row[0])
    found = {
        "lag-by-streams": _against(
            "Word shown", [(n, shown) for n, shown, _ in rows], limit, [Mark(limit, "limit of p95")]
        ),
        "final-by-streams": _against("End of speech to final", [(n, final) for n, _, final in rows], limit),
        "cost-by-streams": _costs([] if steps else runs),
    }
    return {name: plot for name, plot in found.items() if plot}


def cpu_parts(figures: Figures) -> list[tuple[str, float]]:
    """Milliseconds of the server for each second of speech: each stage, and what is left of its processor time."""
    server = figures.server
    if server is None or not server.stages_s or not figures.spoken_s:
        return []
    scale = 1000 / figures.spoken_s
    parts = [(stage, server.stages_s.get(stage, 0.0) * scale) for stage in STAGES]
    if server.cpu_s is not None:
        rest = server.cpu_s * scale - sum(value for _, value in parts)
        if rest > 0:  # on a busy machine the stages' clock runs ahead of the processor time
            parts.append(("rest: sockets, sessions", rest))
    return parts


def _lags(figures: Figures) -> str:
    named = {
        "word shown": figures.lags.shown,
        "word stable": figures.lags.stable,
        "speech end to final": figures.lags.final,
        "preflight": figures.lags.preflight,
    }
    series = [
        Series(name, tuple((value, float(share)) for share, value in enumerate(d.quantiles)), colour)
        for colour, (name, d) in enumerate(named.items())
        if d.quantiles
    ]
    if not series:
        return ""
    low = min(0.0, *(line.points[1][0] for line in series))
    high = max(line.points[99][0] for line in series)
    shown = [
        Series(line.name, tuple((x, y) for x, y in line.points if low <= x <= high), line.colour) for line in series
    ]
    marks = [Mark(50, "half"), Mark(95, "95 %")]
    return svg.lines("How many had to wait no longer", shown, Axis("seconds", low, high), Axis("%", 0, 100), marks)


def _histogram(title: str, spread: Distribution, colour: int) -> str:
    if not spread.bins:
        return ""
    labels = [f"{spread.first_bin + index * BIN_S:.2f}" for index in range(len(spread.bins))]
    share = [100 * count / spread.count for count in spread.bins]
    x = f"seconds, {1000 * BIN_S:.0f} ms a column; the last one holds all above"
    return svg.columns(title, list(zip(labels, share, strict=True)), x, Axis("% of all"), colour=colour)


def _cpu(figures: Figures) -> str:
    parts = cpu_parts(figures)
    if not parts:
        return ""
    return svg.divided("Where the server's time goes, for each second of speech", parts, "ms")


def _batches(server: ServerSide | None) -> str:
    if server is None or not server.batch_sizes:
        return ""
    sizes = {int(size): count for size, count in server.batch_sizes.items()}
    values = [(str(size), float(sizes.get(size, 0))) for size in range(1, max(sizes) + 1)]
    return svg.columns("How many windows ran together", values, "windows in a batch", Axis("batches"), colour=5)


def _over_time(title: str, unit: str, series: Sequence[Moment], field: str, scale: float, colour: int) -> str:
    values = [(moment.at, getattr(moment, field)) for moment in series]
    points = tuple((at, None if value is None else value * scale) for at, value in values)
    if sum(value is not None for _, value in points) < 2:
        return ""
    high = 100.0 if unit == "%" else None
    return svg.lines(title, [Series(title, points, colour)], Axis("seconds", None), Axis(unit, 0.0, high))


def _against(title: str, rows: Sequence[tuple[int, Distribution]], limit: float, marks: Sequence[Mark] = ()) -> str:
    series = [
        Series(
            f"p{share}",
            tuple((float(n), d.quantiles[share]) for n, d in rows if d.quantiles),
            colour,
            dots=True,
        )
        for colour, share in ((0, 50), (1, 95), (6, 99))
    ]
    values = [value for line in series for _, value in line.points if value is not None]
    if not values:
        return ""
    cut = OVERFLOW * limit if max(values) > OVERFLOW * limit else None
    note = f" (above {cut:g} s cut off)" if cut else ""
    x = Axis("streams that speak at once")
    return svg.lines(f"{title}, against streams{note}", series, x, Axis("seconds", 0.0, cut), marks)


def _costs(runs: Sequence[Figures]) -> str:
    known = [(f, server_ms(f)) for f in runs]
    points = tuple((float(f.conditions.streams), cost) for f, cost in known if cost is not None)
    if len(points) < 2:
        return ""
    x = Axis("streams that speak at once")
    line = Series("server", points, 0, dots=True)
    return svg.lines("Processor time of the server for each stream", [line], x, Axis("ms for each second of speech"))
