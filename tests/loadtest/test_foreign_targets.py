"""The other dialects, each against a scripted service that speaks its wire and checks what it is sent."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from loadtest.targets import TARGETS, Heard, Target, TargetError, TargetOptions, socket
from loadtest.targets.dialect import complete
from streamasr.bench.scoring import TimedWord

PCM = (np.arange(320) - 160).astype("<i2").tobytes()
"""20 ms."""


Script = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script, refuse: tuple[HTTPStatus, str] | None = None) -> AsyncIterator[str]:
    """A service that follows a script in each connection; its errors are the test's."""
    failures: list[BaseException] = []

    async def handle(connection: ServerConnection) -> None:
        try:
            await script(connection)
        except AssertionError as error:
            failures.append(error)
            raise

    def before(connection, request):
        if refuse is None:
            return None
        response = connection.respond(*refuse)
        response.headers["Retry-After"] = "7"
        return response

    async with serve(handle, "127.0.0.1", 0, process_request=before) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    if failures:
        raise failures[0]


def say(**fields) -> str:
    return json.dumps(fields)


async def reading(connection: ServerConnection) -> dict:
    """The next text message."""
    while isinstance(message := await connection.recv(), bytes):
        pass
    return json.loads(message)


async def talk(target: Target, *steps: Callable[[], Awaitable[None]]) -> list[Heard]:
    """Open, take the steps one after another, finish; everything heard."""
    await target.open()
    heard: list[Heard] = []

    async def listen() -> None:
        heard.extend([event async for event in target.events()])

    listening = asyncio.create_task(listen())
    for step in steps:
        await step()
    await target.finish()
    await listening
    await target.close()
    return heard


def deepgram(transcript: str, *, final: bool = False, end: bool = False, flushed: bool = False) -> str:
    words = [
        {"word": w.lower().strip("."), "start": i / 2, "end": i / 2 + 0.5, "confidence": 0.9, "punctuated_word": w}
        for i, w in enumerate(transcript.split())
    ]
    return say(
        type="Results",
        channel_index=[0, 1],
        duration=1.0,
        start=0.0,
        is_final=final,
        speech_final=end,
        from_finalize=flushed,
        channel={"alternatives": [{"transcript": transcript, "confidence": 0.9, "words": words}]},
        metadata={"request_id": "r", "model_info": {"name": "m", "version": "1", "arch": "a"}, "model_uuid": "u"},
    )


METADATA = say(type="Metadata", transaction_key="deprecated", request_id="r", sha256="", created="", duration=1.0)


async def test_deepgram_is_asked_and_understood():
    async def script(connection):
        path, _, query = connection.request.path.partition("?")
        assert path == "/v1/listen"
        assert set(query.split("&")) == {
            "model=nova-3",
            "language=de",
            "encoding=linear16",
            "sample_rate=16000",
            "channels=1",
            "interim_results=true",
            "punctuate=true",
            "vad_events=true",
            "endpointing=300",
        }
        assert connection.request.headers["Authorization"] == "Token k"
        await connection.send(METADATA)
        assert await connection.recv() == PCM
        await connection.send(say(type="SpeechStarted", channel=[0, 1], timestamp=0.0))
        await connection.send(deepgram("one to"))
        await connection.send(deepgram("One two.", final=True))
        await connection.send(deepgram("and"))
        assert await reading(connection) == {"type": "Finalize"}
        await connection.send(deepgram("And three.", final=True, flushed=True))
        assert await reading(connection) == {"type": "CloseStream"}
        await connection.send(deepgram("Late.", final=True))
        await connection.send(METADATA)

    async with scripted(script) as url:
        target = TARGETS["deepgram"](TargetOptions(url=url, key="k", language="de", endpointing_ms=300))
        heard = await talk(target, lambda: target.send(PCM), target.flush)

    words = [TimedWord(*word) for word in [("One", 0, 0.5), ("two.", 0.5, 1), ("And", 0, 0.5), ("three.", 0.5, 1)]]
    assert heard == [
        Heard(kind="partial", utterance=0, unstable="one to"),
        Heard(kind="partial", utterance=0, stable="One two."),
        Heard(kind="partial", utterance=0, stable="One two.", unstable=" and"),
        Heard(kind="final", utterance=0, stable="One two. And three.", words=tuple(words)),
        Heard(kind="partial", utterance=1, stable="Late."),
        Heard(kind="final", utterance=1, stable="Late.", words=(TimedWord("Late.", 0, 0.5),)),
    ]


