"""What the server tells of itself: read over real HTTP, and as differences."""

import asyncio
import os

import pytest

from loadtest.watching import Batches, QueueAge, Reading, Sessions, Stats, Watcher, moments, process_usage, server_side

BEFORE = Stats(
    sessions=Sessions(refused=1),
    headroom=0.9,
    batches=Batches(count=10, windows=12, sizes={"1": 8, "2": 2}),
    windows={"partial": 8, "final": 4},
    stages_s={"encode": 1.0, "gate": 0.5},
)
MIDDLE = Stats(headroom=0.25, queue_age_s=QueueAge(p50=0.01, p95=0.02, p99=0.03))
AFTER = Stats(
    sessions=Sessions(refused=3),
    headroom=0.1,
    queue_age_s=QueueAge(p50=9.0, p95=9.0, p99=9.0),
    batches=Batches(count=30, windows=72, sizes={"1": 8, "2": 12, "4": 10}, padded_share=0.25),
    windows={"partial": 58, "final": 14},
    stages_s={"encode": 3.5, "gate": 0.75},
)


def test_counters_are_differences_and_percentiles_are_those_at_the_streams_end():
    readings = [
        Reading(at=100.0, stats=BEFORE, cpu_s=5.0),
        Reading(at=110.0, stats=MIDDLE, cpu_s=9.0),
        Reading(at=120.0, stats=AFTER, cpu_s=11.0, rss_bytes=1000),
    ]
    found = server_side(readings, until=115.0)

    assert (found.seconds, found.cpu_s, found.rss_bytes) == (20.0, 6.0, 1000)
    assert (found.batches, found.windows_in_batches) == (20, 60)
    assert (found.batch_sizes, found.windows) == ({"2": 10, "4": 10}, {"partial": 50, "final": 10})
    assert found.stages_s["encode"] == 2.5
    assert found.stages_s["gate"] == 0.25
    assert (found.queue_age_p50, found.queue_age_p95, found.queue_age_p99) == (0.01, 0.02, 0.03)
    assert (found.headroom_min, found.padded_share, found.sessions_refused) == (0.25, 0.25, 2)


def test_a_service_that_tells_nothing_has_no_figures():
    assert server_side([Reading(at=0.0), Reading(at=1.0)], until=1.0) is None
    assert server_side([], until=1.0) is None


def test_a_series_has_the_cores_in_use_since_the_moment_before():
    readings = [Reading(at=10.0, cpu_s=1.0), Reading(at=12.0, cpu_s=4.0, streams=3, stats=MIDDLE)]
    first, second = moments(readings, began=11.0)
    assert (first.at, first.cpu) == (-1.0, None)
    assert (second.at, second.cpu, second.streams) == (1.0, 1.5, 3)
    assert (second.headroom, second.queue_age_p95) == (0.25, 0.02)


@pytest.mark.parametrize(
    ("body", "headroom"), [(b'{"headroom": 0.5, "cpu_s": 2.0, "new": 1}', 0.5), (b"<html>", None), (None, None)]
)
async def test_stats_are_read_over_http_or_are_not_there(body, headroom):
    """A newer server's fields, another service's page, and nobody at all are all fine."""
    asked = []

    async def answer(reader, writer):
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if body is None:
        server.close()
        await server.wait_closed()
    watcher = Watcher(f"ws://127.0.0.1:{port}/v1/stream?x=1", key="secret")
    reading = await watcher.read(4)
    server.close()
    await server.wait_closed()

    assert (reading.streams, watcher.readings) == (4, [reading])
    assert (reading.stats.headroom if reading.stats else None) == headroom
    if body is not None:
        assert asked[0].startswith(b"GET /v1/stats HTTP/1.1")
        assert b"Bearer secret" in asked[0]


def test_a_process_of_this_machine_is_measured():
    cpu, rss = process_usage(os.getpid())
    if cpu is None:
        pytest.skip("this system has no /proc")
    assert cpu > 0
    assert rss > 10_000_000
    assert process_usage(2**22 + 1) == (None, None)
