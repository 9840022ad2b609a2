"""The figures as a person reads them: tables with a sentence each, and what to do next. Draws; prints nothing."""

import math
from collections.abc import Iterator

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from streamasr.bench.capacity import P95_S, Capacity
from streamasr.bench.measure import Accuracy, Figures, Lag, Stopped
from streamasr.bench.scoring import Interval
from streamasr.bench.sweep import SAFE_POINTS, Cell, Swept
from streamasr.inference.models import ModelEntry

FEW_WORDS = 300
"""Below so many words no error rate is told apart from another by a point."""
GUARD_TEXT = {
    "no speech": "silence or noise taken for speech",
    "compression": "text that repeats itself",
    "speed": "more words than can be said in the time",
    "loop": "one phrase again and again",
    "failed": "could not be transcribed at all",
}


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, and where."""

    model: str
    device: str
    compute_type: str
    threads: int
    machine: str
    encoder_floor_s: float
    encoder_margin_s: float
    longest_window_s: float
    measured: bool
    """Whether floor and margin were measured for this model, or taken from others' reports."""
    memory_before: int | None
    """Bytes that the process held before the model was loaded, and after; None where that is not known."""
    memory_after: int | None


def facts_of(
    entry: ModelEntry, placed: tuple[str, str, int], machine: str, memory: tuple[int | None, int | None]
) -> Facts:
    """What is known of a model; ``placed`` is its device, compute type and threads."""
    return Facts(
        model=entry.name,
        device=placed[0],
        compute_type=placed[1],
        threads=placed[2],
        machine=machine,
        encoder_floor_s=entry.encoder_floor_s,
        encoder_margin_s=entry.encoder_margin_s,
        longest_window_s=entry.longest_window_s,
        measured=entry.measured,
        memory_before=memory[0],
        memory_after=memory[1],
    )


def report(figures: Figures, facts: Facts) -> RenderableType:
    """Everything that was measured."""
    parts: list[RenderableType] = [_head(figures, facts), _accuracy(figures.accuracy), _lag(figures.lag)]
    parts.append(_steady(figures.lag, figures.guards))
    parts.append(_speed(figures, facts))
    if figures.capacity is not None:
        parts.append(_capacity(figures.capacity))
    if figures.sweep is not None:
        parts.append(_sweep(figures.sweep))
    return Group(*parts)


def advice(figures: Figures, facts: Facts, entry_file: str | None) -> RenderableType:
    """What to do with it."""
    lines = list(_advice(figures, facts, entry_file))
    return _section("What to do next", Group(*[Text.from_markup(f"• {line}") for line in lines]))


def _head(figures: Figures, facts: Facts) -> RenderableType:
    what = "1 recording" if figures.recordings == 1 else f"{figures.recordings} recordings"
    languages = ", ".join(figures.languages)
    return Text.from_markup(
        f"[bold]{escape(facts.model)}[/bold] on {escape(facts.device)} ({escape(facts.compute_type)},"
        f" {facts.threads} threads), {escape(facts.machine)}\n{what}, {figures.speed.audio_s / 60:.1f} minutes,"
        f" language {languages}\nencoder input at least {facts.encoder_floor_s:g} s, {facts.encoder_margin_s:g} s"
        f" longer than the speech ({'measured for this model' if facts.measured else 'taken from reports'})"
    )


def _accuracy(a: Accuracy) -> RenderableType:
    table = _table("", "word errors" if a.truth else "words that differ")
    table.add_row("streamed live", _percent(a.streamed))
    table.add_row("offline, encoder input as short as live", _percent(a.short))
    table.add_row("offline, encoder input of 30 s", _percent(a.full) if a.truth else "the yardstick")
    of = f"{a.words} words of your transcripts" if a.truth else f"the {a.words} words heard offline with 30 s of input"
    note = (
        f"In per cent of {of}; offline is one window for each utterance.\n"
        f"Streaming costs {_interval(a.streaming)}, short inputs cost {_interval(a.shortness)},"
        f" together {_interval(a.together)} (95 % interval)."
    )
    if not a.truth:
        note += "\nWithout transcripts of yours this says how much changes, not which of the two is right."
    return _section("How right" if a.truth else "How near to offline", Group(table, Text(note)))


