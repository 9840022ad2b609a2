"""A long recording transcribed beside live streams, on the simulated clock: the embedded model's real answers."""

from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.evalset import ROOT, load, read_audio
from streamasr.bench.scoring import Shown, count_errors, normalise, percentile, word_lags
from streamasr.bench.simulated import BLOCK, Recording, Simulation, Stream
from streamasr.core.events import FRAME, SAMPLE_RATE, Final, Partial, Segment
from streamasr.core.options import FileOptions, SessionOptions
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import resolve
from streamasr.inference.vad import VadModel

DATA = ROOT / "tests" / "data"
MODEL = resolve("nano")
LIVE = [recording for recording in load(DATA) if recording.set in ("seen", "unseen")][:6]
(LONG,) = load(DATA, ("long",))
COPIES = 20
"""Of a minute: more than the engine can do while the streams last."""
BEAM_COSTS = 1.5
"""Times the table's cost, which is for beam 1."""


class Once:
    """An engine that hears equal windows once: copies of a recording take the test no longer than one of them."""

    def __init__(self, engine):
        self.engine = engine
        self.max_batch_size, self.parallel = engine.max_batch_size, engine.parallel
        self.batch_key, self.cost = engine.batch_key, engine.cost
        self.heard = {}

    def transcribe(self, batch):
        return [self.answer(window) for window in batch]

    def answer(self, window):
        asked = msgspec.structs.replace(window, lane="", number=0, anchor=0)
        if asked not in self.heard:
            (self.heard[asked],) = self.engine.transcribe([asked])
        known = self.heard[asked]
        moved = tuple(
            msgspec.structs.replace(word, start=word.start + window.anchor, end=word.end + window.anchor)
            for word in known.words
        )
        return msgspec.structs.replace(known, lane=window.lane, number=window.number, words=moved)


class OnceVad:
    """The same for the voice-activity model: one lane's state goes on, its answers are remembered."""

    def __init__(self, lane, heard):
        self.lane = lane
        self.heard = heard

    def score(self, frames):
        key = frames.tobytes()
        if key not in self.heard:
            self.heard[key] = self.lane.score(frames)
        return self.heard[key]


class Lags(NamedTuple):
    shown: list
    simulation: Simulation


def copies():
    """A recording of many minutes, each of them made of whole blocks and whole frames, with silence at its end."""
    audio = read_audio(DATA, LONG)
    whole = np.lcm(BLOCK, FRAME)
    minute = np.zeros(-(-(len(audio) + 2 * SAMPLE_RATE) // whole) * whole, np.int16)
    minute[: len(audio)] = audio
    return np.tile(minute, COPIES)


def play(engine, vad, heard, recordings) -> Lags:
    """All live recordings at about the same time; how late their words are shown."""

    def cost(batch):
        table = engine.cost(len(batch), max(window.encoder_samples for window in batch))
        return table * (BEAM_COSTS if batch[0].beam_size > 1 else 1)

    streams = [
        Stream(
            np.concatenate([read_audio(DATA, recording), np.zeros(SAMPLE_RATE, np.int16)]),
            SessionOptions(language=recording.lang),
            begins_at=0.37 * number,
        )
        for number, recording in enumerate(LIVE)
    ]
    simulation = Simulation(engine, lambda: OnceVad(vad.lane(), heard), MODEL.policy(), cost)
    lags = []
    for recording, said in zip(LIVE, simulation.run(streams, recordings), strict=True):
        log = []
        for at, event in said:
            if isinstance(event, Partial):
                log.append(Shown(at=at, utterance=event.utterance, stable=event.stable, unstable=event.unstable))
            elif isinstance(event, Final):
                log.append(Shown(at=at, utterance=event.utterance, stable=event.text, final=True))
        lags += [lag.shown for lag in word_lags(recording.words, log, recording.lang)]
    return Lags(lags, simulation)


def test_a_long_file_does_not_disturb_live_streams():
    """The 95th percentile of the time in which words are shown moves by at most a tenth, and the file is right."""
    engine, vad, heard = Once(Ct2Engine(MODEL, threads=1)), VadModel(), {}
    alone = play(engine, vad, heard, [])
    beside = play(engine, vad, heard, [Recording(copies(), FileOptions(language="en"))])

    kinds = [window.kind for window in beside.simulation.windows]
    last_live = max(i for i, kind in enumerate(kinds) if kind != "file")
    assert "file" in kinds[last_live:]  # the file was not done before the streams were
    assert kinds[:last_live].count("file") > 50
    assert percentile(beside.shown, 95) <= 1.1 * percentile(alone.shown, 95)

    (said,) = beside.simulation.transcripts
    assert all(isinstance(segment, Segment) for segment in said)
    text = normalise(" ".join(segment.text for segment in said))
    errors = count_errors(normalise(LONG.text) * COPIES, text)
    assert errors.wer < 20
