"""streamasr_client.stream: whole conversations with a scripted server, drops and resumes included."""

import asyncio
import json

import pytest

from streamasr_client import (
    ClosedError,
    ConnectError,
    Done,
    Final,
    NoReplyError,
    Partial,
    ProtocolError,
    Ready,
    Reconnected,
    Retry,
    ServerError,
    SpeechEnded,
    SpeechStarted,
    Timeouts,
    Warned,
    connect,
)

SOON = Retry(attempts=3, first_s=0.001, longest_s=0.01)
SHORT = Timeouts(connect_s=5, ready_s=5, reply_s=5, close_s=1)
SECOND = bytes(range(250)) * 128
"""One second of 16 kHz PCM: 32,000 bytes."""


def opened(server, **options):
    return connect(server.url, check=True, **({"retry": SOON, "timeouts": SHORT} | options))


async def test_a_conversation_from_start_to_done(server):
    async def script(caller):
        assert await caller.ready() == {"language": "en", "sample_rate": 16000}
        assert await caller.hear(32_000) == SECOND
        await caller.say("speech_started", utterance=0, time=0.2)
        await caller.partial(0, 0.2, "Good", " mor")
        await caller.say("news", of="a later protocol")
        await caller.say("warning", code="w", message="take care")
        await caller.end(0, 0.2, 0.9, "Good morning.", "t")
        await caller.done(1.0, 1)

    server.then(script)
    async with opened(server, language="en", sample_rate=16000) as stream:
        assert stream.ready.model == {"name": "m"}
        await stream.send(SECOND)
        done = await stream.stop()
        events = [event async for event in stream]

    assert [type(event) for event in events] == [
        Ready, SpeechStarted, Partial, Warned, SpeechEnded, Final, Done
    ]  # fmt: skip
    assert events[2].text == "Good mor"
    assert events[5].text == "Good morning."
    assert [word.word for word in events[5].words] == ["Good", "morning."]
    assert done is events[-1]
    assert done.audio_seconds == 1.0


async def test_feed_sends_all_chunks_then_stops(server):
    async def chunks():
        for i in range(0, len(SECOND), 7_001):
            yield SECOND[i : i + 7_001]

    async def script(caller):
        await caller.ready()
        assert await caller.hear(32_000) == SECOND
        await caller.done(1.0, 0)

    server.then(script)
    async with opened(server) as stream:
        stream.feed(chunks())
        events = [event async for event in stream]

    assert [type(event) for event in events] == [Ready, Done]


async def test_what_goes_wrong_with_the_chunks_ends_the_iteration(server):
    async def chunks():
        yield SECOND
        raise OSError("microphone unplugged")

    async def script(caller):
        await caller.ready()
        await caller.hear(32_000)
        await caller.socket.wait_closed()

    server.then(script)
    async with opened(server) as stream:
        stream.feed(chunks())
        with pytest.raises(OSError, match="unplugged"):
            async for _ in stream:
                pass


async def test_flush_waits_for_its_own_answer(server):
    async def script(caller):
        await caller.ready()
        await caller.hear(32_000)
        assert await caller.message() == {"type": "flush", "id": "lunch"}
        await caller.utterance(0, 0.1, 1.0, "Yes.", "t")
        await caller.say("flushed", id="lunch")
        second = await caller.message()
        await caller.say("flushed", id=second["id"])
        await caller.socket.wait_closed()

    server.then(script)
    async with opened(server) as stream:
        await stream.send(SECOND)
        assert (await stream.flush("lunch")).id == "lunch"
        assert (await stream.flush()).id == "flush-1"


async def test_update_changes_settings_or_is_refused(server):
    async def script(caller):
        await caller.ready()
        assert await caller.message() == {"type": "update", "language": "xx"}
        await caller.say("error", code="invalid_setting", message="no", fatal=False, field="language")
        assert await caller.message() == {"type": "update", "language": "de"}
        await caller.say("updated", settings=caller.start | {"language": "de"})
        caller.drop()

    async def again(caller):
        assert await caller.ready() == {"language": "de"}
        await caller.done(0.0, 0)

    server.then(script)
    server.then(again)
    async with opened(server) as stream:
        with pytest.raises(ServerError) as refused:
            await stream.update(language="xx")
        assert (refused.value.code, refused.value.field) == ("invalid_setting", "language")
        assert (await stream.update(language="de")).settings["language"] == "de"
        async for event in stream:
            if isinstance(event, Reconnected):
                await stream.stop()


