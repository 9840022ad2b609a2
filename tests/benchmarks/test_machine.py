"""What a batch costs, and how a machine's cores are shared."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import machine
from benchmarks.machine import LEAST_SPEED, Front, Load, Machine

TABLE = Machine(
    measured_on="two cores of somebody's",
    cores=2,
    seconds=(2.0, 4.0, 30.0),
    sizes=(1, 2, 4),
    features_ms=(1.0, 2.0, 15.0),
    encode_ms=((4.0, 8.0, 300.0), (8.0, 16.0, 800.0), (20.0, 40.0, 2000.0)),
    start_ms=((2.0, 3.0, 15.0), (3.0, 4.0, 30.0), (5.0, 8.0, 60.0)),
    token_ms=((0.2, 0.3, 1.0), (0.3, 0.5, 2.0), (0.4, 0.8, 4.0)),
    assembly_ms=0.1,
    beam=2.0,
    beside=1.2,
    gil=1.0,
    gate_ms=2.0,
    front_ms=3.0,
    client_ms=5.0,
)


def test_a_batch_costs_what_the_table_says():
    """At the table's own points: features, encoder, first step, tokens, words."""
    assert TABLE.batch_s(2.0, [10]) == pytest.approx(0.001 * (1.0 + 4.0 + 2.0 + 10 * 0.2 + 0.1))
    assert TABLE.batch_s(4.0, [10, 10]) == pytest.approx(0.001 * (4.0 + 16.0 + 4.0 + 10 * 0.5 + 0.2))


def test_between_the_points_there_is_a_line_and_beyond_them_proportion():
    """Lengths and sizes that were not measured."""
    middle = (TABLE.batch_s(2.0, [0]) + TABLE.batch_s(4.0, [0])) / 2
    assert TABLE.batch_s(3.0, [0]) == pytest.approx(middle)
    assert TABLE.batch_s(4.0, [0] * 8) == pytest.approx(0.001 * (8 * 2.1 + 80 + 16))
    shorter = TABLE.batch_s(2.0, [0]) - TABLE.batch_s(1.0, [0])
    assert shorter == pytest.approx(0.001 * 0.5)  # below the first point only features get cheaper


def test_a_window_that_has_ended_leaves_the_batch():
    """The long one's last tokens are decoded alone."""
    together = TABLE.batch_s(2.0, [10, 4]) - TABLE.batch_s(2.0, [0, 0])
    assert together == pytest.approx(0.001 * (4 * 0.3 + 6 * 0.2))


def test_only_new_audio_is_transformed():
    """In proportion, also below the table's first length."""
    whole, half = TABLE.batch_s(4.0, [0, 0]), TABLE.batch_s(4.0, [0, 0], fresh_s=[4.0, 0.4])
    assert whole - half == pytest.approx(0.001 * (2.0 - 0.2))


def test_a_beam_multiplies_the_tokens():
    """The encoder has none."""
    assert TABLE.batch_s(2.0, [10], beam=True) - TABLE.batch_s(2.0, [10]) == pytest.approx(0.001 * 10 * 0.2)


@given(tokens=st.lists(st.integers(0, 60), min_size=1, max_size=8), encoder_s=st.floats(1, 30))
def test_more_work_never_costs_less(tokens, encoder_s):
    """A further window, or a longer input."""
    cost = TABLE.batch_s(encoder_s, tokens)
    assert TABLE.batch_s(encoder_s, [*tokens, 0]) >= cost
    assert TABLE.batch_s(encoder_s + 1, tokens) >= cost


def test_the_engine_is_slowed_by_its_neighbours_and_then_robbed():
    """A busy neighbour first; more than the other core can do is taken from the engine, but not all of it."""
    idle, busy, over, flooded = (Load(TABLE, streams) for streams in (0, 100, 150, 10_000))
    assert idle.slowness == 1.0
    assert busy.others == pytest.approx(1.0)
    assert busy.slowness == pytest.approx(1.2)
    assert over.slowness == pytest.approx(1.2 / 0.5)
    assert flooded.slowness == pytest.approx(1.2 / LEAST_SPEED)
    assert (busy.stretch, over.stretch) == (1.0, 1.0)
    assert flooded.stretch > 1.0


def test_the_engines_python_waits_for_the_event_loop():
    """At 100 streams the loop works for three tenths of the time, and so much is added to features and assembly."""
    waited = Load(TABLE, 100).batch_s(2.0, [0]) / 1.2 - TABLE.batch_s(2.0, [0])
    assert waited == pytest.approx(0.001 * 0.3 * 1.1)


def test_pieces_queue_before_the_loop_and_then_before_the_gate():
    """Two that come together are scored one after the other; one that comes alone does not wait."""
    front = Front(TABLE, Load(TABLE, 1), 960, 16_000)
    second = 0.06 * 0.005
    assert front.scored_at(1.0, 960) == pytest.approx(1.0 + second)
    assert front.scored_at(1.0, 960) == pytest.approx(1.0 + second + 0.06 * 0.003)  # the loop is the slower of them
    assert front.scored_at(2.0, 960) == pytest.approx(2.0 + second)


def test_a_table_is_read_as_it_was_written(tmp_path):
    """By ``--calibrate`` and by the simulation."""
    machine.write(TABLE, tmp_path / "machine.json")
    assert machine.read(tmp_path / "machine.json") == TABLE


def test_the_committed_table_is_whole():
    """Every row has a number for each length, and batches of more cost more."""
    table = machine.read()
    assert table.sizes[0] == 1
    for rows in (table.encode_ms, table.start_ms, table.token_ms):
        assert len(rows) == len(table.sizes)
        assert {len(row) for row in rows} == {len(table.seconds)}
    assert all(a < b for a, b in zip(table.encode_ms[0], table.encode_ms[-1], strict=True))
    assert min(msgspec.structs.astuple(table)[-3:]) > 0
