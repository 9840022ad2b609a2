"""Who is let in by a real server, when its engine has been busy."""

import time

import httpx
import pytest
from helpers import Running, serving, talking
from websockets.exceptions import InvalidStatus

from streamasr.inference.worker import BatchRecord


def keep_busy(server: Running, share: float, speakers: int) -> None:
    """As if so many had spoken for the last six seconds, and kept the engine busy for that share of the time."""
    now = time.monotonic()
    for second in range(-6, 1):
        for speaker in range(speakers):
            end = int((now + second) * 16_000)
            server.app.registry.stats.batch(
                BatchRecord(
                    size=1,
                    failed=0,
                    encoder_samples=16_000,
                    padded_share=0.0,
                    queue_ages=(0.0,),
                    engine_s=share / speakers,
                    ended_at=now + second,
                    devices=1,
                    lanes=(f"s{speaker}/0",),
                    kinds=("partial",),
                    spans=((end - 16_000, end),),
                    superseded=0,
                )
            )


async def test_a_server_that_could_not_follow_one_more_refuses_it_with_a_time_and_stays_ready():
    async with serving(admission="auto") as server, httpx.AsyncClient(base_url=server.http) as http:
        keep_busy(server, 0.88, 20)
        with pytest.raises(InvalidStatus) as refused:
            async with talking(server.url):
                pass
        answer = refused.value.response

        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert b'"code":"overloaded"' in answer.body
        assert b"20 sessions speak" in answer.body
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/v1/stats")).json()["sessions"]["refused"] == 1


async def test_a_server_that_can_follow_one_more_lets_it_in():
    async with serving(admission="auto") as server:
        keep_busy(server, 0.8, 20)
        async with talking(server.url, sample_rate=16_000) as talk:
            await talk.until("ready")


async def test_with_admission_off_only_the_fixed_limit_refuses():
    async with serving(admission="off", max_sessions=1) as server:
        keep_busy(server, 1.0, 20)
        async with talking(server.url, sample_rate=16_000) as talk:
            await talk.until("ready")
            with pytest.raises(InvalidStatus, match="503"):
                async with talking(server.url):
                    pass
