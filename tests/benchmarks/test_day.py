"""A day of speech on the simulated clock, and thousands of sessions: nothing is left behind."""

import gc
import sys
import tracemalloc

import numpy as np
import pytest

from benchmarks.frontend import Spoken
from streamasr.bench.memory import resident
from streamasr.core.events import SAMPLE_RATE, Final, Partial
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.session import Session
from streamasr.inference.batcher import Batcher
from streamasr.inference.fake import FixedCostEngine

PIECE = round(0.06 * SAMPLE_RATE)
AUDIO = np.random.default_rng(0).normal(0, 0.05, PIECE).astype(np.float32)
HOUR = 3600


class Server:
    """One engine of fixed cost, any number of sessions, as fast as they can be fed."""

    def __init__(self):
        self.now = 0.0
        self.engine = FixedCostEngine([(30 * SAMPLE_RATE, 0.01, 0.005)], lambda _: None)
        self.batcher = Batcher(self.engine.max_batch_size, self.engine.batch_key, self.engine.cost)
        self.sessions = {}
        self.finals = self.partials = 0

    def open(self, name):
        self.sessions[name] = (Session(name, SessionOptions(language="en"), Policy()), Spoken())

    def vanish(self, name):
        """The client has gone without a goodbye."""
        del self.sessions[name]
        self.batcher.discard(name)

    def hear(self, seconds):
        """Let everybody speak for so long, in pieces of 60 ms."""
        for _ in range(round(seconds * SAMPLE_RATE / PIECE)):
            self.now += PIECE / SAMPLE_RATE
            for session, vad in self.sessions.values():
                session.receive_audio(AUDIO)
                session.receive_scores(vad.score(session.take_frames()))
            self.answer()

    def stop(self, name):
        """Finalise a session and let it go."""
        session, _ = self.sessions[name]
        session.finish("stop")
        while not session.finished:
            self.answer()
        self.answer()
        del self.sessions[name]

    def answer(self):
        for session, _ in self.sessions.values():
            for window in session.windows_to_send():
                self.batcher.submit(window, self.now)
            for event in session.events_to_send():
                self.finals += isinstance(event, Final)
                self.partials += isinstance(event, Partial)
        if batch := self.batcher.next_batch(self.now):
            for hypothesis in self.engine.transcribe(batch):
                self.sessions[hypothesis.lane][0].receive_hypothesis(hypothesis)


def traced():
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.fixture
def tracing():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_session_takes_no_more_after_ten_minutes_than_after_five(tracing):
    """Speech for four seconds of every five, partials and finals all the way."""
    server = Server()
    server.open("a")
    server.hear(300)
    early, finals = traced(), server.finals
    server.hear(300)
    assert server.finals == 2 * finals > 100
    assert server.partials > 5 * server.finals
    assert traced() - early < 20_000


def test_hundreds_of_sessions_leave_nothing(tracing):
    """Some stop, some vanish in the middle of a word with windows queued."""
    churn_leaves_nothing(80)


@pytest.mark.slow
def test_thousands_of_sessions_leave_nothing(tracing):
    """The same with the full count."""
    churn_leaves_nothing(2_000)


def churn_leaves_nothing(count):
    server = Server()
    before = 0
    for number in range(count + 20):
        if number == 20:  # what is made once has been made
            before = traced()
        names = [f"{number}/{lane}" for lane in range(3)]
        for name in names:
            server.open(name)
        server.hear(2.5)
        server.stop(names[0])
        server.vanish(names[1])
        server.vanish(names[2])
    assert server.finals >= count
    assert len(server.batcher) == 0
    assert traced() - before < 20_000


@pytest.mark.slow
def test_memory_is_flat_over_a_day():
    """24 hours of one session: what Python holds, and what the system sees, after the first hour and the last."""
    server = Server()
    server.open("a")
    server.hear(HOUR)
    gc.collect()
    blocks, memory = sys.getallocatedblocks(), resident()
    server.hear(23 * HOUR)
    gc.collect()
    assert server.finals > 17_000
    assert sys.getallocatedblocks() - blocks < 2_000
    assert memory is None or resident() - memory < 4_000_000
