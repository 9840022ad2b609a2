"""The speakers: when they send, what they note, what becomes of a connection that fails."""

import asyncio
import time
from typing import ClassVar

import numpy as np
import pytest

from loadtest import pacing
from loadtest.pacing import Share, Speaker, speak_all
from loadtest.targets import TARGETS, Heard, TargetError, TargetOptions

OPTIONS = TargetOptions(url="ws://nowhere")


class Echo:
    """A service that answers every 0.1 s of audio with a partial, a flush with a final."""

    made: ClassVar[list["Echo"]] = []

    def __init__(self, options):
        self.audio = b""
        self.frames = []
        self.flushed_at = []
        self.closed = False
        self.said = asyncio.Queue()
        self.made.append(self)

    async def open(self):
        pass

    async def send(self, pcm):
        self.audio += pcm
        self.frames.append(time.monotonic())
        if len(self.audio) % 3_200 == 0:
            await self.said.put(Heard(kind="partial", utterance=0, unstable=f"{len(self.audio)}"))

    async def flush(self):
        self.flushed_at.append(len(self.audio))
        await self.said.put(Heard(kind="final", utterance=0, stable="flushed"))

    async def finish(self):
        await self.said.put(None)

    async def events(self):
        while (heard := await self.said.get()) is not None:
            yield heard

    async def close(self):
        self.closed = True


class Refusing(Echo):
    async def open(self):
        raise TargetError("no room", code="overloaded", refused=True, retry_after_s=5.0)


class Breaking(Echo):
    async def events(self):
        yield await self.said.get()
        raise TargetError("it broke", code="internal")


class Holding(Echo):
    async def send(self, pcm):
        if not self.audio:
            reading = asyncio.Event()
            asyncio.get_running_loop().call_later(0.25, reading.set)
            await reading.wait()
        await super().send(pcm)


class Mute(Echo):
    async def finish(self):
        await asyncio.Event().wait()


@pytest.fixture
def echo(monkeypatch):
    for name, kind in {
        "echo": Echo,
        "refusing": Refusing,
        "breaking": Breaking,
        "mute": Mute,
        "holding": Holding,
    }.items():
        monkeypatch.setitem(TARGETS, name, kind)
    monkeypatch.setattr(Echo, "made", [])
    monkeypatch.setattr(pacing, "OPEN_AHEAD_S", 0.01)
    return Echo.made


def speaker(seconds=0.4, number=0, **fields):
    pcm = np.arange(round(seconds * 16_000), dtype=np.int16)
    return Speaker(number=number, pcm=pcm, begins_at=time.monotonic() + 0.02, **fields)


async def test_each_frame_is_sent_when_its_last_sample_has_been_spoken(echo):
    one = speaker()
    found = await speak_all(Share(target="echo", options=OPTIONS, speakers=(one,), frame_ms=40))

    assert echo[0].audio == one.pcm.astype("<i2").tobytes()
    assert len(echo[0].frames) == 10
    for number, at in enumerate(echo[0].frames):
        assert at >= one.begins_at + 0.04 * (number + 1) - 1e-3
    log = found.lanes[0]
    assert 0 <= log.began - one.begins_at <= pacing.PHASE_S + 1e-6
    assert log.sent_s == 0.4
    assert len(np.frombuffer(log.late, np.float32)) == 10
    assert [a.heard.unstable for a in log.arrivals] == ["6400", "12800"]
    assert log.arrivals[0].at >= 0.2
    assert log.arrivals[1].at >= 0.4
    assert echo[0].closed


async def test_jitter_delays_frames_but_never_reorders_them_nor_counts_as_lateness(echo):
    one = speaker(0.3)
    found = await speak_all(Share(target="echo", options=OPTIONS, speakers=(one,), jitter_ms=60))

    assert echo[0].audio == one.pcm.astype("<i2").tobytes()
    behind = [at - one.begins_at - 0.02 * (n + 1) for n, at in enumerate(echo[0].frames)]
    assert max(behind) > 0.03
    assert np.median(np.frombuffer(found.lanes[0].late, np.float32)) < 0.02


async def test_the_client_asks_for_the_final_so_long_after_the_true_end_of_speech(echo):
    """0.1 s of speech, 0.1 s of the client's silence: at the first frame that ends at 0.2 s or later."""
    one = speaker(speech_ends=(0.1, 0.25))
    await speak_all(Share(target="echo", options=OPTIONS, speakers=(one,), frame_ms=40, vad_stop_ms=100))
    assert echo[0].flushed_at == [6_400, 11_520]


async def test_the_service_finds_the_ends_of_speech_if_the_client_has_no_detection(echo):
    share = Share(target="echo", options=OPTIONS, speakers=(speaker(speech_ends=(0.1,)),), vad_stop_ms=0)
    await speak_all(share)
    assert echo[0].flushed_at == []


async def test_an_idle_socket_repeats_its_audio_until_the_end(echo):
    idle = speaker(0.1, repeat_until=time.monotonic() + 0.3)
    found = await speak_all(Share(target="echo", options=OPTIONS, speakers=(idle,)))
    assert found.lanes[0].sent_s >= 0.2
    assert echo[0].audio[:3_200] == echo[0].audio[3_200:6_400]


@pytest.mark.parametrize(
    ("target", "error", "refused"),
    [("refusing", "overloaded: no room", True), ("breaking", "internal: it broke", False)],
)
async def test_a_connection_that_fails_ends_its_lane_only(echo, target, error, refused):
    found = await speak_all(Share(target=target, options=OPTIONS, speakers=(speaker(),)))

    log = found.lanes[0]
    assert (log.error, log.refused) == (error, refused)
    assert log.retry_after_s == (5.0 if refused else None)
    assert echo[0].closed


async def test_a_service_that_never_ends_is_given_up(echo, monkeypatch):
    monkeypatch.setattr(pacing, "GIVE_UP_S", 0.05)
    found = await speak_all(Share(target="mute", options=OPTIONS, speakers=(speaker(0.1),)))
    assert found.lanes[0].error.startswith("timeout")


async def test_a_service_that_does_not_read_makes_no_frame_late(echo):
    """The frames that waited meanwhile are sent at once, and none of it is the tool's fault."""
    found = await speak_all(Share(target="holding", options=OPTIONS, speakers=(speaker(0.4),)))
    assert len(echo[0].audio) == 12_800
    assert np.percentile(np.frombuffer(found.lanes[0].late, np.float32), 75) < 0.02


async def test_the_tool_measures_itself(echo):
    found = await speak_all(Share(target="echo", options=OPTIONS, speakers=(speaker(0.3),)))
    assert found.wall_s > 0.29
    assert 0 < found.cpu_s < found.wall_s
    assert len(found.loop_lag) >= 2