async def test_a_dropped_connection_is_resumed_from_the_last_final(server):
    """The new start carries token and stable text; the audio comes again from where the server says."""

    async def script(caller):
        await caller.ready()
        await caller.hear(3 * 32_000)
        await caller.utterance(0, 0.1, 1.5, "Good morning.", "token")
        await caller.say("speech_started", utterance=1, time=1.8)
        await caller.partial(1, 1.8, "Let us", " beg")
        caller.drop()

    async def again(caller):
        start = await caller.ready(audio_received=24_000)
        assert start == {"resume": "token", "stable": "Let us", "stable_end": 2.3, "sample_rate": 16000}
        assert await caller.hear(48_000) == (3 * SECOND)[48_000:]
        assert await caller.hear(32_000) == SECOND
        await caller.say("speech_started", utterance=1, time=1.8)
        await caller.partial(1, 1.8, "Let us", " begin.")
        await caller.end(1, 1.8, 3.0, "Let us begin.", "token2")
        await caller.done(4.0, 2)

    server.then(script)
    server.then(again)
    async with opened(server, sample_rate=16000) as stream:
        await stream.send(3 * SECOND)
        events = []
        async for event in stream:
            events.append(event)
            if isinstance(event, Reconnected):
                await stream.send(SECOND)
                await stream.stop()

    reconnected = events[[type(event) for event in events].index(Reconnected)]
    assert (reconnected.resumed, reconnected.offset, reconnected.missing) == (True, 0.0, 0.0)
    assert reconnected.reason == "the connection broke"
    assert [event.text for event in events if isinstance(event, Final)] == ["Good morning.", "Let us begin."]


async def test_what_was_asked_is_asked_again_at_the_same_sample(server):
    """A flush and a stop on their way when the connection drops are replayed in their places."""
    heard = asyncio.Event()

    async def script(caller):
        await caller.ready()
        await caller.hear(32_000)
        assert (await caller.message())["type"] == "flush"
        heard.set()
        await caller.hear(32_000)
        assert (await caller.message())["type"] == "stop"
        caller.drop()

    async def again(caller):
        assert await caller.ready() == {}
        await caller.hear(32_000)
        assert await caller.message() == {"type": "flush", "id": 7}
        await caller.say("flushed", id=7)
        await caller.hear(32_000)
        await caller.done(2.0, 0)

    server.then(script)
    server.then(again)
    async with opened(server) as stream, asyncio.TaskGroup() as group:
        await stream.send(SECOND)
        flush = group.create_task(stream.flush(7))
        await heard.wait()
        await stream.send(SECOND)
        done = await stream.stop()

    assert flush.result().id == 7
    assert done.audio_seconds == 2.0


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013])
async def test_a_close_that_another_connection_may_mend_is_a_drop(server, code):
    async def script(caller):
        await caller.ready()
        await caller.socket.close(code, "bye for now")

    async def again(caller):
        await caller.ready()
        await caller.done(0.0, 0)

    server.then(script)
    server.then(again)
    async with opened(server) as stream:
        reconnected = [event async for event in stream if await stop_when_back(stream, event)]

    assert [event.reason for event in reconnected] == ["bye for now"]


async def stop_when_back(stream, event) -> bool:
    if isinstance(event, Reconnected):
        await stream.stop()
        return True
    return False


async def test_a_failed_or_full_server_is_a_drop_with_its_own_waiting_time(server):
    async def failing(caller):
        await caller.ready()
        await caller.say("error", code="internal", message="it failed", fatal=True)
        await caller.socket.close(1011)

    async def full(caller):
        await caller.message()
        await caller.say("error", code="overloaded", message="full", fatal=True, retry_after=0.05)
        await caller.socket.close(1013)

    async def again(caller):
        await caller.ready()
        await caller.done(0.0, 0)

    for script in (failing, full, again):
        server.then(script)
    began = asyncio.get_running_loop().time()
    async with opened(server) as stream:
        (reconnected,) = [event async for event in stream if await stop_when_back(stream, event)]

    assert (reconnected.reason, reconnected.attempts) == ("it failed", 2)
    assert asyncio.get_running_loop().time() - began >= 0.05


