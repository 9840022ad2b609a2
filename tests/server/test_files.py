"""Recordings over HTTP: words out while the bytes come in, clear refusals, and nothing left behind."""

import asyncio
import gc
import io
import json
import random
import wave
from contextlib import asynccontextmanager

import httpx
import numpy as np
import pytest
from helpers import PATIENCE_S, RATE, HeldEngine, neighbour, pcm, serving, spoken, tone_app

from streamasr.core.events import Hypothesis, Window
from streamasr.core.options import FileOptions
from streamasr.errors import WindowFailed
from streamasr.inference.fake import ScriptedEngine, ToneCodeEngine
from streamasr.inference.media import GrowingFile
from streamasr.inference.worker import LocalBackend
from streamasr.results import Transcript
from streamasr.server.files import Answer, Uploads
from streamasr.wire.files import FileRequest, Lines

WORDS = random.Random(3).sample(range(64), 40)


def recording(words=WORDS, *, tail: int = RATE) -> bytes:
    """A WAV file in which these are spoken, ten at a time."""
    parts = [spoken(words[first : first + 10], tail=tail) for first in range(0, len(words), 10)]
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        wav.writeframes(pcm(np.concatenate(parts)))
    return file.getvalue()


def said(messages) -> list[int]:
    return [int(word[1:]) for m in messages if m["type"] == "segment" for word in m["text"].split()]


@asynccontextmanager
async def client(server):
    async with httpx.AsyncClient(base_url=server.http, timeout=PATIENCE_S) as http:
        yield http


async def lines(http, content, **query) -> list[dict]:
    answer = await http.post("/v1/transcribe", params=query, content=content)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def pieces(data: bytes, size: int):
    for first in range(0, len(data), size):
        yield data[first : first + size]


