"""What the server tells of itself while it is measured: ``GET /v1/stats`` and, if it runs here, its process.

A server that tells nothing is fine: then these figures are missing.
"""

import asyncio
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec

from loadtest.results import Moment, ServerSide

EVERY_S = 1.0
WAIT_S = 5.0
STAGES = ("features", "encode", "decode", "align", "assembly", "gate")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The server at one time."""

    at: float
    """``time.monotonic()``."""
    streams: int = 0
    stats: "Stats | None" = None
    cpu_s: float | None = None
    rss_bytes: int | None = None


class Sessions(msgspec.Struct, frozen=True):
    """Counts of sessions."""

    open: int = 0
    speaking: int = 0
    refused: int = 0
    started: int = 0


class QueueAge(msgspec.Struct, frozen=True):
    """How long windows waited, seconds, over the last minute."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Batches(msgspec.Struct, frozen=True):
    """Counted since the server began."""

    count: int = 0
    windows: int = 0
    sizes: dict[str, int] = {}
    padded_share: float | None = None


class Stats(msgspec.Struct, frozen=True):
    """What is used of ``/v1/stats``; what a server leaves out counts as nothing."""

    sessions: Sessions = Sessions()
    headroom: float | None = None
    queue_age_s: QueueAge = QueueAge()
    batches: Batches = Batches()
    windows: dict[str, int] = {}
    stages_s: dict[str, float] = {}
    cpu_s: float | None = None
    rss_bytes: int | None = None


class Watcher:
    """Reads a server again and again until it is told to stop."""

    def __init__(self, url: str, key: str = "", pid: int | None = None) -> None:
        """``url`` is any address of the server; ``pid`` its process, if it runs on this machine."""
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        self._url = urlunsplit((scheme, parts.netloc, "/v1/stats", "", ""))
        self._key = key
        self._pid = pid
        self.readings: list[Reading] = []

    async def read(self, streams: int) -> Reading:
        """Read once; ``streams`` lanes are speaking."""
        stats = await asyncio.to_thread(self._stats)
        cpu, rss = process_usage(self._pid) if self._pid else (None, None)
        reading = Reading(
            at=time.monotonic(),
            streams=streams,
            stats=stats,
            cpu_s=cpu if stats is None or stats.cpu_s is None else stats.cpu_s,
            rss_bytes=rss if stats is None or stats.rss_bytes is None else stats.rss_bytes,
        )
        self.readings.append(reading)
        return reading

    async def watch(self, streams: Callable[[], int]) -> None:
        """Read every second, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.read(streams())

    def _stats(self) -> Stats | None:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        request = urllib.request.Request(self._url, headers=headers)  # noqa: S310 - the user's own server
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
                return msgspec.json.decode(answer.read(), type=Stats)
        except (urllib.error.URLError, OSError, msgspec.DecodeError):  # another service, or too busy to say
            return None


def process_usage(pid: int) -> tuple[float | None, int | None]:
    """CPU seconds and resident bytes of a process; None where the system does not tell."""
    place = Path("/proc") / str(pid)
    try:
        fields = (place / "stat").read_text().rpartition(")")[2].split()
        pages = int((place / "statm").read_text().split()[1])
    except OSError:
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks, pages * os.sysconf("SC_PAGE_SIZE")


def server_side(readings: Sequence[Reading], until: float) -> ServerSide | None:
    """The difference between the first and the last reading; None if nothing was told.

    Percentiles come from the last reading at or before ``until`` (``time.monotonic()``): when the streams ended.
    """
    told = [r for r in readings if r.stats is not None or r.cpu_s is not None]
    if len(told) < 2:
        return None
    first, last = told[0], told[-1]
    before, after = first.stats or Stats(), last.stats or Stats()
    at_end = next((r.stats for r in reversed(told) if r.at <= until and r.stats), after)
    headroom = [r.stats.headroom for r in told if r.stats and r.stats.headroom is not None and r.at <= until]
    return ServerSide(
        seconds=round(last.at - first.at, 3),
        cpu_s=_difference(last.cpu_s, first.cpu_s),
        rss_bytes=last.rss_bytes,
        stages_s={name: round(after.stages_s.get(name, 0.0) - before.stages_s.get(name, 0.0), 4) for name in STAGES},
        batches=after.batches.count - before.batches.count,
        windows_in_batches=after.batches.windows - before.batches.windows,
        batch_sizes=_counts(after.batches.sizes, before.batches.sizes),
        padded_share=after.batches.padded_share,
        windows=_counts(after.windows, before.windows),
        queue_age_p50=at_end.queue_age_s.p50,
        queue_age_p95=at_end.queue_age_s.p95,
        queue_age_p99=at_end.queue_age_s.p99,
        headroom_min=min(headroom, default=None),
        sessions_refused=after.sessions.refused - before.sessions.refused,
    )


def moments(readings: Sequence[Reading], began: float) -> tuple[Moment, ...]:
    """The readings as a series; CPU from one to the next."""
    series = []
    for number, reading in enumerate(readings):
        before = readings[number - 1] if number else None
        cpu = _difference(reading.cpu_s, before.cpu_s) if before else None
        series.append(
            Moment(
                at=round(reading.at - began, 3),
                streams=reading.streams,
                headroom=reading.stats.headroom if reading.stats else None,
                queue_age_p95=reading.stats.queue_age_s.p95 if reading.stats else None,
                cpu=None if cpu is None or before is None else round(cpu / max(1e-3, reading.at - before.at), 3),
                rss_bytes=reading.rss_bytes,
            )
        )
    return tuple(series)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else round(after - before, 4)


def _counts(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    return {name: n for name, count in after.items() if (n := count - before.get(name, 0))}
