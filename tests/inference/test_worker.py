"""The local backend: every submit is answered once, by the right answer or the right error, whatever happens."""

import asyncio
import random
import threading

import pytest

from streamasr.core.events import SAMPLE_RATE, Hypothesis, Window
from streamasr.errors import ModelError, Unavailable, WindowDiscarded, WindowFailed, WindowSuperseded
from streamasr.inference.fake import FixedCostEngine, ScriptedEngine
from streamasr.inference.worker import BatchRecord, LocalBackend


def window(lane, number=0, kind="final", seconds=1.0):
    return Window(lane=lane, number=number, kind=kind, anchor=0, pcm=b"", encoder_samples=int(seconds * SAMPLE_RATE))


def echo(window):
    return Hypothesis(lane=window.lane, number=window.number, words=(), language="en")


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


class HeldEngine(ScriptedEngine):
    """Echoes; a window of lane ``hold`` keeps the device until ``release`` is set, and says when it runs."""

    def __init__(self, answer=echo):
        super().__init__(self._held)
        self.loop = asyncio.get_running_loop()
        self.answer = answer
        self.running = asyncio.Event()
        self.release = threading.Event()
        self.threads = []
        self.closed_on = None

    def _held(self, window):
        self.threads.append(threading.current_thread())
        if window.lane == "hold":
            self.loop.call_soon_threadsafe(self.running.set)
            assert self.release.wait(5)
        return self.answer(window)

    def close(self):
        self.closed_on = threading.current_thread()

    def ran(self):
        return [[f"{w.lane}{w.number}" for w in batch] for batch in self.batches]


@pytest.fixture
async def engine():
    return HeldEngine()


@pytest.fixture
async def backend(engine):
    backend = await started(engine)
    yield backend
    engine.release.set()
    await backend.close()


async def started(engine, **options):
    backend = LocalBackend(lambda: engine, **options)
    await backend.start()
    return backend


async def submit(backend, *windows):
    """Submit as sessions do, a task for each window; returns when all are queued."""
    tasks = [asyncio.create_task(backend.submit(w)) for w in windows]
    turn = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn
    return tasks


async def hold(backend, engine):
    """Keep the device busy until ``engine.release`` is set."""
    (held,) = await submit(backend, window("hold"))
    await engine.running.wait()
    return held


async def test_a_window_is_answered_with_its_own_hypothesis(backend):
    answers = await asyncio.gather(*(backend.submit(window(lane, 7)) for lane in "abcde"))

    assert [(a.lane, a.number) for a in answers] == [(lane, 7) for lane in "abcde"]


async def test_windows_submitted_in_one_turn_share_the_first_batch(backend, engine):
    await asyncio.gather(*(backend.submit(window(lane)) for lane in "abc"))

    assert engine.ran() == [["a0", "b0", "c0"]]


async def test_what_is_queued_while_the_device_works_shares_the_next_batch(backend, engine):
    held = await hold(backend, engine)
    first = await submit(backend, window("a"))
    second = await submit(backend, window("b"), window("c"))
    engine.release.set()
    await asyncio.gather(held, *first, *second)

    assert engine.ran() == [["hold0"], ["a0", "b0", "c0"]]


async def test_the_engine_lives_on_one_thread_of_its_own(engine):
    def factory():
        engine.threads.append(threading.current_thread())
        return engine

    backend = LocalBackend(factory)
    await backend.start()
    await backend.submit(window("a"))
    await backend.submit(window("b"))
    await backend.close()

    assert len(engine.threads) == 3
    assert {*engine.threads} == {engine.closed_on} != {threading.current_thread()}
    assert not engine.closed_on.is_alive()


async def test_every_device_works_at_once_and_no_more_batches_run_than_there_are_devices():
    begun, release = [threading.Event() for _ in range(3)], threading.Event()
    waiting = iter(begun)

    def spend(_):
        next(waiting).set()
        assert release.wait(5)

    backend = await started(FixedCostEngine([(160_000, 0.1, 0.1)], spend, max_batch_size=1, parallel=2))
    tasks = await submit(backend, window("a"), window("b"), window("c"))

    assert await asyncio.to_thread(begun[1].wait, 5)
    assert not begun[2].is_set()
    release.set()
    answers = await asyncio.gather(*tasks)
    assert [answer.lane for answer in answers] == ["a", "b", "c"]
    await backend.close()


async def test_start_raises_what_the_factory_raises():
    def factory():
        raise ModelError("no model here")

    backend = LocalBackend(factory)
    with pytest.raises(ModelError, match="no model here"):
        await backend.start()
    await backend.close()


async def test_a_newer_partial_supersedes_the_queued_one_which_never_runs(backend, engine):
    held = await hold(backend, engine)
    old, new = await submit(backend, window("a", 0, "partial"), window("a", 1, "partial"))
    with pytest.raises(WindowSuperseded):
        await old
    engine.release.set()

    assert (await new).number == 1
    await held
    assert engine.ran() == [["hold0"], ["a1"]]