async def test_deepgram_may_find_the_end_of_speech_by_itself():
    async def script(connection):
        await connection.send(deepgram("one", final=True))
        await connection.send(say(type="UtteranceEnd", channel=[0, 1], last_word_end=0.5))
        await connection.send(deepgram("", final=True, end=True))
        await connection.send(deepgram("", final=True, flushed=True))
        assert await reading(connection) == {"type": "CloseStream"}
        await connection.send(METADATA)

    async with scripted(script) as url:
        target = TARGETS["deepgram"](TargetOptions(url=url, flushes=False))
        heard = await talk(target, target.flush)

    assert [(h.kind, h.utterance, h.stable) for h in heard] == [
        ("partial", 0, "one"),
        ("speech_ended", 0, ""),
        ("final", 0, "one"),
    ]


SESSION = {"type": "transcription", "id": "s", "object": "realtime.transcription_session", "audio": {"input": {}}}


async def test_openai_is_asked_and_understood():
    got = bytearray()

    async def appended(connection, until):
        while (event := await reading(connection))["type"] != until:
            assert event["type"] == "input_audio_buffer.append"
            got.extend(base64.b64decode(event["audio"], validate=True))

    async def script(connection):
        assert connection.request.path == "/v1/realtime?intent=transcription"
        assert connection.request.headers["Authorization"] == "Bearer k"
        await connection.send(say(type="session.created", event_id="1", session=SESSION))
        assert await reading(connection) == {
            "type": "session.update",
            "session": {
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": 24000},
                        "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                        "turn_detection": None,
                    }
                },
            },
        }
        await connection.send(say(type="session.updated", event_id="2", session=SESSION))
        await appended(connection, "input_audio_buffer.commit")
        await connection.send(openai("delta", delta="hel"))
        await connection.send(say(type="input_audio_buffer.committed", item_id="i", previous_item_id=None))
        await connection.send(openai("delta", delta="lo"))
        assert (await reading(connection))["type"] == "input_audio_buffer.commit"
        empty = {"type": "invalid_request_error", "code": "input_audio_buffer_commit_empty", "message": "empty"}
        await connection.send(say(type="error", event_id="3", error=empty))
        await connection.send(openai("completed", transcript="Hello."))
        await connection.wait_closed()

    async with scripted(script) as url:
        target = TARGETS["openai"](TargetOptions(url=f"{url}/v1", key="k"))
        steps = [lambda: target.send(PCM)] * 50
        heard = await talk(target, *steps, target.flush, target.flush)

    assert abs(len(got) // 2 - 24_000) < 2_400  # a second, but for what the resampler still holds
    assert heard == [
        Heard(kind="partial", utterance=0, unstable="hel"),
        Heard(kind="partial", utterance=0, unstable="hello"),
        Heard(kind="final", utterance=0, stable="Hello."),
    ]


def openai(kind: str, **fields) -> str:
    kind = f"conversation.item.input_audio_transcription.{kind}"
    return say(type=kind, event_id="e", item_id="i", content_index=0, **fields)


async def test_openai_may_find_the_end_of_speech_by_itself():
    async def script(connection):
        await connection.send(say(type="session.created", event_id="1", session=SESSION))
        update = await reading(connection)
        detection = update["session"]["audio"]["input"]["turn_detection"]
        assert detection == {"type": "server_vad", "silence_duration_ms": 200}
        await connection.send(say(type="session.updated", event_id="2", session=SESSION))
        await reading(connection)
        await connection.send(say(type="input_audio_buffer.speech_started", item_id="i", audio_start_ms=0))
        await connection.send(say(type="input_audio_buffer.speech_stopped", item_id="i", audio_end_ms=9))
        await connection.send(say(type="input_audio_buffer.committed", item_id="i", previous_item_id=None))
        await connection.send(openai("completed", transcript="Hello."))
        await connection.wait_closed()

    async with scripted(script) as url:
        target = TARGETS["openai"](TargetOptions(url=url, flushes=False, endpointing_ms=200))
        await target.open()
        for _ in range(10):
            await target.send(PCM)
        await target.flush()
        events = target.events()
        heard = [await anext(events), await anext(events)]
        finishing = asyncio.create_task(target.finish())
        assert [event async for event in events] == []
        await finishing

    assert [(h.kind, h.stable) for h in heard] == [("speech_ended", ""), ("final", "Hello.")]


def segment(start: float, text: str, *, completed: bool) -> dict:
    return {"start": f"{start:.3f}", "end": f"{start + 1:.3f}", "text": text, "completed": completed}


async def test_whisperlive_is_asked_and_understood():
    async def script(connection):
        start = await reading(connection)
        uid = start["uid"]
        assert {k: start[k] for k in ("language", "task", "model", "use_vad")} == {
            "language": "en",
            "task": "transcribe",
            "model": "small",
            "use_vad": True,
        }
        await connection.send(say(uid=uid, message="SERVER_READY", backend="faster_whisper"))
        audio = np.frombuffer(await connection.recv(), "<f4")
        assert np.array_equal(np.round(audio * 32_768).astype("<i2"), np.frombuffer(PCM, "<i2"))
        await connection.send(say(uid="another", segments=[segment(0, " no", completed=True)]))
        await connection.send(say(uid=uid, segments=[segment(0, " one", completed=False)]))
        one = segment(0, " one two", completed=True)
        await connection.send(say(uid=uid, segments=[one]))
        await connection.send(say(uid=uid, segments=[one, segment(1, " three", completed=False)]))
        await connection.send(say(uid=uid, segments=[one, segment(1, " three", completed=False)]))
        assert await connection.recv() == b"END_OF_AUDIO"

    async with scripted(script) as url:
        target = TARGETS["whisperlive"](TargetOptions(url=url))
        heard = await talk(target, lambda: target.send(PCM), target.flush)

    assert heard == [
        Heard(kind="partial", utterance=0, unstable="one"),
        Heard(kind="final", utterance=0, stable="one two"),
        Heard(kind="partial", utterance=1, unstable="three"),
        Heard(kind="final", utterance=1, stable="three"),
    ]


async def test_a_full_whisperlive_refuses():
    async def script(connection):
        start = await reading(connection)
        await connection.send(say(uid=start["uid"], status="WAIT", message=3.5))

    async with scripted(script) as url:
        with pytest.raises(TargetError, match=r"full for about 3\.5 minutes") as refusal:
            await TARGETS["whisperlive"](TargetOptions(url=url)).open()

    assert refusal.value.refused


def line(start: str, text: str | None, speaker: int = 1) -> dict:
    return {"speaker": speaker, "text": text, "start": start, "end": start}


def update(*lines: dict, buffer: str = "") -> str:
    return say(status="active_transcription", lines=lines, buffer_transcription=buffer, buffer_diarization="")


async def test_whisperlivekit_is_asked_and_understood():
    async def script(connection):
        assert connection.request.path == "/asr?language=en&mode=full"
        await connection.send(say(type="config", useAudioWorklet=True, mode="full"))
        assert await connection.recv() == PCM
        await connection.send(update(buffer="one"))
        await connection.send(update(line("0:00:00", "One"), buffer="two"))
        await connection.send(update(line("0:00:00", "One"), buffer="two"))
        said, silence = line("0:00:00", "One two."), line("0:00:01", None, speaker=-2)
        await connection.send(update(said, silence))
        await connection.send(update(said, silence, buffer="three"))
        await connection.send(update(line("0:00:03", "Three"), buffer="four"))  # the first line was pruned
        assert await connection.recv() == b""
        await connection.send(update(line("0:00:03", "Three four.")))
        await connection.send(say(type="ready_to_stop"))

    async with scripted(script) as url:
        target = TARGETS["whisperlivekit"](TargetOptions(url=url))
        heard = await talk(target, lambda: target.send(PCM), target.flush)

    assert heard == [
        Heard(kind="partial", utterance=0, unstable="one"),
        Heard(kind="partial", utterance=0, stable="One", unstable=" two"),
        Heard(kind="final", utterance=0, stable="One two."),
        Heard(kind="partial", utterance=1, unstable="three"),
        Heard(kind="partial", utterance=1, stable="Three", unstable=" four"),
        Heard(kind="partial", utterance=1, stable="Three four."),
        Heard(kind="final", utterance=1, stable="Three four."),
    ]


async def test_whisperlivekit_must_take_pcm():
    async def script(connection):
        await connection.send(say(type="config", useAudioWorklet=False))
        await connection.wait_closed()

    async with scripted(script) as url:
        with pytest.raises(TargetError, match="--pcm-input"):
            await TARGETS["whisperlivekit"](TargetOptions(url=url)).open()


FOREIGN = ("deepgram", "openai", "whisperlive", "whisperlivekit")


@pytest.mark.parametrize("name", FOREIGN)
async def test_a_refusal_says_what_the_service_said(name):
    async with scripted(lambda connection: connection.close(), (HTTPStatus.SERVICE_UNAVAILABLE, "no room")) as url:
        with pytest.raises(TargetError, match="503 no room") as refusal:
            await TARGETS[name](TargetOptions(url=url)).open()

    assert (refusal.value.refused, refusal.value.code, refusal.value.retry_after_s) == (True, "503", 7.0)


async def test_nobody_there_is_a_refusal():
    async with scripted(lambda connection: connection.close()) as url:
        pass
    with pytest.raises(TargetError, match="cannot connect") as refusal:
        await TARGETS["deepgram"](TargetOptions(url=url)).open()

    assert refusal.value.refused


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (say(type="Error", variant="x", description="bad audio", message="m"), "bad audio"),
        (say(type="Results"), "what its wire does not know"),
        ("[]", "JSON object"),
        ("x", "not JSON"),
    ],
    ids=["error", "incomplete", "no object", "no json"],
)
async def test_what_a_service_says_wrong_is_told(answer, message):
    async def script(connection):
        await connection.send(answer)
        await connection.wait_closed()

    async with scripted(script) as url:
        target = TARGETS["deepgram"](TargetOptions(url=url))
        await target.open()
        with pytest.raises(TargetError, match=message):
            [event async for event in target.events()]


