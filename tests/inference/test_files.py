"""Recordings through the shell: a reading thread, the scorer's thread and a backend's, as in the server."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.evalset import ROOT, load, read_audio
from streamasr.bench.scoring import count_errors, doubled_words, lost_runs, normalise
from streamasr.core.events import SAMPLE_RATE, Hypothesis, Segment, Window
from streamasr.core.options import FileOptions
from streamasr.errors import MediaError, Unavailable, WindowDiscarded, WindowFailed
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.fake import FixedCostEngine, ScriptedEngine, ToneCodeEngine, ToneVad, tone_words
from streamasr.inference.files import Lost, Progress, Transcriber
from streamasr.inference.models import resolve
from streamasr.inference.scorer import Scorer
from streamasr.inference.vad import VadModel
from streamasr.inference.worker import LocalBackend
from tests.helpers import PATIENCE_S, TONE_MODEL, HeldEngine

OPTIONS = FileOptions(language="en")
SECOND = SAMPLE_RATE
MS = SECOND // 1_000


def blocks(audio, size=SECOND):
    return iter([audio[start : start + size] for start in range(0, len(audio), size)])


def recording(count=12):
    """Utterances of six words and a pause of 2 s, about 3.6 s each; and their words."""
    audio = np.concatenate([tone_words(range(n, n + 6), tail=2_000 * MS) for n in range(count)])
    return audio, [word for n in range(count) for word in range(n, n + 6)]


class Running:
    """A backend, a scorer and a transcriber."""

    def __init__(self, engine=None, vad=None, model=TONE_MODEL, **options):
        self.backend = LocalBackend(lambda: engine or ToneCodeEngine())
        self.scorer = Scorer()
        self.transcriber = Transcriber(self.backend, self.scorer, vad or ToneVad(), model.policy(), **options)

    async def __aenter__(self):
        await self.backend.start()
        return self.transcriber

    async def __aexit__(self, *_):
        await self.backend.close()
        self.scorer.close()


def words(items):
    return [int(word[1:]) for item in items if isinstance(item, Segment) for word in item.text.split()]


async def all_of(items):
    async with asyncio.timeout(PATIENCE_S):
        return [item async for item in items]


async def test_every_word_comes_once_and_in_order():
    audio, said = recording()
    async with Running() as transcriber:
        assert words(await all_of(transcriber.transcribe(blocks(audio), OPTIONS))) == said


async def test_several_recordings_share_a_backend():
    several = [recording(count) for count in (3, 5, 8)]
    async with Running() as transcriber:
        heard = await asyncio.gather(*(all_of(transcriber.transcribe(blocks(audio), OPTIONS)) for audio, _ in several))
    assert [words(items) for items in heard] == [said for _, said in several]


async def test_progress_ends_with_everything_done_and_says_what_it_cost():
    audio, _ = recording(4)
    async with Running() as transcriber:
        items = await all_of(transcriber.transcribe(blocks(audio), OPTIONS))

    progress = [item for item in items if isinstance(item, Progress)]
    assert [p.seconds_done for p in progress] == sorted(p.seconds_done for p in progress)
    last = items[-1]
    assert isinstance(last, Progress)
    assert last.seconds_done == last.seconds_read == len(audio) / SECOND
    assert last.language == "en"
    spent = last.preparation
    assert min(spent.decode_s, spent.decode_cpu_s, spent.gate_s, spent.gate_cpu_s, spent.assembly_s) > 0


async def test_results_come_while_the_recording_is_still_being_read():
    """The reader holds back the second half until the words of the first have come."""
    audio, said = recording(8)
    come = threading.Event()

    def slow():
        yield from blocks(audio[: len(audio) // 2])
        assert come.wait(PATIENCE_S)
        yield from blocks(audio[len(audio) // 2 :])

    heard = []
    async with Running() as transcriber, asyncio.timeout(PATIENCE_S):
        async for item in transcriber.transcribe(slow(), OPTIONS):
            heard.append(item)
            if isinstance(item, Segment):
                come.set()
    assert words(heard) == said


async def test_a_window_that_the_engine_cannot_transcribe_is_reported_in_its_place():
    audio, said = recording(3)

    def answer(window: Window) -> Hypothesis | WindowFailed:
        return WindowFailed("no") if window.number == 2 else ToneCodeEngine().transcribe([window])[0]

    async with Running(ScriptedEngine(answer)) as transcriber:
        items = [i for i in await all_of(transcriber.transcribe(blocks(audio), OPTIONS)) if not isinstance(i, Progress)]

    (lost,) = [item for item in items if isinstance(item, Lost)]
    assert 0 < items.index(lost) < len(items) - 1
    assert words(items) == said[:6] + said[12:]


async def test_what_was_read_before_the_file_broke_is_said_first():
    audio, said = recording(2)

    def broken():
        yield from blocks(audio)
        raise MediaError("the file ends too soon")

    heard = []

    async def listen(items):
        async for item in items:
            heard.append(item)  # noqa: PERF401 - what came before the error counts

    async with Running() as transcriber:
        with pytest.raises(MediaError, match="too soon"):
            await listen(transcriber.transcribe(broken(), OPTIONS))
    assert words(heard) == said


async def test_an_engine_that_stops_is_an_error():
    audio, _ = recording(2)
    running = Running()
    async with running as transcriber:
        await running.backend.close()
        with pytest.raises(Unavailable):
            await all_of(transcriber.transcribe(blocks(audio), OPTIONS))


async def test_a_backend_that_closes_in_between_is_an_error():
    audio, _ = recording(12)
    engine = HeldEngine()
    running = Running(engine)
    async with running as transcriber:
        task = asyncio.create_task(all_of(transcriber.transcribe(blocks(audio), OPTIONS)))
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        closing = asyncio.create_task(running.backend.close())
        engine.let.set()
        with pytest.raises((WindowDiscarded, Unavailable)):
            await task
        await closing


class Counted:
    """An endless recording that counts the blocks taken and knows whether it was closed."""

    def __init__(self):
        self.taken = 0
        self.closed = threading.Event()
        self.audio = tone_words(range(6), tail=200 * MS)

    def blocks(self):
        try:
            while True:
                self.taken += 1
                yield self.audio
        finally:
            self.closed.set()


async def test_closing_ends_the_reading_and_discards_the_windows():
    source = Counted()
    engine = HeldEngine()
    running = Running(engine, windows_ahead=6)
    async with running as transcriber:
        items = transcriber.transcribe(source.blocks(), OPTIONS)
        assert isinstance(await anext(items), Progress)
        await asyncio.to_thread(engine.asked.wait, PATIENCE_S)
        await items.aclose()
        assert await asyncio.to_thread(source.closed.wait, PATIENCE_S)
        engine.let.set()
        assert not running.backend._jobs


async def test_no_more_is_read_than_what_may_be_ahead():
    """While the engine is stuck, and while nobody takes what it has said."""
    source = Counted()
    engine = HeldEngine()
    limit = 8 * TONE_MODEL.policy().longest_window
    async with Running(engine, windows_ahead=8) as transcriber:
        items = transcriber.transcribe(source.blocks(), OPTIONS)
        read = 0.0
        async with asyncio.timeout(PATIENCE_S):
            while read * SECOND < limit:
                item = await anext(items)
                read = item.seconds_read if isinstance(item, Progress) else read
        engine.let.set()
        assert (source.taken - 1) * len(source.audio) <= limit + 3 * len(source.audio)
        await items.aclose()


class InFlight(FixedCostEngine):
    """Notes how much audio lies in the windows it is given at once."""

    def __init__(self):
        super().__init__([(0, 0.0, 0.0)], lambda _: None)
        self.windows = 0

    def transcribe(self, batch: Sequence[Window]) -> list[Hypothesis | WindowFailed]:
        """As its parent."""
        self.windows += len(batch)
        return super().transcribe(batch)


async def test_a_long_recording_streams_through():
    """An hour: what is ahead of what was said stays bounded all the way."""
    minute = np.concatenate([tone_words(range(60), tail=400 * MS) for _ in range(4)])
    engine = InFlight()
    most = 0.0
    async with Running(engine, windows_ahead=8) as transcriber, asyncio.timeout(2 * PATIENCE_S):
        async for item in transcriber.transcribe((minute for _ in range(50)), OPTIONS):
            if isinstance(item, Progress):
                most = max(most, item.seconds_read - item.seconds_done)
                last = item
    assert last.seconds_read == pytest.approx(50 * len(minute) / SECOND)
    assert most * SECOND <= 8 * TONE_MODEL.policy().longest_window + 2 * len(minute)
    assert engine.windows > 300


# The embedded model.

DATA = ROOT / "tests" / "data"


def without_pauses(audio, recording):
    """Only the words, and 50 ms around each."""
    keep = np.zeros(len(audio), bool)
    for word in recording.words:
        keep[round((word.start - 0.05) * SECOND) : round((word.end + 0.05) * SECOND)] = True
    return audio[keep]


@pytest.mark.parametrize(("pauses", "most"), [(True, 20.0), (False, 35.0)])
async def test_a_minute_of_speech_is_heard_right_with_its_pauses_and_without_any(pauses, most):
    """Without pauses the model itself makes a third of errors on windows cut at true word ends."""
    (long,) = load(DATA, ("long",))
    audio = read_audio(DATA, long).astype(np.float32) / 32768
    audio = audio if pauses else without_pauses(audio, long)
    model = resolve("nano")
    async with Running(Ct2Engine(model, threads=1), vad=VadModel(), model=model) as transcriber:
        items = await all_of(transcriber.transcribe(blocks(audio), FileOptions()))

    segments = [item for item in items if isinstance(item, Segment)]
    truth, heard = normalise(long.text), normalise(" ".join(segment.text for segment in segments))
    assert count_errors(truth, heard).wer <= most
    assert doubled_words(truth, heard) == 0
    assert lost_runs(truth, heard) <= 1
    assert {segment.language for segment in segments} == {"en"}
