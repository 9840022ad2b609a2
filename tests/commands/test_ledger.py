"""Which results are ours: those noted in the list beside them, as they were written, whatever happened to the list."""

import pytest

from streamasr.commands.ledger import LEDGER, Ledger
from streamasr.errors import ConfigError


def test_what_was_written_is_known_and_may_be_replaced_and_what_was_changed_may_not(tmp_path):
    path = tmp_path / "a.txt"
    Ledger(tmp_path).save(path, "one")
    assert Ledger(tmp_path).knows(path)
    assert Ledger(tmp_path).may_replace(path)
    Ledger(tmp_path).save(path, "two")
    path.write_text("one")  # as it was once: a restored copy
    assert Ledger(tmp_path).may_replace(path)

    path.write_text("three")
    assert Ledger(tmp_path).knows(path)
    assert not Ledger(tmp_path).may_replace(path)
    with pytest.raises(ConfigError, match=r"a\.txt is there and is not as this command wrote it"):
        Ledger(tmp_path).save(path, "four")
    assert path.read_text() == "three"
    Ledger(tmp_path).save(path, "four", overwrite=True)
    assert path.read_text() == "four"


def test_a_part_is_no_result_and_goes_when_there_is_the_whole_unless_it_is_somebody_elses(tmp_path):
    ours, changed, whole = (tmp_path / f"{name}.partial.txt" for name in "abc")
    Ledger(tmp_path).save(ours, "part", partial=True)
    Ledger(tmp_path).save(changed, "part", partial=True)
    Ledger(tmp_path).save(whole, "part")  # the whole of a recording called c.partial.wav
    changed.write_text("better")
    ledger = Ledger(tmp_path)
    assert (ledger.knows(ours), ledger.knows(whole)) == (False, True)

    for path in (ours, changed, whole, tmp_path / "none.partial.txt"):
        ledger.drop_part(path)
    assert {path.name for path in tmp_path.iterdir()} == {"b.partial.txt", "c.partial.txt", LEDGER}


@pytest.mark.parametrize("torn", [1, 30, 60])
def test_a_list_whose_last_line_was_torn_keeps_the_lines_before_and_takes_those_after(tmp_path, torn):
    first, second, third = (tmp_path / f"{name}.txt" for name in "abc")
    Ledger(tmp_path).save(first, "one")
    Ledger(tmp_path).save(second, "two")
    list_ = tmp_path / LEDGER
    list_.write_bytes(list_.read_bytes()[:-torn])
    Ledger(tmp_path).save(third, "three")

    assert [Ledger(tmp_path).knows(path) for path in (first, second, third)] == [True, False, True]


def test_a_list_that_cannot_be_read_or_written_is_named(tmp_path):
    (tmp_path / LEDGER).mkdir()

    with pytest.raises(ConfigError, match=rf"{LEDGER} cannot be read: "):
        Ledger(tmp_path).knows(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match=rf"{LEDGER} cannot be written: "):
        Ledger(tmp_path).save(tmp_path / "a.txt", "one")
