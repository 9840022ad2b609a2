"""A whole run against a real server that hears tones: everything that was said comes back right and in time."""

import json
import wave

import pytest
from helpers import serving

from loadtest import lanes, runner
from loadtest.lanes import source
from loadtest.results import Conditions
from loadtest.runner import Setup, gap_s, plan, run
from loadtest.server import Running
from loadtest.summary import Stretch
from loadtest.targets import TargetOptions
from streamasr.inference.fake import tone_word_times, tone_words

RATE = 16_000
CONDITIONS = Conditions(command="test", began="now", streams=2, seconds=1.5)


@pytest.fixture
def tones(tmp_path):
    """Three recordings of four tone words each."""
    rows = []
    for number in range(3):
        ids = [(16 * number + 7 * n) % 64 for n in range(4)]
        samples = (tone_words(ids, lead=RATE // 10, tail=RATE // 10) * 32767).astype("<i2")
        with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(samples.tobytes())
        words = [
            {"word": f"w{word:02d}", "start": start / RATE, "end": end / RATE}
            for word, (start, end) in zip(ids, tone_word_times(ids, lead=RATE // 10), strict=True)
        ]
        row = {"id": str(number), "set": "tones", "path": f"{number}.wav", "voice": "", "lang": "en", "words": words}
        rows.append(row | {"text": " ".join(w["word"] for w in words), "duration": len(samples) / RATE})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source(tmp_path)


def setup(url="", **fields):
    quick = {"streams": 2, "seconds": 2.0, "warm_up_s": 0.0, "stagger_s": 0.1}
    return Setup(options=TargetOptions(url=url), **(quick | fields))


async def test_all_that_two_speakers_say_comes_back_and_an_idle_socket_says_nothing(tones):
    told, texts = [], {piece.id: " ".join(w.text for w in piece.words[1:]) for piece in tones.speech}
    async with serving() as server:
        asked = setup(server.url, idle=1)
        target = Running(server.url, None)
        found = await run(asked, tones, target, CONDITIONS, texts, lambda *done: told.append(done))

    assert found.troubles.messages == ()
    assert (found.quality.wer, found.quality.stable_violations, found.quality.finals_missing) == (0.0, 0, 0)
    assert (found.quality.words > 0, found.quality.idle_words) == (True, 0)
    assert found.lags.shown.count > 0
    assert 0 < found.lags.final.p50 < 2.0
    assert (found.quality.reference_wer, found.quality.difference[0]) == (25.0, -25.0)
    assert found.spoken_s >= 2 * 2.0
    assert found.tool.late.count > 150
    assert found.server is not None
    assert len(found.series) >= 3
    assert told[0][0] <= told[-1][0] <= told[-1][1]


async def test_a_full_server_is_told_in_the_figures_of_all_processes(tones, monkeypatch):
    monkeypatch.setattr(runner, "SPAWN_S", 0.5)
    async with serving(max_sessions=1) as server:
        found = await run(setup(server.url, processes=2), tones, Running(server.url, None), CONDITIONS)
    assert (found.troubles.refused, found.troubles.failed) == (1, 0)
    assert "taken" in found.troubles.messages[0]
    assert found.quality.wer == 0.0


def test_a_ramp_adds_streams_step_by_step_and_counts_only_while_all_of_them_speak():
    found = plan(setup(streams=4, steps=2, seconds=10.0, warm_up_s=5.0, stagger_s=2.0))
    assert found.begins == (0.0, 1.0, 17.0, 18.0)
    assert found.steps == ((2, Stretch(7.0, 17.0)), (4, Stretch(24.0, 34.0)))
    assert found.ends == 34.0


def test_where_the_server_ends_utterances_only_pauses_count_that_surely_end_them():
    assert gap_s(setup()) == 0.3
    assert gap_s(setup(vad_stop_ms=0)) == lanes.PAUSE_S[0]
    assert gap_s(Setup(streams=1, vad_stop_ms=0, options=TargetOptions(url="", endpointing_ms=900))) == 1.2
