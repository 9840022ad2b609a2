"""A live session without a socket: back pressure, failures, and where a reconnect goes on."""

import asyncio
import random
import tracemalloc

import msgspec
import numpy as np
import pytest
from helpers import PATIENCE_S, RATE, TONE_MODEL, pcm, spoken, tone_app
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import Final, Hypothesis, Warned
from streamasr.core.options import AudioFormat, ResumePoint, SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.session import Session
from streamasr.errors import EngineError, InvalidSetting, Refused, Unavailable, WindowFailed
from streamasr.inference.fake import ToneCodeEngine, ToneVad
from streamasr.inference.worker import LocalBackend
from streamasr.server.outbox import Ended, Failed, Outbox, Said
from streamasr.server.sessions import MAX_UNDECODED, LiveSession, check_options, replay_from
from streamasr.wire.commands import Start

WORDS = random.Random(0).sample(range(64), 16)
START = Start(format=AudioFormat(), options=SessionOptions(), stable=("",), stable_end=(None,))


class Backend(LocalBackend):
    """Transcribes when it is let; fails when it is told to."""

    def __init__(self) -> None:
        super().__init__(ToneCodeEngine)
        self.let = asyncio.Event()
        self.let.set()
        self.asked = asyncio.Event()
        self.failure: EngineError | None = None
        self.discarded: list[str] = []

    async def submit(self, window) -> Hypothesis:
        self.asked.set()
        await self.let.wait()
        if self.failure:
            raise self.failure
        return await super().submit(window)

    def discard(self, lane: str) -> None:
        self.discarded.append(lane)
        super().discard(lane)


@pytest.fixture
async def app():
    made = tone_app(Backend())
    await made.start()
    yield made
    await made.close()


async def read(outbox: Outbox) -> list[object]:
    """Everything up to the end."""
    items: list[object] = []
    async with asyncio.timeout(PATIENCE_S):
        while not items or not isinstance(items[-1], Ended | Failed):
            items.append(await outbox.take())
    return items


def words(items: list[object]) -> list[int]:
    finals = [item.event for item in items if isinstance(item, Said) and isinstance(item.event, Final)]
    return [int(word[1:]) for final in finals for word in final.text.split()]


async def test_a_lane_takes_no_more_than_half_a_minute_that_is_not_understood(app):
    many = random.Random(1).choices(range(64), k=240)
    speech = np.concatenate([spoken(many[at : at + 60], lead=0) for at in range(0, 240, 60)])
    app.registry.services.backend.let.clear()
    outbox = Outbox()
    session = LiveSession(START, app.registry.services, outbox)
    taking = asyncio.create_task(session.receive_audio(pcm(speech)))
    async with asyncio.timeout(PATIENCE_S):
        while session.audio_seconds * RATE <= MAX_UNDECODED:
            await asyncio.wait((taking,), timeout=0.01)
    assert not taking.done()
    assert session.audio_seconds * RATE <= MAX_UNDECODED + RATE

    app.registry.services.backend.let.set()
    async with asyncio.timeout(PATIENCE_S):
        await taking
    session.finish("stop")
    assert words(await read(outbox)) == many
    await session.close()


async def test_a_window_that_fails_is_a_warning_and_the_session_goes_on(app, caplog):
    backend = app.registry.services.backend
    backend.failure = WindowFailed("the reason is for the log")
    outbox = Outbox()
    session = LiveSession(START, app.registry.services, outbox)
    await session.receive_audio(pcm(spoken(WORDS)))
    session.flush("failed")
    items = []
    while not (items and isinstance(items[-1].event, Final)):
        items.append(await outbox.take())
    backend.failure = None
    await session.receive_audio(pcm(spoken(WORDS)))
    session.finish("stop")
    heard = words(await read(outbox))
    await session.close()

    warnings = [item.event for item in items if isinstance(item.event, Warned)]
    assert warnings
    assert {warning.code for warning in warnings} == {"window_failed"}
    assert "for the log" not in repr(warnings)
    assert "for the log" in caplog.text
    assert heard == WORDS


@pytest.mark.parametrize("failure", [Unavailable("the engine is gone"), EngineError("other")])
async def test_an_engine_that_is_gone_ends_the_session(app, failure):
    app.registry.services.backend.failure = failure
    outbox = Outbox()
    session = LiveSession(START, app.registry.services, outbox)
    await session.receive_audio(pcm(spoken(WORDS)))
    items = await read(outbox)
    await session.close()

    assert items[-1] == Failed(failure)


async def test_close_ends_every_task_and_forgets_the_windows(app):
    before = asyncio.all_tasks()
    backend = app.registry.services.backend
    backend.let.clear()
    start = msgspec.structs.replace(START, format=AudioFormat(channels=2), stable=("", ""), stable_end=(None, None))
    session = LiveSession(start, app.registry.services, Outbox())
    await session.receive_audio(pcm(np.stack([spoken(WORDS)] * 2)))
    session.flush(1)
    async with asyncio.timeout(PATIENCE_S):
        await backend.asked.wait()
    during = asyncio.all_tasks() - before
    await session.close()

    assert during
    assert all(task.done() for task in during)
    assert sorted(lane.rpartition("/")[2] for lane in backend.discarded) == ["0", "1"]


