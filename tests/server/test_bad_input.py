"""What a client may do wrong: each has its named error and close code, and the session beside it hears nothing."""

import asyncio
import contextlib
import json
import random
import socket

import numpy as np
import pytest
from helpers import PATIENCE_S, RATE, Talk, neighbour, pcm, serving, spoken, talking
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from streamasr.inference.fake import tone_words

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = random.Random(0).sample(range(64), 16)
SPEECH = pcm(spoken(WORDS))


def start(**settings: object) -> str:
    return json.dumps({"type": "start", "sample_rate": RATE, **settings})


FATAL = [
    ("wrong encoding", [start(encoding="mp3")], "invalid_setting", "encoding", 1008),
    ("wrong rate", [start(sample_rate=4_000)], "invalid_setting", "sample_rate", 1008),
    ("rate as text", [start(sample_rate="16000")], "invalid_setting", "sample_rate", 1008),
    ("wrong channels", [start(channels=9)], "invalid_setting", "channels", 1008),
    ("no such language", [start(language="xx")], "invalid_setting", "language", 1008),
    ("no such candidate", [start(languages=["en", "xx"])], "invalid_setting", "languages", 1008),
    ("cannot translate", [start(task="translate")], "invalid_setting", "task", 1008),
    ("unknown key", [start(langauge="en")], "unknown_setting", "langauge", 1008),
    ("audio before start", [b"\0\0" * 160], "start_expected", None, 1008),
    ("control before start", ['{"type": "stop"}'], "start_expected", None, 1008),
    ("garbage before start", ["{"], "invalid_json", None, 1007),
    ("list before start", ["[]"], "invalid_json", None, 1007),
    ("endless text", [start(), "x" * 70_000], "invalid_message", None, 1009),
    ("no such session", [start(resume="mine")], "resume_lost", "resume", 1008),
]


@pytest.mark.parametrize(("frames", "code", "field", "close"), [pytest.param(*row[1:], id=row[0]) for row in FATAL])
async def test_what_ends_the_connection_is_named_first(server, frames, code, field, close):
    async with neighbour(server), talking(server.url) as talk:
        for frame in frames:
            await talk.socket.send(frame)
        assert (await talk.to_the_end())[0] == close

    error = talk.events[-1]
    assert (error["type"], error["code"], error["fatal"], error.get("field")) == ("error", code, True, field)
    assert error["message"]


FORGIVEN = [
    ("garbage", "{", "invalid_json", None),
    ("text where audio is expected", "UklGRg==", "invalid_json", None),
    ("number", "42", "invalid_json", None),
    ("type missing", '{"id": 1}', "invalid_json", None),
    ("unknown type", '{"type": "finish"}', "unknown_type", None),
    ("second start", start(), "already_started", None),
    ("unknown key in flush", '{"type": "flush", "ident": 1}', "invalid_message", "ident"),
    ("wrong id", '{"type": "ping", "id": []}', "invalid_message", "id"),
    ("unknown key in update", '{"type": "update", "langauge": "en"}', "unknown_setting", "langauge"),
    ("wrong value in update", '{"type": "update", "endpointing_ms": -1}', "invalid_setting", "endpointing_ms"),
    ("no such language", '{"type": "update", "language": "xx"}', "invalid_setting", "language"),
    ("fixed for the session", '{"type": "update", "sample_rate": 8000}', "not_updatable", "sample_rate"),
]


