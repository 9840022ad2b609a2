"""Starting and ending: what must be right before the port opens, and what is delivered before it closes."""

import asyncio
import random
import signal
import socket
import sys
import threading
from pathlib import Path

import httpx
import msgspec
import pytest
from helpers import PATIENCE_S, RATE, TONE_MODEL, HeldEngine, pcm, serving, talking, tone_app
from websockets.exceptions import InvalidStatus

from streamasr.errors import ConfigError, ModelError
from streamasr.inference.fake import ToneCodeEngine, ToneVad, tone_words
from streamasr.inference.loading import Loaded, Loading
from streamasr.inference.models import Guards
from streamasr.inference.worker import LocalBackend
from streamasr.ops.config import Settings
from streamasr.server.app import App, Server, bind, run

WORDS = random.Random(0).sample(range(64), 12)
SPEECH = pcm(tone_words(WORDS, lead=RATE // 2, tail=800))
"""Speech that has not reached its endpoint."""


async def _heard(talk) -> None:
    """Wait until the server has read all that was sent."""
    await talk.say("ping")
    await talk.until("pong")


async def test_drain_finalises_what_is_being_said_and_delivers_it():
    async with serving() as server, talking(server.url, sample_rate=RATE) as talk, talking(server.url) as idle:
        await talk.audio(SPEECH)
        await _heard(talk)
        server.server.stop()

        code, reason = await talk.to_the_end()
        assert (await idle.to_the_end())[0] == 1012

    assert (code, reason) == (1012, "server is shutting down; resume with the last token")
    assert talk.words() == WORDS
    assert talk.of("final")[-1]["reason"] == "drain"
    assert talk.of("final")[-1]["resume"]
    assert server.server.exit_code == 0


async def test_while_it_drains_nobody_is_let_in():
    engine = HeldEngine()
    async with (
        serving(LocalBackend(lambda: engine)) as server,
        httpx.AsyncClient() as http,
        talking(server.url, sample_rate=RATE) as talk,
    ):
        await talk.audio(SPEECH)
        await _heard(talk)
        server.server.stop()
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)

        with pytest.raises(InvalidStatus) as refused:
            async with talking(server.url):
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"]
        assert b"shutting down" in refused.value.response.body
        assert (await http.get(f"{server.http}/readyz")).status_code == 503
        assert (await http.get(f"{server.http}/healthz")).status_code == 200

        engine.let.set()
        assert (await talk.to_the_end())[0] == 1012
    assert talk.words() == WORDS


async def test_a_drain_does_not_wait_for_ever():
    engine = HeldEngine()
    async with (
        serving(LocalBackend(lambda: engine), drain_timeout_s=0.05) as server,
        talking(server.url, sample_rate=RATE) as talk,
    ):
        await talk.audio(SPEECH)
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        server.server.stop()
        assert (await talk.to_the_end())[0] == 1012
        engine.let.set()
    assert talk.words() == []


async def test_a_second_signal_ends_at_once():
    engine = HeldEngine()
    async with (
        serving(LocalBackend(lambda: engine), drain_timeout_s=PATIENCE_S) as server,
        talking(server.url, sample_rate=RATE) as talk,
    ):
        await talk.audio(SPEECH)
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        server.server.stop(signal.SIGTERM)
        server.server.stop(signal.SIGTERM)
        assert (await talk.to_the_end())[0] == 1012
        engine.let.set()
    assert server.server.exit_code == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_to_the_process_loses_no_word(number):
    script = Path(__file__).parents[1] / "serve_tones.py"
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        async with asyncio.timeout(PATIENCE_S):
            port = int(await process.stdout.readline())
        async with talking(f"ws://127.0.0.1:{port}/v1/stream", sample_rate=RATE) as talk:
            await talk.audio(SPEECH)
            await _heard(talk)
            process.send_signal(number)
            assert (await talk.to_the_end())[0] == 1012
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert talk.words() == WORDS


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^port: {port} on 127\.0\.0\.1 is in use; choose another with --port$"):
            bind(Settings(port=port))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the second cannot even bind")
def test_a_port_that_another_server_takes_between_bind_and_listen_is_one_sentence_too():
    with bind(Settings(port=0)) as other:
        app = tone_app(port=other.getsockname()[1])
        ours = bind(app.settings)
        other.listen()
        with pytest.raises(ConfigError, match="in use"):
            run(app, ours, lambda: None)


def test_a_host_that_is_not_ours_is_one_sentence():
    with pytest.raises(ConfigError, match=r"^host: "):
        bind(Settings(host="host.invalid", port=0))


def test_a_model_that_cannot_be_run_ends_the_server():
    def fail() -> ToneCodeEngine:
        raise ModelError("the model cannot be run")

    app = tone_app(LocalBackend(fail))
    listener = bind(app.settings)
    address = listener.getsockname()
    ready = threading.Event()
    with pytest.raises(ModelError, match="the model cannot be run"):
        run(app, listener, ready.set)
    assert not ready.is_set()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


async def test_while_the_model_is_on_its_way_the_port_is_open_and_says_how_far_it_has_come():
    let, ready = threading.Event(), asyncio.Event()

    def load() -> ToneCodeEngine:
        let.wait(PATIENCE_S)
        return ToneCodeEngine()

    async def source(loading: Loading) -> Loaded:
        loading.report("downloading 75 MB", 0.5)
        await downloaded.wait()
        return Loaded(model=TONE_MODEL, backend=LocalBackend(load), reason="the only one", notice="it knows tones")

    downloaded = asyncio.Event()
    app = App(Settings(port=0), source, ToneVad)
    listener = bind(app.settings)
    server = Server(app, ready.set)
    port = listener.getsockname()[1]
    listener.listen()  # so that a client may come before the server does
    task = asyncio.create_task(server.serve(sockets=[listener]))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/healthz")).status_code == 200
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert answer.json()["percent"] == 40
        assert "downloading 75 MB (40 %)" in answer.json()["reason"]
        assert (await http.get("/v1/models")).json()["data"] == []
        with pytest.raises(InvalidStatus) as refused:
            async with talking(f"ws://127.0.0.1:{port}/v1/stream"):
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"]

        downloaded.set()
        while "warming up" not in (answer := (await http.get("/readyz")).json())["reason"]:
            assert answer["percent"] == 40
        assert answer["percent"] == 80
        let.set()
        async with asyncio.timeout(PATIENCE_S):
            await ready.wait()
        assert (await http.get("/readyz")).status_code == 200
        (model,) = (await http.get("/v1/models")).json()["data"]
        assert (model["reason"], model["notice"]) == ("the only one", "it knows tones")
        async with talking(f"ws://127.0.0.1:{port}/v1/stream?sample_rate=16000") as talk:
            assert (await talk.until("ready"))["model"] == {"name": "tones", "notice": "it knows tones"}
    server.stop()
    await task


def test_the_policy_takes_the_models_numbers_and_a_forced_window():
    guards = Guards(no_speech=0.5, logprob=-1.5, compression_ratio=2.0, tokens_per_second=20.0)
    model = msgspec.structs.replace(
        TONE_MODEL, encoder_floor_s=10.0, encoder_margin_s=2.0, longest_window_s=20.0, guards=guards
    )
    policy = model.policy(encoder_window_s=30.0)

    assert (policy.encoder_floor, policy.encoder_margin, policy.longest_window) == (160_000, 32_000, 320_000)
    assert policy.encoder_forced == 480_000
    assert (policy.no_speech, policy.no_speech_logprob) == (0.5, -1.5)
    assert model.policy().encoder_forced == 0