async def test_nothing_is_taken_after_the_end_was_asked_for(app):
    outbox = Outbox()
    session = LiveSession(START, app.registry.services, outbox)
    await session.receive_audio(pcm(spoken(WORDS)))
    session.finish("drain")
    await session.receive_audio(pcm(spoken(WORDS)))
    session.flush(1)
    session.finish("stop")
    items = await read(outbox)
    await session.close()

    assert words(items) == WORDS
    assert items[-1] == Ended("drained")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (SessionOptions(language="fr"), "language"),
        (SessionOptions(languages=("en", "fr")), "languages"),
        (SessionOptions(task="translate"), "task"),
    ],
)
def test_what_the_model_cannot_do_is_refused_by_name(options, field):
    with pytest.raises(InvalidSetting) as refused:
        check_options(options, TONE_MODEL)
    assert refused.value.field == field


@pytest.mark.parametrize("options", [SessionOptions(), SessionOptions(language="de", languages=("de", "en"))])
def test_what_the_model_can_do_is_not_refused(options):
    check_options(options, TONE_MODEL)


@given(
    st.integers(8_000, 48_000),
    st.lists(st.integers(0, 10**9), min_size=1, max_size=8),
)
def test_a_replay_begins_on_both_clocks_and_misses_nothing(rate, samples):
    received, begin = replay_from(tuple(ResumePoint(sample=sample) for sample in samples), rate)

    assert received * RATE == begin * rate  # the same moment, exactly
    assert begin <= min(samples) < begin + RATE  # before every lane's point, within a second


def test_an_hour_of_silence_costs_no_memory_and_does_not_move_the_clock():
    engine, vad = ToneCodeEngine(), ToneVad().lane()
    session = Session("lane", SessionOptions(), Policy())
    silence = np.zeros(RATE, np.float32)
    events = []

    def feed(samples) -> None:
        session.receive_audio(samples)
        session.receive_scores(vad.score(session.take_frames()))
        for window in session.windows_to_send():
            (answer,) = engine.transcribe([window])
            session.receive_hypothesis(answer)
        events.extend(session.events_to_send())

    for _ in range(60):
        feed(silence)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(3_540):
        feed(silence)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events == []
    assert after - before < 200_000
    assert peak - before < 1_000_000

    feed(spoken(WORDS))
    (final,) = [event for event in events if isinstance(event, Final)]
    assert [int(word.text[1:]) for word in final.words] == WORDS
    assert final.words[0].start == pytest.approx(3_600 * RATE + RATE // 2, abs=160)


async def test_a_session_of_which_nothing_is_understood_is_told_that_it_cannot_be_served(app, monkeypatch):
    monkeypatch.setattr("streamasr.server.sessions.UNSERVED_S", 0.02)
    many = random.Random(1).choices(range(64), k=240)
    app.registry.services.backend.let.clear()
    outbox = Outbox()
    session = LiveSession(START, app.registry.services, outbox)
    taking = asyncio.create_task(session.receive_audio(pcm(spoken(many))))
    *_, last = await read(outbox)

    assert isinstance(last, Failed)
    assert isinstance(last.error, Refused)
    assert last.error.message == "the server cannot keep up"
    taking.cancel()
    await session.close()


async def test_an_upload_that_is_understood_slowly_is_served(app, monkeypatch):
    monkeypatch.setattr("streamasr.server.sessions.UNSERVED_S", 0.6)
    backend, loop = app.registry.services.backend, asyncio.get_running_loop()

    async def slowly(window, submit=backend.submit):
        turn = asyncio.Event()
        loop.call_later(0.2, turn.set)
        await turn.wait()
        return await submit(window)

    monkeypatch.setattr(backend, "submit", slowly)
    began = loop.time()
    many = random.Random(1).choices(range(64), k=240)
    outbox = Outbox()
    session = LiveSession(START, app.registry.services, outbox)
    for at in range(0, 240, 60):
        await session.receive_audio(pcm(spoken(many[at : at + 60], lead=0)))
    session.finish("stop")
    items = await read(outbox)

    assert loop.time() - began > 0.6
    assert items[-1] == Ended("done")
    assert words(items) == many
    await session.close()


async def test_the_time_from_the_end_of_speech_to_the_final_is_measured_where_silence_ended_it(app):
    outbox = Outbox()
    session = LiveSession(START, app.registry.services, outbox)
    await session.receive_audio(pcm(np.concatenate([spoken(WORDS[:4]), spoken(WORDS[4:], tail=0)])))
    session.finish("stop")
    items = await read(outbox)
    await session.close()

    finals = [item.event.reason for item in items if isinstance(item, Said) and isinstance(item.event, Final)]
    assert finals == ["endpoint", "stop"]
    lag = app.registry.report().speech_to_final_s
    assert lag.count == 1
    assert 0 < lag.p50 < PATIENCE_S