@pytest.mark.parametrize(("frame", "code", "field"), [pytest.param(*row[1:], id=row[0]) for row in FORGIVEN])
async def test_what_does_not_end_the_session_changes_nothing_in_it(server, frame, code, field):
    async with neighbour(server), talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(SPEECH[: len(SPEECH) // 2])
        await talk.socket.send(frame)
        error = await talk.until("error")
        await talk.audio(SPEECH[len(SPEECH) // 2 :])
        await talk.say("stop")
        assert (await talk.to_the_end())[0] == 1000

    assert (error["code"], error["fatal"], error.get("field")) == (code, False, field)
    assert talk.words() == WORDS


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("encoding=mp3", "invalid_setting", "encoding"),
        ("sample_rate=4000", "invalid_setting", "sample_rate"),
        ("sample_rate=16000&langauge=en", "unknown_setting", "langauge"),
        ("sample_rate=16000&language=xx", "invalid_setting", "language"),
        ("sample_rate=16000&resume=mine", "resume_lost", "resume"),
        ("language=en", "invalid_setting", "language"),
    ],
)
async def test_a_wrong_query_is_answered_before_the_upgrade(server, query, code, field):
    async with neighbour(server):
        with pytest.raises(InvalidStatus) as refused:
            async with talking(f"{server.url}?{query}"):
                pass

    assert refused.value.response.status_code == 400
    body = json.loads(refused.value.response.body)
    assert (body["type"], body["code"], body["field"], body["fatal"]) == ("error", code, field, True)


async def test_half_a_sample_at_the_end_is_left_out_with_a_warning(server):
    async with neighbour(server), talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(SPEECH + b"\x01")
        await talk.say("stop")
        assert (await talk.to_the_end())[0] == 1000

    assert [warning["code"] for warning in talk.of("warning")] == ["incomplete_sample"]
    assert talk.words() == WORDS


async def test_samples_that_are_no_numbers_are_silence_and_named_once(server):
    speech = spoken(WORDS).astype("<f4")
    wrong = np.array([np.nan, np.inf, -np.inf] * 100, "<f4")
    async with neighbour(server), talking(server.url, sample_rate=RATE, encoding="pcm_f32le") as talk:
        await talk.audio(wrong.tobytes() + speech.tobytes() + wrong.tobytes())
        await talk.say("stop")
        assert (await talk.to_the_end())[0] == 1000

    assert [warning["code"] for warning in talk.of("warning")] == ["non_finite_samples"]
    assert talk.words() == WORDS


async def test_a_huge_frame_closes_the_socket_with_1009(server):
    async with neighbour(server), talking(server.url, sample_rate=RATE) as talk:
        await talk.until("ready")
        await talk.socket.send(bytes(2**20 + 2))
        assert (await talk.to_the_end())[0] == 1009


async def test_a_frame_of_the_largest_size_is_taken(server):
    silence = bytes(2**20 - len(SPEECH))
    async with neighbour(server), talking(server.url, sample_rate=RATE) as talk:
        await talk.socket.send(SPEECH + silence)
        await talk.say("stop")
        await talk.to_the_end()
    assert talk.words() == WORDS


async def test_audio_after_stop_is_ignored_and_named_once(server):
    async with neighbour(server), talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(SPEECH)
        await talk.say("stop")
        with contextlib.suppress(ConnectionClosed):
            await talk.audio(SPEECH)
        assert (await talk.to_the_end())[0] == 1000

    assert talk.words() == WORDS
    assert [(e["code"], e["fatal"]) for e in talk.of("error")] in ([], [("already_stopped", False)])


async def test_frames_of_one_byte_are_audio_like_any_other(server):
    words = WORDS[:4]
    async with neighbour(server), talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(tone_words(words, lead=1_600, tail=160)), sizes=[1])
        await talk.say("stop")
        assert (await talk.to_the_end())[0] == 1000

    assert talk.words() == words


def _small_socket(address: str) -> socket.socket:
    """A socket into which little can be sent that is not read."""
    host, port = address.split(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


UPDATE = json.dumps({"type": "update", "prompt": "x" * 2_000})
"""Its answer repeats the prompt."""


async def _ask_without_reading(talk: Talk) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await talk.socket.send(UPDATE)


async def test_a_client_that_does_not_read_is_told_so_behind_what_it_left_unread():
    async with (
        serving(send_timeout_s=0.2) as server,
        neighbour(server),
        connect(server.url, sock=_small_socket(server.address), compression=None, max_queue=1) as slow,
    ):
        await slow.send(start())
        asking = asyncio.create_task(_ask_without_reading(Talk(slow)))
        await server.left(1)  # it has been given up; the neighbour is there
        read = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                read.append(json.loads(await slow.recv()))
        await asking

    assert slow.close_code == 1008
    assert (read[-1]["code"], read[-1]["fatal"]) == ("slow_client", True)


async def test_a_client_that_never_reads_again_is_cut_off(monkeypatch):
    monkeypatch.setattr("streamasr.server.protocol.CUT_OFF_S", 0.1)
    async with serving(send_timeout_s=0.1) as server, neighbour(server):
        slow = connect(
            server.url, sock=_small_socket(server.address), compression=None, max_queue=1, ping_interval=None
        )
        async with slow as slow_socket:
            await slow_socket.send(start())
            async with asyncio.timeout(PATIENCE_S):
                await _ask_without_reading(Talk(slow_socket))  # ends when the connection does
            assert len(server.app.registry) == 1
            assert len(server.server.server_state.connections) == 1
