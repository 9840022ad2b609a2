"""What a person reads: the figures, what they mean, and what to do next."""

import msgspec
import numpy as np
import pytest
from measuring import TimedTones, recording, text, utterances_of
from rich.console import Console

from streamasr.bench.measure import Plan, measure
from streamasr.bench.recordings import Recording
from streamasr.bench.report import advice, facts_of, report
from streamasr.inference.models import resolve

NANO = resolve("nano")
STOCK = msgspec.structs.replace(NANO, name="small", measured=False)


def read(setup, engine, talks, *, floors=(), entry=NANO, entry_file=None):
    figures = measure(talks, setup(engine), Plan(streams=False, floors_s=floors, margins_s=(0.0,))).figures
    facts = facts_of(entry, ("cpu", "int8", 1), "2 cores", (80_000_000, None))
    console = Console(width=400, color_system=None)
    with console.capture() as capture:
        console.print(report(figures, facts))
        console.print(advice(figures, facts, entry_file))
    return capture.get()


def talk(count, *, truth=True, pause_s=0.8):
    words = utterances_of(count)
    return [recording(words, said=text(words) if truth else None, pause_s=pause_s)]


def test_every_figure_has_its_sentence(setup):
    page = read(setup, TimedTones(), talk(3))

    for sentence in (
        "nano on cpu (int8, 1 threads), 2 cores",
        "In per cent of 24 words of your transcripts",
        "Streaming costs +0.0 points",
        "the model's own word times, as none were given",
        "Stable text never changed.",
        "Guards stopped 0 of",
        "80 MB before the model was loaded, unknown after",
    ):
        assert sentence in page


def test_differences_are_never_called_errors(setup):
    page = read(setup, TimedTones(), talk(3, truth=False))

    assert "word errors" not in page
    assert "words that differ" in page
    assert "Put transcripts beside the recordings" in page


@pytest.mark.parametrize(
    ("engine", "count", "said"),
    [
        (TimedTones(deaf_below_s=4), 45, "Safe for this model on this speech: at least 4 s"),
        (TimedTones(), 3, "Too little speech to tell"),
        (TimedTones(deaf_below_s=29), 3, "leave it at 30 s"),
    ],
)
def test_the_verdict_of_a_sweep_is_plain(setup, engine, count, said):
    assert said in read(setup, engine, talk(count), floors=(2.0, 4.0))


def test_a_model_that_nobody_measured_is_to_be_swept(setup):
    assert "measure it with --sweep" in read(setup, TimedTones(), talk(2), entry=STOCK)
    assert "--sweep" not in read(setup, TimedTones(), talk(2))


def test_an_entry_that_was_written_is_put_to_use(setup):
    page = read(setup, TimedTones(deaf_below_s=4), talk(45), floors=(4.0,), entry_file="mine.toml")

    assert "streamasr serve --model nano --model-entry mine.toml" in page


def test_a_model_that_is_too_slow_is_told_so(setup):
    assert "too slow here for live use" in read(setup, TimedTones(1.0), talk(2))


def test_recordings_without_speech_get_no_other_advice(setup):
    page = read(setup, TimedTones(), [Recording("x", np.zeros(32_000, np.int16), None)])

    assert page.split("What to do next")[1].count("•") == 1
    assert "No speech was found" in page
