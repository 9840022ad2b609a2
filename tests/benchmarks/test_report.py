"""Tables of figures: one source for the terminal, the page and other programs."""

import json
import math

import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.evalset import Recording
from benchmarks.results import Heard, Streamed, rows, score
from streamasr.bench.scoring import Shown, TimedWord


def scores():
    words = (TimedWord("one", 0.0, 0.5), TimedWord("two", 0.5, 1.0))
    speech = Recording(id="a", set="seen", path="", text="one two", duration=2.0, voice="", lang="en", words=words)
    silence = Recording(id="b", set="silence", path="", text="", duration=2.0, voice="", lang="en", words=())
    final = Shown(
        at=1.25,
        utterance=0,
        stable="one too",
        final=True,
        words=(TimedWord("one", 0.125, 0.5), TimedWord("too", 0.5, 1.0)),
    )
    return [
        score(speech, Streamed(log=(final,), final_waits=(0.25,)), Heard(reference="one two"), real_time=True),
        score(silence, Streamed(log=()), Heard(), real_time=True),
    ]


def test_the_tables_hold_the_figures():
    errors, lags, joints, silence = report.grids(rows(scores()), real_time=True)

    assert errors.lines == (("seen", "1", "2", "50.0", "0.0", "+50.0 [+50.0, +50.0]", "–", "–"),)
    assert lags.lines == (("seen", "0.75 / 0.75", "0.75 / 0.75", "0.75 / 0.75", "0.25 / 0.25", "0.0"),)
    assert joints.lines == (("seen", "0 (0)", "0 (0)", "125", "0"),)
    assert silence.lines == (("silence", "1", "0"),)


def test_lags_are_left_out_when_they_mean_nothing():
    assert [grid.title.split()[0] for grid in report.grids(rows(scores()), real_time=False)] == [
        "Word",
        "What",
        "Recordings",
    ]


def test_the_terminal_shows_every_cell():
    console = Console(record=True, width=140, quiet=False, file=None, force_terminal=False)
    with console.capture() as shown:
        for grid in report.grids(rows(scores()), real_time=True):
            console.print(report.rich_table(grid))

    assert "+50.0 [+50.0, +50.0]" in shown.get()


def test_a_page_is_rewritten_between_its_marks_only():
    page = f"# Accuracy\n\n{report.BEGIN}\nold\n{report.END}\n\nThe rest.\n"
    tables = report.grids(rows(scores()), real_time=True)

    new = report.rewrite(page, r"Measured \1 so.", tables)

    assert new.startswith(f"# Accuracy\n\n{report.BEGIN}\n\nMeasured \\1 so.\n\n")
    assert "| seen | 1 | 2 | 50.0 | 0.0 |" in new
    assert "old" not in new
    assert new.endswith(f"{report.END}\n\nThe rest.\n")
    assert report.rewrite(new, r"Measured \1 so.", tables) == new
    with pytest.raises(ValueError, match="no part between"):
        report.rewrite("# Accuracy\n", "", tables)


def test_the_json_holds_everything_and_null_for_what_is_not_there():
    got = scores()

    decoded = json.loads(report.as_json({"speed": 1.0}, rows(got), got))

    assert decoded["conditions"] == {"speed": 1.0}
    assert [r["name"] for r in decoded["rows"]] == ["seen", "silence"]
    assert decoded["rows"][0]["whole_file"] is None
    assert decoded["recordings"][0]["text"] == "one too"
    assert not math.isnan(decoded["recordings"][0]["lags"][0][0])
