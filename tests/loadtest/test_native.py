"""The native target against a scripted server: what it says, what it understands, what it calls a failure."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import serve

from loadtest.targets import TARGETS, Heard, TargetError, TargetOptions
from streamasr.bench.scoring import TimedWord

WORDS = [{"word": "Hi.", "start": 0.1, "end": 0.2, "confidence": 0.9}]
EVENTS = [
    {"type": "speech_started", "utterance": 0, "time": 0.1},
    {"type": "partial", "utterance": 0, "start": 0.1, "stable": "H", "unstable": "i", "words": []},
    {"type": "preflight", "utterance": 0, "text": "Hi.", "words": WORDS},
    {"type": "speech_resumed", "utterance": 0, "time": 0.1},
    {"type": "speech_ended", "utterance": 0, "time": 0.2},
    {"type": "final", "utterance": 0, "text": "Hi.", "words": WORDS, "language": "en", "start": 0.1, "end": 0.2},
    {"type": "news", "of": "a later version"},
]


@asynccontextmanager
async def scripted(events=(), first=None, audio_seconds=None, answer=None):
    """A server that says ``first``, then ``events`` at the first flush, then done; yields its URL and what it heard."""
    heard = {"texts": [], "audio": 0, "headers": {}}

    async def session(socket):
        heard["headers"] = dict(socket.request.headers)
        async for message in socket:
            if isinstance(message, bytes):
                heard["audio"] += len(message)
                continue
            told = json.loads(message)
            heard["texts"].append(told)
            match told["type"]:
                case "start":
                    await socket.send(json.dumps(first or {"type": "ready", "seq": 0}))
                case "flush":
                    for event in events:
                        await socket.send(json.dumps(event))
                case "stop":
                    seconds = heard["audio"] / 32_000 if audio_seconds is None else audio_seconds
                    await socket.send(json.dumps({"type": "done", "audio_seconds": seconds}))
                    return

    def refuse(connection, request):
        if answer is None:
            return None
        response = connection.respond(answer[0], answer[1])
        response.headers["Retry-After"] = "7"
        return response

    async with serve(session, "127.0.0.1", 0, process_request=refuse) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


async def converse(url, **options):
    target = TARGETS["native"](TargetOptions(url=url, **options))
    try:
        await target.open()
        await target.send(b"\0" * 3_200)
        await target.flush()
        finishing = asyncio.create_task(target.finish())
        found = [event async for event in target.events()]
        await finishing
        return found
    finally:
        await target.close()


async def test_it_sends_what_the_protocol_wants_and_understands_what_comes_back():
    async with scripted(EVENTS) as (url, heard):
        found = await converse(url, language="de", endpointing_ms=300, preflight=True, key="secret")

    assert heard["texts"] == [
        {"type": "start", "sample_rate": 16_000, "language": "de", "endpointing_ms": 300, "preflight": True},
        {"type": "flush"},
        {"type": "stop"},
    ]
    assert heard["audio"] == 3_200
    assert heard["headers"]["authorization"] == "Bearer secret"
    assert found == [
        Heard(kind="partial", utterance=0, stable="H", unstable="i"),
        Heard(kind="preflight", utterance=0, unstable="Hi."),
        Heard(kind="speech_resumed", utterance=0),
        Heard(kind="speech_ended", utterance=0),
        Heard(kind="final", utterance=0, stable="Hi.", words=(TimedWord("Hi.", 0.1, 0.2),)),
    ]


async def test_settings_that_were_not_asked_for_are_left_to_the_server():
    async with scripted() as (url, heard):
        await converse(url)
    assert heard["texts"][0] == {"type": "start", "sample_rate": 16_000, "language": "en"}
    assert "authorization" not in heard["headers"]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ({"audio_seconds": 0.05}, "audio_lost"),
        (
            {"events": [{"type": "warning", "code": "window_failed", "message": "words may be missing"}]},
            "window_failed",
        ),
        ({"events": [{"type": "error", "code": "internal", "message": "it failed", "fatal": True}]}, "internal"),
    ],
)
async def test_what_a_server_must_not_do_is_a_failure_with_its_code(script, code):
    async with scripted(**script) as (url, _):
        with pytest.raises(TargetError) as caught:
            await converse(url)
    assert (caught.value.code, caught.value.refused) == (code, False)


async def test_a_refusal_before_the_session_says_when_to_come_back():
    body = json.dumps({"type": "error", "code": "overloaded", "message": "all 40 sessions are taken"})
    async with scripted(answer=(503, body)) as (url, _):
        with pytest.raises(TargetError, match="all 40 sessions are taken") as caught:
            await converse(url)
    assert (caught.value.code, caught.value.refused, caught.value.retry_after_s) == ("overloaded", True, 7.0)


async def test_a_start_that_the_server_does_not_take_is_a_refusal():
    error = {"type": "error", "code": "invalid_setting", "message": "no such language", "fatal": True}
    async with scripted(first=error) as (url, _):
        with pytest.raises(TargetError, match="no such language") as caught:
            await converse(url)
    assert caught.value.refused


async def test_where_nobody_listens_there_is_no_session():
    with pytest.raises(TargetError, match="no session at ws://127") as caught:
        await converse("ws://127.0.0.1:1")
    assert caught.value.refused