@pytest.mark.asyncio(loop_scope="module")
class TestAnswers:
    async def test_every_word_comes_in_order_then_done(self, server):
        async with client(server) as http:
            messages = await lines(http, recording())

        assert said(messages) == WORDS
        segments = [m for m in messages if m["type"] == "segment"]
        assert [s["id"] for s in segments] == list(range(len(segments)))
        assert segments[0]["words"][0].keys() == {"word", "start", "end", "confidence"}
        assert {m["type"] for m in messages} == {"segment", "progress", "done"}
        done = messages[-1]
        assert done["type"] == "done"
        assert done["model"] == "tones"
        assert done["language"] == "en"
        assert done["duration"] == pytest.approx(len(recording()) / 2 / RATE, abs=0.01)

    async def test_a_chunked_body_in_odd_pieces_is_the_same(self, server):
        async with client(server) as http:
            assert said(await lines(http, pieces(recording(), 33_333))) == WORDS

    async def test_a_document_is_the_transcript(self, server):
        async with client(server) as http:
            answer = await http.post("/v1/transcribe", content=recording(), headers={"Accept": "application/json"})
        assert answer.headers["Content-Type"] == "application/json"
        transcript = Transcript.from_json(answer.content)

        assert [int(word[1:]) for word in transcript.text.split()] == WORDS
        assert transcript.model == "tones"
        assert answer.json()["text"] == transcript.text

    async def test_times_are_the_recordings_whatever_was_left_out(self, server):
        async with client(server) as http:
            whole = await lines(http, recording())
            part = await lines(http, recording(), offset="4", duration="6.5")
        words = {w["word"]: w for m in whole if m["type"] == "segment" for w in m["words"]}
        heard = [w for m in part if m["type"] == "segment" for w in m["words"]]

        assert 10 < len(heard) < len(WORDS)
        for word in heard:
            assert word["start"] == pytest.approx(words[word["word"]]["start"], abs=0.01)
            assert 4 <= word["start"] < word["end"] <= 10.51

    async def test_options_reach_the_model(self, server):
        async with client(server) as http:
            messages = await lines(http, recording(WORDS[:3]), language="de", word_timestamps="false")

        assert messages[-1]["language"] == "de"
        assert messages[0]["type"] in ("segment", "progress")
        assert [m["words"] for m in messages if m["type"] == "segment"] == [[]]

    @pytest.mark.parametrize(
        ("query", "field", "expected"),
        [
            ({"beam": "5"}, "beam", "there is no setting"),
            ({"beam_size": "0"}, "beam_size", "an integer from 1 to 20"),
            ({"temperatures": "0,2"}, "temperatures", "numbers from 0 to 1"),
            ({"word_timestamps": "maybe"}, "word_timestamps", "true or false"),
            ({"no_speech_threshold": "nan"}, "no_speech_threshold", "a number from 0 to 1"),
            ({"offset": "-1"}, "offset", "seconds"),
            ({"duration": "0"}, "duration", "seconds"),
            ({"language": "EN"}, "language", "language code"),
            ({"language": "fr"}, "language", "tones knows en, de"),
            ({"task": "translate"}, "task", "only transcribes"),
            ({"task": "sing"}, "task", "one of transcribe, translate"),
        ],
        ids=str,
    )
    async def test_a_wrong_option_is_named(self, server, query, field, expected):
        async with client(server) as http:
            answer = await http.post("/v1/transcribe", params=query, content=recording(WORDS[:2]))
        assert answer.status_code == 400
        body = answer.json()
        assert body["type"] == "error"
        assert body["field"] == field
        assert expected in body["message"]

    @pytest.mark.parametrize("content", [b"", b"this is not audio at all" * 100], ids=["empty", "text"])
    async def test_what_is_no_audio_is_422(self, server, content):
        async with client(server) as http:
            answer = await http.post("/v1/transcribe", content=content)
        assert answer.status_code == 422
        assert answer.json()["code"] == "invalid_media"
        assert "the recording" in answer.json()["message"]

    async def test_a_damaged_file_says_what_it_holds_and_then_where_it_breaks(self, server, tmp_path):
        import av

        whole = tmp_path / "whole.mp3"
        with av.open(str(whole), "w") as container, wave.open(io.BytesIO(recording())) as wav:
            stream = container.add_stream("mp3", rate=RATE)
            samples = np.frombuffer(wav.readframes(wav.getnframes()), np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        data = bytearray(whole.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 4000] = bytes(4000)
        async with client(server) as http:
            messages = await lines(http, bytes(data))
        error = messages[-1]
        assert error["code"] == "invalid_media"
        assert "damaged at 8" in error["message"]
        assert said(messages)[:18] == WORDS[:18]
        assert set(said(messages)) < set(WORDS)

    async def test_get_is_told_to_post(self, server):
        async with client(server) as http:
            answer = await http.get("/v1/transcribe")
        assert answer.status_code == 405
        assert "POST" in answer.headers["Allow"]

    async def test_live_sessions_lose_nothing_beside_a_recording(self, server):
        async with client(server) as http, neighbour(server):
            assert said(await lines(http, recording())) == WORDS


async def test_words_come_before_the_upload_has_ended():
    """And the connection carries both at once."""
    data = recording(WORDS * 3)
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*server.address.split(":"))
        head = f"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data[: len(data) // 2])
        async with asyncio.timeout(PATIENCE_S):
            while b'"type":"segment"' not in await reader.readline():
                pass
            writer.write(data[len(data) // 2 :])
            while b'"type":"done"' not in (line := await reader.readline()):
                assert line
        writer.close()
        await server.left()


async def test_limits_are_refused_in_words():
    data = recording(WORDS[:10])
    async with serving(max_file_bytes=len(data) - 1) as server, client(server) as http:
        announced = await http.post("/v1/transcribe", content=data)
        counted = await http.post("/v1/transcribe", content=pieces(data, 50_000))
    assert announced.status_code == 413
    assert announced.json()["code"] == "too_large"
    assert str(len(data) - 1) in announced.json()["message"]
    if counted.status_code == 200:  # a word was already said when the limit was reached
        assert json.loads(counted.text.splitlines()[-1])["code"] == "too_large"
    else:
        assert counted.status_code == 413

    async with serving(max_file_seconds=5.0) as server, client(server) as http:
        messages = await lines(http, recording())
    assert messages[-1]["type"] == "error"
    assert messages[-1]["code"] == "too_large"
    assert "5 s" in messages[-1]["message"]


async def test_more_recordings_than_places_are_refused_and_a_place_comes_free():
    engine = HeldEngine()
    async with serving(LocalBackend(lambda: engine), max_files=1) as server, client(server) as http:
        first = asyncio.create_task(lines(http, recording(WORDS[:5])))
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        second = await http.post("/v1/transcribe", content=recording(WORDS[:5]))

        assert second.status_code == 503
        assert int(second.headers["Retry-After"]) > 0
        assert second.json()["code"] == "overloaded"
        assert "are taken (1)" in second.json()["message"]

        engine.let.set()
        assert said(await first) == WORDS[:5]
        await server.left()
        assert said(await lines(http, recording(WORDS[:5]))) == WORDS[:5]


async def test_a_client_that_leaves_takes_its_work_and_its_file_with_it():
    engine = HeldEngine()
    async with serving(LocalBackend(lambda: engine)) as server:
        async with client(server) as http:
            upload = asyncio.create_task(lines(http, recording()))
            await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
            upload.cancel()
            await asyncio.gather(upload, return_exceptions=True)
        await server.left()
        engine.let.set()
        assert [file for file in gc.get_objects() if type(file) is GrowingFile and not file.closed] == []

        async with client(server) as http:
            assert said(await lines(http, recording(WORDS[:5]))) == WORDS[:5]


async def test_a_client_that_leaves_amid_its_upload_is_freed():
    data = recording()
    async with serving() as server:
        _, writer = await asyncio.open_connection(*server.address.split(":"))
        writer.write(f"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        writer.write(data[: len(data) // 3])
        await writer.drain()
        async with asyncio.timeout(PATIENCE_S):
            while not len(server.app.registry):
                await asyncio.to_thread(lambda: None)
        writer.close()
        await server.left()


async def test_an_upload_of_which_nothing_comes_is_given_up(monkeypatch):
    monkeypatch.setattr("streamasr.server.files.STALLED_S", 0.05)
    async with serving() as server:
        reader, writer = await asyncio.open_connection(*server.address.split(":"))
        writer.write(b"POST /v1/transcribe HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nRIFF")
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await server.left()
    assert b"422" in head.splitlines()[0]


async def test_before_the_model_is_ready_a_client_is_told_when_to_come_back():
    app = tone_app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app.asgi), base_url="http://server") as http:
        answer = await http.post("/v1/transcribe", content=recording(WORDS[:2]))
    await app.close()
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "not ready yet" in answer.json()["message"]


async def test_a_client_that_has_sent_everything_and_reads_nothing_is_given_up():
    data = recording(WORDS[:5])
    sent = []

    async def receive():
        if not sent:
            sent.append("body")
            return {"type": "http.request", "body": data}
        return await asyncio.get_running_loop().create_future()

    async def send(message):
        sent.append(message["type"])
        if message.get("body"):
            await asyncio.get_running_loop().create_future()

    async with serving(send_timeout_s=0.05) as server, asyncio.timeout(PATIENCE_S):
        answer = Answer(Uploads(server.app.registry), FileRequest(options=FileOptions()), Lines())
        await answer({"type": "http"}, receive, send)
        await server.left()
    assert sent == ["body", "http.response.start", "http.response.body"]


async def test_a_drain_lets_a_recording_finish():
    engine = HeldEngine()
    async with serving(LocalBackend(lambda: engine)) as server, client(server) as http:
        upload = asyncio.create_task(lines(http, recording()))
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        server.server.stop()
        refused = await http.post("/v1/transcribe", content=recording(WORDS[:5]))
        engine.let.set()
        assert said(await upload) == WORDS
    assert refused.status_code == 503
    assert "shutting down" in refused.json()["message"]


async def test_a_drain_that_is_over_ends_a_recording_with_an_error():
    engine = HeldEngine()
    async with serving(LocalBackend(lambda: engine), drain_timeout_s=0.1) as server, client(server) as http:
        upload = asyncio.create_task(http.post("/v1/transcribe", content=recording()))
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        server.server.stop()
        answer = await upload
        engine.let.set()
    last = json.loads(answer.text.splitlines()[-1])
    assert last["type"] == "error"
    assert last["code"] == "overloaded"
    assert "shutting down" in last["message"]


async def test_what_the_engine_fails_on_is_told_and_the_rest_is_said():
    tones = ToneCodeEngine()

    def answer(window: Window) -> Hypothesis | WindowFailed:
        if window.anchor < 4 * RATE:
            return WindowFailed("a secret of ours")
        return tones.transcribe([window])[0]

    async with serving(LocalBackend(lambda: ScriptedEngine(answer))) as server, client(server) as http:
        messages = await lines(http, recording(tail=6 * RATE))
    lost = [m for m in messages if m["type"] == "lost"]
    assert lost
    assert "secret" not in json.dumps(messages)
    assert said(messages) == WORDS[-len(said(messages)) :]
    assert said(messages)


async def test_a_failure_of_ours_is_not_told():
    class Broken(ToneCodeEngine):
        def transcribe(self, batch):
            raise RuntimeError("a secret of ours")

    async with serving(LocalBackend(Broken)) as server, client(server) as http:
        messages = await lines(http, recording(WORDS[:5]))
    assert [m["type"] for m in messages if m["type"] != "progress"] == ["lost", "done"]
    assert "secret" not in json.dumps(messages)
