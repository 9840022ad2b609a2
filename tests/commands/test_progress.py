"""How far a run is: bars for a person, lines for a log, nothing for --quiet."""

import io

import pytest
from rich.console import Console

from streamasr.commands.progress import Bars, Lines, clock_time, shown


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def text(of: Console) -> str:
    return of.file.getvalue()


def test_without_a_terminal_there_is_a_line_every_ten_seconds_for_each_recording_and_one_at_its_end():
    out, clock = console(terminal=False), Clock()
    with shown(out, 2, clock, quiet=False) as bars:
        assert isinstance(bars, Lines)
        bars.begin("a.wav")
        bars.begin("b.wav")
        for second in range(1, 26):
            clock.now = 100.0 + second
            bars.advance("a.wav", 10.0 * second, 3725.0)
        bars.advance("b.wav", 40.0, None)
        bars.end("a.wav", "a.wav: done")
        bars.end("b.wav", "")

    assert text(out).splitlines() == [
        "a.wav: 1:40 of 1:02:05, 10.0 times real time",
        "a.wav: 3:20 of 1:02:05, 10.0 times real time",
        "b.wav: 0:40, 1.6 times real time",
        "a.wav: done",
    ]


def test_a_terminal_shows_seconds_speed_and_what_is_left():
    out, clock = console(terminal=True), Clock()
    bars = shown(out, 2, clock, quiet=False)
    assert isinstance(bars, Bars)
    bars.begin("talks/a.wav")
    bars.begin("https://host/b")
    clock.now += 10
    bars.advance("talks/a.wav", 50.0, 200.0)
    bars.advance("https://host/b", 7.0, None)
    out.print(bars._progress.get_renderable())
    bars.end("talks/a.wav", "talks/a.wav: done")
    out.print(bars._progress.get_renderable())
    first, second, third, line, *after = text(out).splitlines()

    assert first.startswith("all")
    assert "0 of 2" in first
    assert second.startswith("a.wav")
    for part in ("0:50 of 3:20", "5.0×", "0:30 left"):
        assert part in second
    assert third.startswith("https://host/b")
    assert "0:07" in third
    assert "left" not in third
    assert line == "talks/a.wav: done"
    assert "1 of 2" in after[0]
    assert not any(row.startswith("a.wav") for row in after)


def test_quiet_shows_nothing_but_notes():
    out = console(terminal=True)
    with shown(out, 1, Clock(), quiet=True) as nothing:
        nothing.begin("a.wav")
        nothing.advance("a.wav", 1.0, 2.0)
        nothing.end("a.wav", "a.wav: done")
        nothing.note("[bold]b.wav: broken[/bold]")

    assert text(out) == "[bold]b.wav: broken[/bold]\n"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "0:00"), (7.9, "0:07"), (187, "3:07"), (3_723, "1:02:03"), (360_000, "100:00:00")]
)
def test_times_are_read_as_on_a_clock(seconds, expected):
    assert clock_time(seconds) == expected


def test_a_name_that_is_too_long_keeps_its_end():
    out = console(terminal=True)
    bars = Bars(out, 1, Clock())
    bars.begin("x" * 200 + "-part-7.wav")
    out.print(bars._progress.get_renderable())

    assert text(out).startswith("…")
    assert "-part-7.wav" in text(out)
