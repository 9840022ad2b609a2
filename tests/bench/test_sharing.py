"""What is left behind is of use to the server and to others, and holds nothing that is the user's own."""

import hashlib
import json

import msgspec
from measuring import TimedTones, recording, text, utterances_of

from streamasr.bench.measure import Plan, measure
from streamasr.bench.report import facts_of
from streamasr.bench.sharing import entry_text, shared
from streamasr.inference.models import resolve

NANO = resolve("nano")
PLAN = Plan(streams=False, floors_s=(4.0,), margins_s=(0.0, 1.0))


def measured(setup, count, engine=None):
    words = utterances_of(count)
    talk = recording(words, "secret-name.wav", said=text(words), pause_s=0.8)
    return measure([talk], setup(engine or TimedTones(deaf_below_s=4)), PLAN)


def test_an_entry_is_taken_by_the_model(setup, tmp_path):
    swept = measured(setup, 45).figures.sweep
    file = tmp_path / "mine.toml"
    file.write_text(entry_text(swept, NANO, "2026-01-01", '2 "cores"'), "utf-8")
    entry = resolve("nano", entry_file=file)

    assert (entry.encoder_floor_s, entry.encoder_margin_s) == (swept.chosen.floor_s, swept.chosen.margin_s)
    assert entry.encoder_floor_s == 4
    assert entry.longest_window_s == NANO.longest_window_s
    assert entry.guards == NANO.guards
    assert entry.measured
    assert "2026-01-01: 360 words" in entry.source
    assert '2 "cores"' in entry.source


def test_there_is_no_entry_where_there_was_too_little_speech(setup):
    assert entry_text(measured(setup, 3, TimedTones()).figures.sweep, NANO, "2026-01-01", "") is None


def test_what_is_shared_says_what_and_where_but_no_word_and_no_name(setup):
    result = measured(setup, 3)
    facts = facts_of(NANO, ("cpu", "int8", 1), "2 cores", (1, 2))
    content = shared(result.figures, facts, NANO, [])
    document = json.loads(content)

    assert document["model_fingerprint"] == hashlib.sha256((NANO.path / "model.bin").read_bytes()).hexdigest()
    assert document["facts"]["machine"] == "2 cores"
    assert document["figures"]["accuracy"]["words"] == 24
    assert {"python", "streamasr", "ctranslate2"} <= document["versions"].keys()
    assert b"secret" not in content
    assert text(utterances_of(1)).split()[0].encode() not in content
    assert str(NANO.path).encode() not in content


def test_texts_are_shared_only_on_request(setup):
    result = measured(setup, 3)
    facts = facts_of(NANO, ("cpu", "int8", 1), "2 cores", (1, 2))
    document = json.loads(shared(result.figures, facts, NANO, result.texts))

    assert document["texts"] == msgspec.to_builtins(result.texts)
    assert document["texts"][0]["truth"] == text(utterances_of(3))
