"""Plain HTTP: health, the model, and how to get to the sockets."""

import httpx
import pytest
import pytest_asyncio
from helpers import RATE, pcm, spoken, talking
from websockets.exceptions import InvalidStatus

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def http(server):
    async with httpx.AsyncClient(base_url=server.http) as client:
        yield client


async def test_a_warm_server_is_healthy_and_ready(http):
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ready"}


async def test_the_model_is_listed_as_openai_lists_models(http):
    listed = (await http.get("/v1/models")).json()

    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert model["id"] == "tones"
    assert model["object"] == "model"
    assert model["languages"] == ["en", "de"]
    assert model["tasks"] == ["transcribe"]


async def test_the_stats_tell_what_was_heard(http, server):
    before = (await http.get("/v1/stats")).json()
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(spoken([1, 2, 3])))
        await talk.until("final")
        during = (await http.get("/v1/stats")).json()
        await talk.say("stop")
        await talk.to_the_end()
    await server.left()
    after = (await http.get("/v1/stats")).json()

    assert during["model"] == "tones"
    assert during["sessions"]["open"] == before["sessions"]["open"] + 1
    assert during["sessions"]["speaking"] >= 1
    assert after["sessions"]["open"] == before["sessions"]["open"]
    assert after["sessions"]["ended"] == before["sessions"]["ended"] + 1
    assert after["windows"]["final"] > before["windows"]["final"]
    assert after["batches"]["windows"] == sum(int(size) * n for size, n in after["batches"]["sizes"].items())
    assert after["queue_age_s"]["p50"] <= after["queue_age_s"]["p95"] <= after["queue_age_s"]["p99"]
    assert after["stages_s"]["gate"] > before["stages_s"]["gate"]
    assert after["uptime_s"] > before["uptime_s"]
    assert after["cpu_s"] > before["cpu_s"]


async def test_a_plain_request_of_the_socket_is_told_to_upgrade(http, server):
    answer = await http.get("/v1/stream?sample_rate=16000")

    assert answer.status_code == 426
    assert answer.headers["Upgrade"] == "websocket"
    assert answer.json()["code"] == "upgrade_required"
    assert f"{server.url}?sample_rate=16000" in answer.json()["message"]


async def test_what_there_is_not_is_404_and_says_what_there_is(http, server):
    answer = await http.get("/v2/stream")
    assert answer.status_code == 404
    assert "/v1/stream" in answer.json()["message"]

    with pytest.raises(InvalidStatus) as refused:
        async with talking(f"ws://{server.address}/v2/stream"):
            pass
    assert refused.value.response.status_code == 404
    assert b"/v1/stream" in refused.value.response.body