def _lag(lag: Lag) -> RenderableType:
    table = _table("seconds after it was said", "half of them", "95 %", "99 %")
    rows = (
        ("a word is shown", lag.shown),
        ("a word is stable: it never changes again", lag.stable),
        ("an utterance is final", lag.final),
    )
    for name, values in rows:
        table.add_row(name, *(_seconds(value) for value in values))
    ends = "your transcripts' word times" if lag.true_times else "the model's own word times, as none were given"
    note = f"{lag.words} words that the final text has right; a word's end is taken from {ends}."
    return _section("How soon", Group(table, Text(note)))


def _steady(lag: Lag, guards: Stopped) -> RenderableType:
    stopped = sum(guards.reasons.values())
    lines = [
        f"Of 100 words in the end, {100 * lag.erased:.0f} shown ones were changed or taken back on the way."
        if not math.isnan(lag.erased)
        else "No word was shown.",
        "Stable text never changed."
        if lag.broken_promises == 0
        else f"[red]Stable text changed {lag.broken_promises} times: this is a bug, please report it.[/red]",
        f"Guards stopped {stopped} of {guards.windows} windows ({100 * stopped / max(1, guards.windows):.1f} %);"
        f" {guards.again} were run again with 30 s of input.",
    ]
    table = _table("stopped because", "windows")
    for reason, count in sorted(guards.reasons.items(), key=lambda item: -item[1]):
        table.add_row(GUARD_TEXT[reason], str(count))
    body = Text.from_markup("\n".join(lines))
    return _section("How steady", Group(body, table) if guards.reasons else body)


def _speed(figures: Figures, facts: Facts) -> RenderableType:
    speed = figures.speed
    table = _table("for each second of one stream", "milliseconds")
    table.add_row("the model", f"{1000 * speed.engine:.1f}")
    for stage, seconds in speed.stages.items():
        table.add_row(f"  {stage}", f"{1000 * seconds:.1f}")
    table.add_row("telling speech from silence", f"{1000 * speed.gate:.1f}")
    table.add_row("everything else but the network", f"{1000 * speed.session:.1f}")
    lines = [
        f"Real-time factor {speed.engine:.3f}: one stream keeps the model busy {100 * speed.engine:.1f} % of the time.",
        f"{speed.windows:.1f} windows for each second; one takes {1000 * speed.window_s[0]:.0f} ms (half of them),"
        f" {1000 * speed.window_s[1]:.0f} ms (95 %).",
        f"Memory of the process: {_bytes(facts.memory_before)} before the model was loaded,"
        f" {_bytes(facts.memory_after)} after, {_bytes(figures.memory_peak)} at most with one stream.",
    ]
    return _section("What it costs here", Group(table, Text("\n".join(lines))))


def _capacity(capacity: Capacity) -> RenderableType:
    table = _table("streams at a time", "shown after, s", "95 %, s", "windows in a batch")
    for tried in sorted(capacity.tried, key=lambda t: t.streams):
        row = (str(tried.streams), _seconds(tried.shown_p50), _seconds(tried.shown_p95))
        style = "bold" if tried.streams == capacity.streams else "" if tried.carried else "dim"
        table.add_row(*row, f"{tried.windows_per_batch:.1f}", style=style)
    more = "at least " if capacity.at_least else ""
    lines = [
        f"This machine carries {more}{capacity.streams} live streams with 95 % of the words shown within {P95_S:g} s"
        " of being spoken: copies of your recordings, all talking at once, each window really decoded."
        if capacity.streams
        else f"This machine does not carry even one stream with 95 % of the words shown within {P95_S:g} s.",
        f"One stream's share of the model's time alone would predict {capacity.by_engine_share:.0f}: with many streams"
        " windows share batches, and updates that come too late are skipped.",
        f"Without the model, one process takes in {capacity.by_process:.0f}.",
        "Left out: the network, and threads taking each other's time. Plan with a third to spare.",
    ]
    return _section("How many streams", Group(table, Text("\n".join(lines))))