async def test_a_discarded_lane_never_runs_unless_it_already_does(backend, engine):
    held = await hold(backend, engine)
    gone, stays = await submit(backend, window("a"), window("b"))
    for lane in ("a", "hold", "nobody"):
        backend.discard(lane)
    with pytest.raises(WindowDiscarded):
        await gone
    engine.release.set()
    await asyncio.gather(held, stays)

    assert engine.ran() == [["hold0"], ["b0"]]


async def test_a_cancelled_submit_leaves_the_queue(backend, engine):
    held = await hold(backend, engine)
    gone, stays = await submit(backend, window("a"), window("b"))
    gone.cancel()
    await asyncio.wait([gone])
    engine.release.set()
    await asyncio.gather(held, stays)

    assert engine.ran() == [["hold0"], ["b0"]]


async def test_a_submit_cancelled_while_it_runs_harms_nobody(backend, engine):
    held = await hold(backend, engine)
    held.cancel()
    await asyncio.wait([held])
    engine.release.set()

    assert held.cancelled()
    assert (await backend.submit(window("b"))).lane == "b"


async def test_the_same_window_cannot_be_queued_twice(backend, engine):
    held = await hold(backend, engine)
    first, again = await submit(backend, window("a", 3), window("a", 3))
    with pytest.raises(ValueError, match="window 3 of lane a"):
        await again
    engine.release.set()
    await asyncio.gather(held, first)


def fails_on(lane):
    def answer(window):
        if window.lane == lane:
            raise RuntimeError("boom")
        return echo(window)

    return answer


async def test_a_bad_window_fails_alone_and_the_worker_goes_on(backend, engine, caplog):
    engine.answer = fails_on("bad")
    tasks = await submit(backend, *(window(lane) for lane in ("good", "bad", "fine")))
    good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)

    assert (good.lane, fine.lane) == ("good", "fine")
    assert isinstance(bad, WindowFailed)
    assert isinstance(bad.__cause__, RuntimeError)
    assert engine.ran() == [["good0", "bad0", "fine0"], ["good0"], ["bad0"], ["fine0"]]
    assert "boom" in caplog.text
    assert (await backend.submit(window("next"))).lane == "next"


async def test_a_failure_the_engine_answers_with_is_raised_without_another_run(backend, engine):
    engine.answer = lambda w: WindowFailed("no speech") if w.lane == "bad" else echo(w)
    good, bad = await asyncio.gather(*(await submit(backend, window("good"), window("bad"))), return_exceptions=True)

    assert good.lane == "good"
    assert isinstance(bad, WindowFailed)
    assert engine.ran() == [["good0", "bad0"]]


async def test_an_engine_that_loses_an_answer_is_asked_one_by_one(backend, engine):
    whole = engine.transcribe
    engine.transcribe = lambda batch: whole(batch)[:1]
    answers = await asyncio.gather(*(backend.submit(window(lane)) for lane in "ab"))

    assert [a.lane for a in answers] == ["a", "b"]


async def test_a_bug_beside_the_engine_lets_nobody_wait_for_ever(caplog):
    engine = HeldEngine()

    def cost(windows, samples):
        raise ZeroDivisionError

    engine.cost = cost
    backend = await started(engine)
    answers = await asyncio.gather(backend.submit(window("a")), backend.submit(window("b")), return_exceptions=True)

    assert [type(a) for a in answers] == [Unavailable, Unavailable]
    assert "takes no more windows" in caplog.text
    with pytest.raises(Unavailable):
        await backend.submit(window("c"))
    with pytest.raises(ZeroDivisionError):
        await backend.close()
    assert engine.closed_on is not None


async def test_an_engine_thread_that_dies_lets_nobody_wait_for_ever():
    class Death(BaseException):
        pass

    def answer(window):
        raise Death

    backend = await started(ScriptedEngine(answer))
    for lane in "ab":
        with pytest.raises(Unavailable):
            await backend.submit(window(lane))
    with pytest.raises(Death):
        await backend.close()


async def test_windows_are_taken_only_between_start_and_close():
    backend = LocalBackend(lambda: ScriptedEngine(echo))
    with pytest.raises(Unavailable):
        await backend.submit(window("a"))
    backend.discard("a")
    await backend.start()
    await backend.submit(window("a"))
    await backend.close()
    with pytest.raises(Unavailable):
        await backend.submit(window("a"))


async def test_closing_discards_what_is_queued_and_finishes_what_runs(backend, engine):
    held = await hold(backend, engine)
    (queued,) = await submit(backend, window("a"))
    closing = asyncio.create_task(backend.close())
    with pytest.raises(WindowDiscarded):
        await queued
    assert engine.closed_on is None
    engine.release.set()
    await closing
    await backend.close()

    assert (await held).lane == "hold"
    assert engine.ran() == [["hold0"]]
    assert engine.closed_on is not None


