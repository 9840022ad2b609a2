"""How many streams an engine of known speed carries."""

import pytest
from measuring import POLICY, TimedTones, recording, utterances_of

from streamasr.bench.capacity import P95_S, Search
from streamasr.bench.streamed import Player
from streamasr.core.options import SessionOptions


@pytest.fixture
def search(setup, monkeypatch):
    """Searches with short streams; an engine that takes ``seconds`` for each second of encoder input."""
    monkeypatch.setattr("streamasr.bench.capacity.LEAST_S", 5.0)
    monkeypatch.setattr("streamasr.bench.capacity.IN_ALL_S", 10.0)

    def run(seconds):
        engine = TimedTones(seconds)
        tools = setup(engine)
        talk = recording(utterances_of(3), pause_s=0.4)
        played = Player(tools.meter, tools.vad, POLICY, engine.clock).play(talk.pcm, SessionOptions(), lambda _: None)
        tries = []
        found = Search(tools.meter, tools.vad, POLICY, [talk.pcm]).run([played], SessionOptions(), "en", tries.append)
        assert len(tries) == len(found.tried)
        return found

    return run


def test_the_most_streams_that_are_in_time_are_found(search):
    found = search(0.05)
    by_number = {tried.streams: tried for tried in found.tried}

    assert found.streams > 1
    assert not found.at_least
    assert by_number[found.streams].shown_p95 <= P95_S
    late = [tried for tried in found.tried if tried.shown_p95 > P95_S]
    assert late
    assert all(found.streams < tried.streams <= 2 * found.streams for tried in late[-1:])
    assert max(tried.windows_per_batch for tried in found.tried) > 1


def test_an_engine_that_is_too_slow_carries_none(search):
    found = search(5.0)

    assert found.streams == 0
    assert [tried.streams for tried in found.tried] == [1]
    assert found.by_engine_share < 1


def test_no_more_is_tried_than_the_process_takes_in(search, monkeypatch):
    monkeypatch.setattr("streamasr.bench.capacity.MOST", 2)

    found = search(0.001)

    assert (found.streams, found.at_least) == (2, True)
