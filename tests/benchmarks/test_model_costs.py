"""The cost measurement: its windows are what it says, and the table is made of ratios to nano."""

import msgspec
import pytest

from benchmarks import model_costs
from benchmarks.model_costs import OWN_SHAPE, SECONDS, STAGES, Measured, assembled, loaded, measure, window
from streamasr.inference import costs
from streamasr.inference.engine import Stages
from tests import whispers


def milliseconds(value):
    return {stage: [value * seconds for seconds in SECONDS] for stage in STAGES}


def test_each_cell_is_the_ratio_to_nano_times_nanos_least():
    """A size that took twice what nano took beside it costs twice what nano does, however slow that minute was."""
    quiet = Measured(size=milliseconds(30), nano=milliseconds(10), memory_mb=100, nano_memory_mb=50, rounds=3)
    slow = Measured(size=milliseconds(80), nano=milliseconds(40), memory_mb=200, nano_memory_mb=60, rounds=1)
    table = assembled({"tiny": quiet, "small": slow}, costs.table())
    assert table.seconds == SECONDS
    assert table.sizes["nano"].encode_ms == tuple(10 * seconds for seconds in SECONDS)
    assert table.sizes["tiny"].decode_ms == tuple(30 * seconds for seconds in SECONDS)
    assert table.sizes["small"].align_ms == tuple(20 * seconds for seconds in SECONDS)
    assert (table.sizes["small"].width, table.sizes["small"].memory_mb) == (768, 200)
    assert table.sizes["nano"].memory_mb == 50
    assert table.sizes["medium"] == costs.table().sizes["medium"]
    assert msgspec.json.decode(msgspec.json.encode(table), type=costs.CostTable) == table


def test_sizes_with_one_encoder_have_its_least_cost_in_common():
    slow = Measured(milliseconds(1000), milliseconds(10), 100, 50, 1)
    rows = assembled(
        {"large-v3": Measured(milliseconds(900), milliseconds(10), 9, 9, 1), "large-v3-turbo": slow},
        msgspec.structs.replace(costs.table(), sizes={}),
    ).sizes
    assert rows["large-v3-turbo"].encode_ms == rows["large-v3"].encode_ms == tuple(900 * s for s in SECONDS)
    assert rows["large-v3-turbo"].decode_ms == tuple(1000 * seconds for seconds in SECONDS)


def test_the_page_and_the_package_get_the_same_table(tmp_path, monkeypatch):
    """What is around the table on the page stays."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{model_costs.BEGIN}\nold\n{model_costs.END}\nafter\n", "utf-8")
    monkeypatch.setattr(model_costs, "PAGE", page)
    monkeypatch.setattr(costs, "__file__", str(tmp_path / "costs.py"))
    table = assembled({"tiny": Measured(milliseconds(30), milliseconds(10), 100, 50, 3)}, costs.table())
    model_costs.write(table)
    assert msgspec.json.decode((tmp_path / "costs.json").read_bytes(), type=costs.CostTable) == table
    before, rows, after = page.read_text("utf-8").partition("| tiny | 120 (3.0×) | 240 (3.0×) |")
    assert rows, page.read_text("utf-8")
    assert before.startswith("before\n")
    assert after.endswith("\nafter\n")
    assert "old" not in before + after


def test_sizes_of_one_shape_are_measured_once():
    assert "tiny.en" not in OWN_SHAPE
    assert {"tiny", "distil-small.en", "large-v3", "large-v3-turbo"} < set(OWN_SHAPE)


def test_a_window_has_the_tokens_of_so_much_speech():
    timed = loaded("nano")
    (answer,) = timed.engine.transcribe([window(timed.engine, 5.0)])
    assert sum(len(word.tokens) for word in answer.words) in (15, 16)
    assert isinstance(timed.last[-1], Stages)
    assert timed.last[-1].encode_s > 0


def test_a_size_is_measured_beside_nano(tmp_path, monkeypatch):
    monkeypatch.setattr(model_costs, "SECONDS", (1.0, 5.0))
    monkeypatch.setattr(model_costs, "ROUNDS", 2)
    found = measure(whispers.build(whispers.SIZES["base"].shrunk, tmp_path / "base"))
    assert found.rounds == 2
    assert found.memory_mb >= 0
    assert all(0 <= found.size[stage][0] < 1000 and len(found.nano[stage]) == 2 for stage in STAGES)
    assert found.nano["encode"][0] < found.nano["encode"][1]


@pytest.mark.slow
def test_the_committed_row_of_tiny_is_about_right():
    """Within a factor of two, relative to nano, on any machine."""
    found = model_costs.made_and_measured("tiny")
    measured = sum(found.size[stage][3] for stage in STAGES) / sum(found.nano[stage][3] for stage in STAGES)
    committed = costs.window_ms("tiny", SECONDS[3]) / costs.window_ms("nano", SECONDS[3])
    assert committed / 2 < measured < committed * 2