async def test_closing_while_the_engine_is_being_loaded_frees_it():
    engine, loading, go_on = HeldEngine(), asyncio.Event(), threading.Event()

    def factory():
        engine.loop.call_soon_threadsafe(loading.set)
        assert go_on.wait(5)
        return engine

    backend = LocalBackend(factory)
    starting = asyncio.create_task(backend.start())
    await loading.wait()
    closing = asyncio.create_task(backend.close())
    go_on.set()
    with pytest.raises(Unavailable):
        await starting
    await closing

    assert engine.closed_on is not None


async def test_every_batch_is_told_to_the_observer():
    clock, records = Clock(), []
    engine = FixedCostEngine([(SAMPLE_RATE, 0.1, 0.01), (4 * SAMPLE_RATE, 0.25, 0.05)], clock.advance)
    backend = await started(engine, observer=records.append, clock=clock)
    await asyncio.gather(backend.submit(window("a", seconds=4)), backend.submit(window("b", seconds=1)))
    await backend.close()

    took = pytest.approx(0.3)
    assert records == [
        BatchRecord(
            size=2,
            failed=0,
            encoder_samples=64_000,
            padded_share=3 / 8,
            queue_ages=(0.0, 0.0),
            engine_s=took,
            ended_at=clock(),
            devices=1,
            lanes=("a", "b"),
            kinds=("final", "final"),
            spans=((0, 0), (0, 0)),
            superseded=0,
        )
    ]


async def test_queue_ages_and_failures_are_in_the_record():
    clock, records = Clock(), []
    engine = HeldEngine(fails_on("bad"))
    backend = await started(engine, observer=records.append, clock=clock)
    held = await hold(backend, engine)
    tasks = await submit(backend, window("bad"))
    clock.advance(0.25)
    tasks += await submit(backend, window("a"))
    clock.advance(0.5)
    engine.release.set()
    await asyncio.gather(held, *tasks, return_exceptions=True)
    await backend.close()

    assert [(r.size, r.failed, r.queue_ages) for r in records] == [(1, 0, (0.0,)), (2, 1, (0.75, 0.5))]


async def test_superseded_partials_are_told_with_the_batch_that_ends_next():
    records = []
    engine = HeldEngine()
    backend = await started(engine, observer=records.append)
    held = await hold(backend, engine)
    tasks = await submit(backend, *(window("a", number, "partial") for number in range(3)))
    engine.release.set()
    await asyncio.gather(held, *tasks, return_exceptions=True)
    await backend.submit(window("b"))
    await backend.close()

    assert [(r.lanes, r.superseded) for r in records] == [(("hold",), 2), (("a",), 0), (("b",), 0)]


async def test_headroom_is_the_idle_share_of_the_last_five_seconds():
    clock = Clock()
    engine = FixedCostEngine([(SAMPLE_RATE, 1.0, 1.0)], clock.advance)
    backend = await started(engine, clock=clock)
    headroom = []
    for number, (passes, works) in enumerate([(0.0, True), (1.0, True), (2.5, False), (2.0, False), (60.0, False)]):
        clock.advance(passes)
        if works:  # for a second: from 100 to 101, and from 102 to 103
            await backend.submit(window("a", number))
        headroom.append(backend.headroom())
    await backend.close()

    assert headroom == pytest.approx([0.8, 0.6, 0.7, 0.9, 1.0])


async def test_headroom_falls_while_a_long_batch_still_runs():
    clock, engine = Clock(), HeldEngine()
    backend = await started(engine, clock=clock)
    held = await hold(backend, engine)
    headroom = [backend.headroom()]
    for passes in (2.0, 60.0):
        clock.advance(passes)
        headroom.append(backend.headroom())
    engine.release.set()
    await held
    await backend.close()

    assert headroom == pytest.approx([1.0, 0.6, 0.0])


async def test_under_load_every_final_is_answered_and_every_partial_answered_or_superseded(backend, engine):
    rng = random.Random(3)
    windows = [
        window(f"lane{i}", number, "final" if number % 5 == 4 else "partial", rng.choice([1, 2, 5]))
        for number in range(40)
        for i in range(20)
    ]
    tasks = []
    for start in range(0, len(windows), 7):
        tasks += await submit(backend, *windows[start : start + 7])
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    for asked, answer in zip(windows, answers, strict=True):
        if isinstance(answer, WindowSuperseded):
            assert asked.kind == "partial"
        else:
            assert (answer.lane, answer.number) == (asked.lane, asked.number)
    ran = [(w.lane, w.number) for batch in engine.batches for w in batch]
    assert len(ran) == len(set(ran)) == sum(isinstance(a, Hypothesis) for a in answers)
    for i in range(20):
        numbers = [number for lane, number in ran if lane == f"lane{i}"]
        assert numbers == sorted(numbers)