async def test_a_lost_token_begins_a_new_session_with_the_audio_that_is_not_final(server):
    async def script(caller):
        await caller.ready()
        await caller.hear(3 * 32_000)
        await caller.utterance(0, 0.1, 1.5, "Good morning.", "token")
        caller.drop()

    async def forgetful(caller):
        assert (await caller.message())["resume"] == "token"
        await caller.say("error", code="resume_lost", message="not ours", fatal=True)
        await caller.socket.close(1008)

    async def fresh(caller):
        assert await caller.ready() == {}
        assert await caller.hear(48_000) == (3 * SECOND)[48_000:]
        await caller.utterance(0, 0.2, 1.5, "Let us begin.", "other")
        await caller.done(1.5, 1)

    for script_ in (script, forgetful, fresh):
        server.then(script_)
    async with opened(server) as stream:
        await stream.send(3 * SECOND)
        (reconnected,) = [event async for event in stream if await stop_when_back(stream, event)]

    assert (reconnected.resumed, reconnected.offset, reconnected.missing) == (False, 1.5, 0.0)
    assert (reconnected.reason, reconnected.attempts) == ("the connection broke", 2)


async def test_sending_waits_while_the_connection_is_restored(server):
    called, back = asyncio.Event(), asyncio.Event()

    async def script(caller):
        await caller.ready()
        await caller.hear(32_000)
        caller.drop()

    async def again(caller):
        called.set()
        await back.wait()
        await caller.ready()
        await caller.hear(2 * 32_000)
        await caller.done(2.0, 0)

    server.then(script)
    server.then(again)
    async with opened(server) as stream:
        await stream.send(SECOND)
        assert isinstance(await anext(stream), Ready)
        await called.wait()
        sending = asyncio.create_task(stream.send(SECOND))
        await asyncio.wait([sending], timeout=0.02)
        assert not sending.done()

        back.set()
        await sending
        assert (await stream.stop()).audio_seconds == 2.0


async def test_it_gives_up_after_the_attempts_allowed(server):
    async def script(caller):
        await caller.ready()
        server.refusals += [(503, {"Retry-After": "0"}, "{}")] * 2 + [(502, {}, "bad gateway")]
        caller.drop()

    server.then(script)
    async with opened(server) as stream:
        with pytest.raises(ServerError, match="502") as lost:
            async for _ in stream:
                pass
        with pytest.raises(ServerError):
            await stream.send(SECOND)

    assert lost.value.code == "http_502"
    assert len(server.requests) == 4


async def test_without_retries_a_drop_is_the_end(server):
    async def script(caller):
        await caller.ready()
        caller.drop()

    server.then(script)
    async with opened(server, retry=Retry(attempts=0)) as stream:
        with pytest.raises(ConnectError, match="lost the connection"):
            await stream.stop()


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "retry_after_s"),
    [
        (400, {}, '{"type":"error","code":"invalid_setting","message":"m"}', "invalid_setting", None),
        (401, {}, "who are you?", "http_401", None),
        (503, {"Retry-After": "7"}, '{"type":"error","code":"overloaded","message":"full"}', "overloaded", 7.0),
    ],
)  # fmt: skip
async def test_a_refused_upgrade_says_why(server, status, headers, body, code, retry_after_s):
    server.refusals.append((status, headers, body))

    with pytest.raises(ServerError) as refused:
        async with opened(server):
            pass

    assert refused.value.code == code
    assert refused.value.retry_after_s == retry_after_s


async def test_a_refused_start_says_why(server):
    async def script(caller):
        await caller.message()
        await caller.say("error", code="unknown_setting", message="no such", fatal=True, field="langage")
        await caller.socket.close(1008)

    server.then(script)
    with pytest.raises(ServerError) as refused:
        async with opened(server, langage="en"):
            pass

    assert (refused.value.code, refused.value.field) == ("unknown_setting", "langage")


async def test_nobody_there_is_a_connect_error():
    with pytest.raises(ConnectError, match=r"cannot reach ws://127\.0\.0\.1:1/v1/stream"):
        async with connect("ws://127.0.0.1:1", timeouts=SHORT):
            pass


async def test_a_fatal_error_reaches_everybody_who_waits(server):
    async def script(caller):
        await caller.ready()
        await caller.message()
        await caller.say("error", code="slow_client", message="read!", fatal=True)
        await caller.socket.close(1008)

    server.then(script)
    async with opened(server) as stream:
        with pytest.raises(ServerError, match="slow_client"):
            await stream.flush()
        with pytest.raises(ServerError, match="slow_client"):
            async for _ in stream:
                pass
        with pytest.raises(ServerError, match="slow_client"):
            await stream.send(b"")


