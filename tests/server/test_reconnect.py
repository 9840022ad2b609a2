"""A dropped connection goes on where it was: nothing lost, nothing doubled, one clock, one numbering."""

import random

import numpy as np
import pytest
from helpers import RATE, Talk, pcm, serving, spoken, talking

from streamasr.inference.fake import tone_words

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "a key that two servers share"


async def _drop(talk: Talk) -> None:
    """As a network does it: no close frame."""
    talk.socket.transport.abort()


async def test_a_session_goes_on_after_a_drop(server):
    words = random.Random(0).sample(range(64), 20)
    audio = np.concatenate([spoken(words[:10]), tone_words(words[10:], tail=RATE)])
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(audio[: 5 * RATE]))
        final = await talk.until("final")
        partial = await talk.until("partial")
        await _drop(talk)

    stable = {"stable": partial["stable"], "stable_end": partial["words"][-1]["end"] if partial["words"] else None}
    async with talking(server.url, sample_rate=RATE, resume=final["resume"], **stable) as again:
        ready = await again.until("ready")
        await again.audio(pcm(audio[ready["audio_received"] :]))
        await again.say("stop")
        await again.to_the_end()

    assert ready["session"] == talk.events[0]["session"]
    assert ready["audio_received"] == round(final["end"] * RATE)
    assert [final["utterance"] for final in again.of("final")] == [1]
    assert again.of("final")[0]["text"].startswith(partial["stable"])
    assert again.of("final")[0]["start"] >= final["end"]
    assert talk.words() + again.words() == words
    assert again.events[-1]["utterances"] == 2
    assert again.events[-1]["audio_seconds"] == round(len(audio) / RATE, 3)


async def test_a_drop_before_the_first_final_keeps_what_was_stable(server):
    words = random.Random(7).sample(range(64), 12)
    audio = spoken(words)
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(audio[: 3 * RATE]))
        while not (partial := await talk.until("partial"))["stable"]:
            pass
        await _drop(talk)
    token = talk.events[0]["resume"]

    stable = {"stable": partial["stable"], "stable_end": partial["words"][-1]["end"]}
    async with talking(server.url, sample_rate=RATE, resume=token, **stable) as again:
        ready = await again.until("ready")
        await again.audio(pcm(audio))
        await again.say("stop")
        await again.to_the_end()

    assert (ready["session"], ready["audio_received"]) == (talk.events[0]["session"], 0)
    assert again.of("final")[0]["text"].startswith(partial["stable"])
    assert again.words() == words


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
async def test_the_replay_begins_at_a_sample_of_the_clients_own_rate(server, rate):
    words = random.Random(rate).sample(range(64), 16)
    audio = np.concatenate([spoken(words[:8], rate=rate), spoken(words[8:], rate=rate)])
    async with talking(server.url, sample_rate=rate) as talk:
        await talk.audio(pcm(audio[: len(audio) * 2 // 3]))
        final = await talk.until("final")
        await _drop(talk)

    async with talking(server.url, sample_rate=rate, resume=final["resume"]) as again:
        ready = await again.until("ready")
        await again.audio(pcm(audio[ready["audio_received"] :]))
        await again.say("stop")
        await again.to_the_end()

    assert 0 <= final["end"] * rate - ready["audio_received"] < rate / 50
    assert talk.words() + again.words() == words


async def test_each_channel_goes_on_from_its_own_last_final(server):
    words = [random.Random(n).sample(range(64), 12) for n in range(2)]
    early = np.concatenate([spoken(words[0][:6]), spoken(words[0][6:], lead=2 * RATE)])
    late = np.concatenate([np.zeros(2 * RATE, np.float32), spoken(words[1])])
    length = max(len(early), len(late))
    audio = np.stack([np.pad(side, (0, length - len(side))) for side in (early, late)])
    async with talking(server.url, sample_rate=RATE, channels=2) as talk:
        await talk.audio(pcm(audio[:, : 4 * RATE]))
        final = await talk.until("final")
        await _drop(talk)
    assert final["channel"] == 0

    start = {"sample_rate": RATE, "channels": 2, "resume": final["resume"]}
    async with talking(server.url, **start) as again:
        ready = await again.until("ready")
        assert ready["audio_received"] == 0  # channel 1 has said nothing final yet
        await again.audio(pcm(audio))
        await again.say("stop")
        await again.to_the_end()

    assert talk.words(channel=0) + again.words(channel=0) == words[0]
    assert talk.words(channel=1) + again.words(channel=1) == words[1]
    assert again.of("final", channel=0)[0]["utterance"] == 1


async def test_any_server_with_the_key_goes_on():
    async with serving(signing_key=KEY) as first, talking(first.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(spoken([1, 2, 3])))
        final = await talk.until("final")
    async with (
        serving(signing_key=KEY) as second,
        talking(second.url, sample_rate=RATE, resume=final["resume"]) as again,
    ):
        assert (await again.until("ready"))["session"] == talk.events[0]["session"]


async def test_without_the_key_the_session_is_lost_and_the_client_is_told(server):
    async with serving(signing_key=KEY) as other, talking(other.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(spoken([1, 2, 3])))
        final = await talk.until("final")
    for token in (final["resume"], "nonsense", ""):
        async with talking(server.url, sample_rate=RATE, resume=token) as again:
            assert (await again.to_the_end())[0] == 1008
            assert [event["code"] for event in again.events] == ["resume_lost"]


async def test_a_token_of_another_number_of_channels_is_refused(server):
    async with talking(server.url, sample_rate=RATE) as talk:
        await talk.audio(pcm(spoken([1, 2, 3])))
        final = await talk.until("final")
    async with talking(server.url, sample_rate=RATE, channels=2, resume=final["resume"]) as again:
        assert (await again.to_the_end())[0] == 1008
        assert again.events[-1]["code"] == "resume_lost"


async def _drop_at_random_moments(server, seed: int) -> None:
    """A client that loses its connection three times, after a random sample and a random event."""
    chance = random.Random(seed)
    words = chance.choices(range(64), k=24)
    audio = np.concatenate([spoken(words[at : at + 6]) for at in range(0, 24, 6)])
    heard: list[int] = []
    start: dict[str, object] = {"sample_rate": RATE}
    for drops in range(4):
        async with talking(server.url, **start) as talk:
            begin = (await talk.until("ready"))["audio_received"]
            if drops == 3:
                await talk.audio(pcm(audio[begin:]))
                await talk.say("stop")
                await talk.to_the_end()
            else:
                await talk.audio(pcm(audio[begin : begin + chance.randrange(4 * RATE)]))
                await talk.say("ping")
                for _ in range(chance.randrange(1, 12)):
                    if (await talk.read())["type"] == "pong":
                        break
                await _drop(talk)
            heard += talk.words()
        if finals := talk.of("final"):
            start = {"sample_rate": RATE, "resume": finals[-1]["resume"]}

    assert heard == words, f"seed {seed}"


async def test_drops_at_random_moments_lose_and_double_nothing(server):
    for seed in range(10):
        await _drop_at_random_moments(server, seed)


@pytest.mark.slow
async def test_hundreds_of_drops_at_random_moments_lose_and_double_nothing(server):
    for seed in range(10, 210):
        await _drop_at_random_moments(server, seed)
