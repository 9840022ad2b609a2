"""What a measurement printed is kept with its command, unless it failed."""

import platform
import shlex

import msgspec
import pytest

from benchmarks import sheet
from benchmarks.report import Grid


def kept(place) -> sheet.Sheet:
    return msgspec.json.decode(place.read_bytes(), type=sheet.Sheet)


@pytest.mark.parametrize("code", [0, 1], ids=["well", "a mark was missed"])
def test_what_was_printed_is_kept_with_its_command(tmp_path, capsys, code):
    program = f"import sys; print('12 MB  '); print('progress', file=sys.stderr); sys.exit({code})"

    assert sheet.main([str(tmp_path / "new" / "a.json"), "--", "python", "-c", program]) == 0

    found = kept(tmp_path / "new" / "a.json")
    assert found.text == "12 MB\n"
    assert shlex.split(found.command) == ["python", "-c", program]
    assert found.conditions.endswith(f"Python {platform.python_version()}.")
    assert capsys.readouterr().out == "12 MB\n"


@pytest.mark.parametrize("program", ["import sys; print(1); sys.exit(2)", "pass"], ids=["wrongly started", "silent"])
def test_what_could_not_measure_is_not_kept(tmp_path, capsys, program):
    assert sheet.main([str(tmp_path / "a.json"), "--", "python", "-c", program]) == 1

    assert not (tmp_path / "a.json").exists()
    assert "nothing was kept" in capsys.readouterr().err


def test_a_program_that_is_not_there_is_told(tmp_path, capsys):
    assert sheet.main([str(tmp_path / "a.json"), "--", str(tmp_path / "nothing")]) == 1

    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a.json"], ["a.json", "python", "-V"]])
def test_how_it_is_called_is_told(arguments, capsys):
    assert sheet.main(arguments) == 2

    assert capsys.readouterr().err.startswith("usage: ")


def test_a_sheet_comes_back_as_it_was():
    written = sheet.Sheet(command="c", conditions="d", tables=(Grid("t", ("a",), (("b",),)),))

    assert msgspec.json.decode(sheet.write(written), type=sheet.Sheet) == written