async def test_a_close_for_cause_is_not_retried(server):
    async def script(caller):
        await caller.ready()
        await caller.socket.close(1009, "too big")

    server.then(script)
    async with opened(server) as stream:
        with pytest.raises(ServerError, match="too big") as closed:
            async for _ in stream:
                pass

    assert closed.value.code == "closed_1009"


async def test_a_broken_promise_is_a_protocol_error(server):
    async def script(caller):
        await caller.ready()
        await caller.say("speech_started", utterance=0, time=0.0)
        await caller.partial(0, 0.0, "Good", "")
        await caller.partial(0, 0.0, "Bad", "")
        await caller.socket.wait_closed()

    server.then(script)
    async with opened(server) as stream:
        with pytest.raises(ProtocolError, match="changes the stable text 'Good'"):
            async for _ in stream:
                pass


async def test_no_ready_and_no_reply_are_noticed(server):
    async def silent(caller):
        await caller.message()
        await caller.socket.wait_closed()

    async def mute(caller):
        await caller.ready()
        await caller.socket.wait_closed()

    server.then(silent)
    server.then(mute)
    with pytest.raises(ConnectError, match=r"not ready in 0\.05 s"):
        async with opened(server, timeouts=Timeouts(ready_s=0.05)):
            pass
    async with opened(server, timeouts=Timeouts(reply_s=0.05)) as stream:
        with pytest.raises(NoReplyError, match=r"no answer to flush in 0\.05 s"):
            await stream.flush()


async def test_leaving_the_block_gives_up_at_once(server):
    closed = asyncio.get_running_loop().create_future()

    async def script(caller):
        await caller.ready()
        await caller.hear(32_000)
        await caller.socket.wait_closed()
        closed.set_result(caller.socket.close_code)

    server.then(script)
    async with opened(server) as stream:
        await stream.send(SECOND)

    assert await asyncio.wait_for(closed, 5) == 1000
    with pytest.raises(ClosedError):
        await stream.send(SECOND)
    assert [type(event) async for event in stream] == [Ready]


async def test_nothing_can_be_sent_after_stop(server):
    async def script(caller):
        await caller.ready()
        await caller.done(0.0, 0)

    server.then(script)
    async with opened(server) as stream:
        await stream.stop()
        with pytest.raises(ClosedError):
            await stream.send(SECOND)
        with pytest.raises(ClosedError):
            await stream.stop()
        with pytest.raises(ClosedError):
            await stream.flush()


async def test_the_token_goes_into_the_request_and_the_path_is_completed(server):
    async def script(caller):
        await caller.ready()
        await caller.done(0.0, 0)

    server.then(script)
    async with opened(server, token="secret") as stream:
        await stream.stop()

    (request,) = server.requests
    assert request.path == "/v1/stream"
    assert request.headers["Authorization"] == "Bearer secret"


async def test_a_reader_slower_than_the_server_loses_nothing(server):
    """Events wait for whoever iterates, however many they are."""

    async def script(caller):
        await caller.ready()
        await caller.say("speech_started", utterance=0, time=0.0)
        for i in range(2_000):
            await caller.partial(0, 0.0, "", str(i))
        await caller.end(0, 0.0, 1.0, "Yes.", "t")
        await caller.done(1.0, 1)

    server.then(script)
    async with opened(server) as stream:
        await stream.stop()
        shown = [event.unstable async for event in stream if isinstance(event, Partial)]

    assert shown == [str(i) for i in range(2_000)]


def test_the_delay_grows_and_is_bounded():
    retry = Retry(first_s=1.0, longest_s=10.0)
    for attempt, most in [(1, 1.0), (2, 2.0), (3, 4.0), (5, 10.0), (50, 10.0)]:
        assert all(most / 2 <= retry.delay_s(attempt) <= most for _ in range(50))


async def test_frames_that_are_no_events_end_the_session(server):
    async def script(caller):
        await caller.ready()
        await caller.socket.send(json.dumps(["not", "an", "event"]))
        await caller.socket.wait_closed()

    server.then(script)
    async with opened(server) as stream:
        with pytest.raises(ProtocolError, match="without a type"):
            async for _ in stream:
                pass