@pytest.mark.parametrize(("code", "message"), [(1000, "in the middle of the audio"), (1011, "1011 NET-0001")])
async def test_a_service_that_goes_away_is_told(code, message):
    async with scripted(lambda connection: connection.close(code, "NET-0001")) as url:
        target = TARGETS["deepgram"](TargetOptions(url=url))
        await target.open()
        with pytest.raises(TargetError, match=message):
            [event async for event in target.events()]
        await target.send(PCM)  # of a lost connection only the events tell


async def test_a_service_that_never_ends_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(socket, "FINISH_S", 0.05)

    async def script(connection):
        await connection.wait_closed()

    async with scripted(script) as url:
        with pytest.raises(TargetError, match="not said everything"):
            await talk(TARGETS["deepgram"](TargetOptions(url=url)))


@pytest.mark.parametrize(
    ("url", "dialled"),
    [
        ("wss://host", "wss://host/v1/listen?a=1"),
        ("https://host/", "wss://host/v1/listen?a=1"),
        ("http://host/v1", "ws://host/v1/listen?a=1"),
        ("ws://host/proxy/v1/listen?a=2&b=", "ws://host/proxy/v1/listen?a=2&b="),
        ("ws://host/proxy", "ws://host/proxy/v1/listen?a=1"),
    ],
)
def test_a_url_is_completed(url, dialled):
    assert complete(url, "/v1/listen", {"a": "1"}) == dialled


@pytest.mark.parametrize("url", ["host:80", "ftp://host", "ws:///x"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(TargetError, match="must look like"):
        complete(url, "/v1/listen", {})