def _sweep(swept: Swept) -> RenderableType:
    table = _table("at least", "margin", "errors", "more than with 30 s [95 %]", "stopped", "a window")
    for cell in swept.cells:
        style = "bold" if cell == swept.chosen else "" if cell.safe else "dim"
        table.add_row(*_cell(cell), style=style)
    note = (
        f"{swept.words} words in {swept.windows} windows: each utterance whole and cut off twice, as live windows are."
        f"\nSafe is what costs at most {SAFE_POINTS:g} point at the upper end of its interval; the others are dim."
        f"\n{verdict(swept)}"
    )
    return _section("How short the encoder input may be", Group(table, Text(note)))


def _cell(cell: Cell) -> Iterator[str]:
    yield f"{cell.floor_s:g} s"
    yield f"{cell.margin_s:g} s"
    yield _percent(cell.errors)
    yield escape(f"{cell.loss.difference:+.1f} [{cell.loss.low:+.1f}, {cell.loss.high:+.1f}]")
    yield _percent(cell.stopped)
    yield f"{1000 * cell.window_s:.0f} ms"


def verdict(swept: Swept) -> str:
    """What the sweep says, in a sentence or two."""
    cell, promising = swept.chosen, swept.promising
    if promising is not None:
        return (
            f"Too little speech to tell: an input of at least {promising.floor_s:g} s with a margin of"
            f" {promising.margin_s:g} s may well be safe, and it takes about {swept.words_needed} words to know,"
            f" where these are {swept.words}. Known to be safe is {_setting(cell)}."
        )
    if swept.verdict == "full":
        return "Every input shorter than 30 s costs this model words on this speech: leave it at 30 s."
    full = max(c.window_s for c in swept.cells)
    return (
        f"Safe for this model on this speech: {_setting(cell)}. It costs at most {max(0.0, cell.loss.high):.1f} points"
        f" of word errors, and a window takes {100 * cell.window_s / full:.0f} % of the time of one with 30 s."
    )


def _setting(cell: Cell) -> str:
    return f"at least {cell.floor_s:g} s, margin {cell.margin_s:g} s"


def _advice(figures: Figures, facts: Facts, entry_file: str | None) -> Iterator[str]:
    a, speed, swept = figures.accuracy, figures.speed, figures.sweep
    model = escape(facts.model)
    if not a.words:
        yield "No speech was found in these recordings: measure with recordings in which somebody talks."
        return
    if speed.engine > 0.8:
        yield (
            f"{model} is too slow here for live use ({speed.engine:.1f} seconds of work for each second of audio):"
            " take a smaller size, a GPU, or more --threads."
        )
    if a.words < FEW_WORDS:
        yield f"{a.words} words are few: from {FEW_WORDS} on (two minutes of talk) the figures begin to mean something."
    if not a.truth:
        yield "Put transcripts beside the recordings (talk.wav and talk.txt) to measure errors instead of differences."
    if swept is None and not facts.measured:
        yield (
            f"How short {model}'s encoder input may be is taken from reports on other speech: measure it with --sweep,"
            " and keep the answer with --entry streamasr.toml."
        )
    elif swept is None and a.shortness.low > 0:
        yield "Short encoder inputs cost words here: find the shortest safe one with --sweep."
    if swept is not None and swept.verdict == "unclear":
        yield f"Repeat the sweep with more speech: about {swept.words_needed} words."
    if entry_file is not None:
        yield f"Use what was measured: streamasr serve --model {model} --model-entry {escape(entry_file)}"
    elif swept is not None and swept.promising is None:
        yield "Write what was measured to a file with --entry streamasr.toml; the server takes it as --model-entry."
    if a.streaming.low > 1:
        yield "Streaming costs more than a point of word errors here: please report it, with --json."
    capacity = figures.capacity
    if capacity is not None and capacity.streams > 0:
        yield f"Give the server a limit that leaves room: --max-sessions {max(1, capacity.streams * 2 // 3)}"


def _section(title: str, body: RenderableType) -> RenderableType:
    return Padding(
        Group(Text(title, style="bold"), Padding(body, (0, 0, 0, 2), expand=False)), (1, 0, 0, 0), expand=False
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    return table


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f} %"


def _seconds(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _interval(interval: Interval) -> str:
    difference, low, high = interval
    return "–" if math.isnan(difference) else f"{difference:+.1f} points [{low:+.1f}, {high:+.1f}]"


def _bytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e6:.0f} MB"
