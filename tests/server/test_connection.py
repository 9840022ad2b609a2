"""Whole conversations over real sockets: what is said in tones comes back in words, all of it, once."""

import asyncio
import json
import random
from itertools import pairwise

import numpy as np
import pytest
from helpers import RATE, HeldEngine, neighbour, pcm, serving, spoken, talking
from websockets.exceptions import InvalidStatus

from streamasr.inference.fake import ToneCodeEngine, ToneVad, tone_word_times, tone_words
from streamasr.inference.worker import LocalBackend
from streamasr.wire.commands import Close, Send
from streamasr.wire.native import NativeDialect

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENTENCE = [3, 17, 42, 8, 55, 21, 60, 0]


async def test_words_come_back_in_order_with_their_times(server):
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(spoken(SENTENCE)))
        await talk.say("stop")

        assert await talk.to_the_end() == (1000, "")

    assert talk.events[0]["type"] == "ready"
    assert talk.words() == SENTENCE
    (final,) = talk.of("final")
    assert final["reason"] == "endpoint"
    heard = [(word["start"], word["end"]) for word in final["words"]]
    true = [(start / RATE, end / RATE) for start, end in tone_word_times(SENTENCE, lead=RATE // 2)]
    np.testing.assert_allclose(heard, true, atol=0.01)
    assert talk.events[-1] == {
        "type": "done",
        "seq": len(talk.events) - 1,
        "audio_seconds": round(len(spoken(SENTENCE)) / RATE, 3),
        "utterances": 1,
    }


async def test_audio_need_not_wait_for_ready(server):
    async with talking(f"{server.url}?encoding=mulaw&sample_rate=8000") as talk:
        await talk.audio(_mulaw(spoken(SENTENCE, rate=8_000)), sizes=[160])
        await talk.say("stop")
        await talk.to_the_end()

    assert talk.words() == SENTENCE
    assert talk.events[0]["settings"]["encoding"] == "mulaw"


@pytest.mark.parametrize("seed", range(3))
async def test_frames_may_be_cut_anywhere(server, seed):
    sizes = random.Random(seed).choices([1, 2, 3, 7, 640, 641, 5_001, 40_000], k=2_000)
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(spoken(SENTENCE)), sizes)
        await talk.say("stop")
        await talk.to_the_end()

    assert talk.words() == SENTENCE


async def test_channels_are_heard_apart(server):
    left, right = spoken(SENTENCE), spoken(SENTENCE[::-1], lead=RATE)
    length = max(len(left), len(right))
    both = np.stack([np.pad(side, (0, length - len(side))) for side in (left, right)])
    async with talking(server.url, sample_rate=RATE, channels=2) as talk:
        await talk.audio(pcm(both))
        await talk.say("flush", id="all")
        await talk.until("flushed")
        await talk.say("stop")
        await talk.to_the_end()

    assert talk.words(channel=0) == SENTENCE
    assert talk.words(channel=1) == SENTENCE[::-1]
    assert len(talk.of("flushed")) == 1
    assert talk.events[-1]["utterances"] == 2


async def test_a_crowd_speaks_at_once_and_everybody_gets_their_own_words():
    engine = ToneCodeEngine()

    async def one(seed: int) -> None:
        words = random.Random(seed).sample(range(64), 24)
        async with talking(server.url, sample_rate=RATE) as talk:
            for at in range(0, 24, 8):
                await talk.audio(pcm(spoken(words[at : at + 8])))
                await talk.until("final")
            await talk.say("stop")
            await talk.to_the_end()
        assert talk.words() == words

    async with serving(LocalBackend(lambda: engine)) as server:
        await asyncio.gather(*map(one, range(12)))
    assert engine.prefix_mismatches == 0


async def test_flush_is_answered_after_its_finals_and_also_when_nothing_is_open(server):
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.say("flush", id=1)
        assert (await talk.until("flushed"))["id"] == 1

        speech = pcm(tone_words(SENTENCE, lead=RATE // 2))  # up to the last sample of the last word
        await talk.audio(speech, sizes=[len(speech) - 1_000, 1_000])
        await talk.say("flush", id="two")
        assert (await talk.until("flushed"))["id"] == "two"
        assert talk.words() == SENTENCE
        assert talk.of("final")[0]["reason"] == "flush"

        await talk.audio(pcm(tone_words(SENTENCE[:3], tail=800)))
        await talk.say("stop")
        await talk.to_the_end()

    assert talk.words() == SENTENCE + SENTENCE[:3]
    assert talk.of("final")[1]["reason"] == "stop"


async def test_partials_come_while_the_person_still_speaks_unless_not_wanted(server):
    words = random.Random(2).sample(range(64), 32)
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(tone_words(words[:16], lead=RATE // 2)))
        await talk.until("partial")
        await talk.say("update", interim_results=False)
        updated = await talk.until("updated")
        assert updated["settings"]["interim_results"] is False

        seen = len(talk.of("partial"))
        await talk.audio(pcm(tone_words(words[16:], lead=RATE // 2)))
        await talk.say("stop")
        await talk.to_the_end()

    assert talk.words() == words
    assert len(talk.of("partial")) <= seen + 1  # one may have been on its way


async def test_ping_is_answered_at_once(server):
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.say("ping", id="p")
        assert (await talk.until("pong"))["id"] == "p"


async def test_a_setting_the_model_does_not_have_is_refused_when_it_is_updated_and_the_session_goes_on(server):
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.say("update", language="fr")
        error = await talk.until("error")
        assert (error["code"], error["field"], error["fatal"]) == ("invalid_setting", "language", False)
        assert "en, de" in error["message"]

        await talk.audio(pcm(spoken(SENTENCE)))
        await talk.say("stop")
        assert (await talk.to_the_end())[0] == 1000

    assert talk.words() == SENTENCE


async def test_audio_faster_than_real_time_is_read_as_fast_as_it_is_understood(server):
    words = random.Random(1).choices(range(64), k=400)
    audio = np.concatenate([spoken(words[at : at + 20]) for at in range(0, 400, 20)])
    async with neighbour(server), talking(server.url, sample_rate=RATE) as talk:
        await asyncio.gather(talk.audio(pcm(audio), sizes=[65_536]), talk.until("final"))
        await talk.say("stop")
        await talk.to_the_end()

    assert len(audio) / RATE > 100
    assert talk.words() == words


async def test_a_client_that_leaves_without_stop_leaves_nothing_behind(server):
    before = asyncio.all_tasks()
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(tone_words(SENTENCE * 4, lead=RATE // 2)))
        await talk.until("speech_started")
        during = len(server.app.registry)
        talk.socket.transport.abort()

    await server.left()
    backend = server.app.registry.services.backend
    assert during == 1
    left = {task for task in asyncio.all_tasks() - before if not task.done()}
    assert {task for task in left if task.get_name() != "batch"} == set()  # what runs on the engine is finished
    assert len(backend._jobs) == 0


async def test_a_client_that_leaves_when_nothing_is_said_is_noticed_too(server):
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.until("ready")
        assert len(server.app.registry) == 1
    async with talking(server.url):
        pass

    await server.left()


async def test_a_session_that_started_in_time_may_stay_silent():
    async with serving(start_timeout_s=0.05) as server, talking(server.url, sample_rate=RATE) as talk:
        await talk.until("ready")
        waiting = asyncio.create_task(talk.read())
        await asyncio.wait((waiting,), timeout=0.15)
        assert not waiting.done()
        await talk.say("stop")
        assert (await waiting)["type"] == "done"


async def test_a_start_must_come_in_time():
    async with serving(start_timeout_s=0.05) as server, talking(server.url) as talk:
        assert (await talk.to_the_end())[0] == 1008
        assert talk.events[-1]["code"] == "start_expected"


async def test_a_full_server_refuses_before_the_upgrade_and_says_when_to_come_back():
    async with serving(max_sessions=1) as server, talking(server.url, sample_rate=RATE) as talk:
        await talk.until("ready")
        with pytest.raises(InvalidStatus) as refused:
            async with talking(server.url):
                pass
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) > 0

        await talk.say("stop")
        await talk.to_the_end()
        await server.left()
        async with talking(server.url, sample_rate=RATE) as next_one:
            await next_one.until("ready")


class BrokenVad(ToneVad):
    """Fails for every lane but the first."""

    lanes = 0

    def lane(self):
        self.lanes += 1
        return super().lane() if self.lanes == 1 else self

    def score(self, frames):
        raise RuntimeError("a secret of the server's")


async def test_a_fault_of_ours_ends_its_session_with_no_details_and_no_other():
    async with serving(vad=BrokenVad()) as server, talking(server.url, sample_rate=RATE) as fine:
        await fine.until("ready")
        async with talking(server.url, sample_rate=RATE) as broken:
            await broken.audio(pcm(spoken(SENTENCE)))
            assert (await broken.to_the_end())[0] == 1011
        await fine.audio(pcm(spoken(SENTENCE)))
        await fine.say("stop")
        await fine.to_the_end()

    error = broken.events[-1]
    assert (error["code"], error["fatal"]) == ("internal", True)
    assert "secret" not in json.dumps(error)
    assert fine.words() == SENTENCE


class Ticking(NativeDialect):
    """A dialect with a timer: three ticks, then the end."""

    ticks = 0

    def open(self, now):
        self.wake_at = now + 0.01
        return []

    def handle_timer(self, now):
        assert now >= self.wake_at - 0.002  # the loop's clock may be coarse
        self.ticks += 1
        self.wake_at = now + 0.01 if self.ticks < 3 else None
        return [Send(f"tick {self.ticks}"), *([] if self.wake_at else [Close(1000, "over")])]


async def test_a_dialect_is_woken_when_it_wants_to_be(monkeypatch):
    monkeypatch.setattr("streamasr.server.app.DIALECTS", {"/ticks": Ticking})
    async with serving() as server, talking(f"ws://{server.address}/ticks") as talk:
        heard = [text async for text in talk.socket]

    assert heard == ["tick 1", "tick 2", "tick 3"]
    assert (talk.socket.close_code, talk.socket.close_reason) == (1000, "over")


async def _stop_at_a_random_moment(server, seed: int) -> None:
    """Words in random places; ``stop`` after a random sample: every word that was wholly sent comes back."""
    chance = random.Random(seed)
    words = [chance.randrange(64) for _ in range(chance.randint(1, 14))]
    gap, lead = chance.choice([960, 1_600, 12_000]), chance.randrange(RATE)
    audio = tone_words(words, gap=gap, lead=lead, tail=chance.randrange(RATE))
    sent = chance.randrange(len(audio))
    expected = [w for w, (_, end) in zip(words, tone_word_times(words, gap=gap, lead=lead), strict=True) if end <= sent]
    cuts = sorted([0, *chance.choices(range(sent + 1), k=chance.randrange(4)), sent])
    async with talking(server.url, sample_rate=RATE) as talk:
        for begin, end in pairwise(cuts):
            await talk.audio(pcm(audio[begin:end]), sizes=[chance.choice([160, 640, 3_200, 32_000])])
            await talk.say("ping")
            await talk.until("pong")
        await talk.say("stop")
        code, _ = await talk.to_the_end()

    assert code == 1000
    cut = [
        w
        for w, (start, end) in zip(words, tone_word_times(words, gap=gap, lead=lead), strict=True)
        if start < sent < end
    ]
    assert talk.words() in (expected, expected + cut), f"seed {seed}"
    assert talk.events[-1]["audio_seconds"] == round(sent / RATE, 3)


async def test_stop_at_a_random_moment_loses_and_doubles_nothing(server):
    for seed in range(20):
        await _stop_at_a_random_moment(server, seed)


@pytest.mark.slow
async def test_a_thousand_stops_at_random_moments_lose_and_double_nothing(server):
    for seed in range(20, 1_020):
        await _stop_at_a_random_moment(server, seed)


def _mulaw(samples: np.ndarray) -> bytes:
    """G.711 mu-law, by the textbook formula on 14 bits."""
    value = (samples * 32767).astype(np.int32) >> 2
    sign = np.where(value < 0, 0x80, 0)
    magnitude = np.minimum(np.abs(value), 8_158) + 33
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    low = magnitude >> (segment + 1) & 0x0F
    return (~(sign | segment << 4 | low) & 0xFF).astype(np.uint8).tobytes()


async def test_a_session_that_cannot_be_served_is_told_overloaded_and_closed_with_1013(monkeypatch):
    monkeypatch.setattr("streamasr.server.sessions.UNSERVED_S", 0.02)
    engine = HeldEngine()
    speech = pcm(spoken(random.Random(2).choices(range(64), k=200)))
    async with serving(LocalBackend(lambda: engine)) as server, talking(server.url, sample_rate=RATE) as talk:
        sending = asyncio.create_task(talk.audio(speech, [32_000]))
        closed = await talk.to_the_end()
        sending.cancel()
        engine.let.set()

    assert closed == (1013, "overloaded: the server cannot keep up")
    assert talk.of("error")[-1]["code"] == "overloaded"
    assert talk.of("error")[-1]["retry_after"] > 0
