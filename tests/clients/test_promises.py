"""streamasr_client.promises: whole conversations pass, each broken promise is named."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr_client.errors import ProtocolError
from streamasr_client.events import (
    Done,
    Event,
    Failed,
    Final,
    Flushed,
    Partial,
    Preflight,
    Ready,
    SpeechEnded,
    SpeechResumed,
    SpeechStarted,
    Unknown,
    Updated,
    Warned,
    Word,
    parse,
)
from streamasr_client.promises import Promises

GOLDEN = sorted((Path(__file__).parents[1] / "wire/golden").glob("*.txt"))
SETTINGS = {"channels": 1, "interim_results": True, "word_timestamps": True, "preflight": True}
READY = Ready(session="s", settings=SETTINGS, model={}, audio_received=0)


def words(text: str, start: float = 0.5) -> tuple[Word, ...]:
    return tuple(Word(word, start + i / 10, start + i / 10 + 0.1, 0.9) for i, word in enumerate(text.split()))


def started(utterance: int = 0, time: float = 0.3, channel: int = 0) -> SpeechStarted:
    return SpeechStarted(utterance=utterance, time=time, channel=channel)


def partial(stable: str, unstable: str = "", utterance: int = 0, channel: int = 0, said: str | None = None) -> Partial:
    said_words = words(stable if said is None else said)
    return Partial(utterance=utterance, start=0.3, stable=stable, unstable=unstable, words=said_words, channel=channel)


def preflight(text: str) -> Preflight:
    return Preflight(utterance=0, text=text, words=words(text))


def ended(utterance: int = 0, time: float = 2.0, channel: int = 0) -> SpeechEnded:
    return SpeechEnded(utterance=utterance, time=time, channel=channel)


def final(text: str, utterance: int = 0, start: float = 0.3, end: float = 2.0, **fields) -> Final:
    fields = {"reason": "endpoint", "words": words(text)} | fields
    return Final(utterance=utterance, text=text, start=start, end=end, **fields)


def numbered(events: list[Event]) -> list[Event]:
    return [dataclasses.replace(event, seq=seq) for seq, event in enumerate(events)]


def watch(*events: Event, ready: Ready = READY, flushes: tuple = ()) -> None:
    promises = Promises()
    for flush in flushes:
        promises.flushing(flush)
    for event in numbered([ready, *events]):
        promises.observe(event)


UTTERANCE = (started(), partial("", "Good"), partial("Good", " mor"), ended(), final("Good morning."))

WHOLE = {
    "an utterance": (*UTTERANCE, Done(audio_seconds=2, utterances=1)),
    "an empty final": (started(), ended(), final("")),
    "two in a row": (*UTTERANCE, started(1, 2.0), ended(1, 4.0), final("Yes.", 1, 2.0, 4.0)),
    "a preflight that holds": (started(), preflight("Yes."), ended(), final("Yes.")),
    "a preflight taken back": (
        started(),
        preflight("Yes."),
        SpeechResumed(utterance=0, time=1.5),
        partial("Yes", "tarday"),
        ended(),
        final("Yestarday."),
    ),
    "a preflight overtaken by a flush": (started(), preflight("Yes."), ended(), final("Yes, I", reason="flush")),
    "between utterances": (Warned(code="w", message="m"), Unknown(type="news"), *UTTERANCE),
    "a refused message": (Failed(code="c", message="m", fatal=False), *UTTERANCE),
    "a script without spaces": (
        started(),
        partial("你好", said="你 好"),
        ended(),
        final("你好。", words=words("你 好。")),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_conversation_passes(name):
    watch(*WHOLE[name])


NO_WORDS = dataclasses.replace(READY, settings=SETTINGS | {"word_timestamps": False})
NO_PARTIALS = dataclasses.replace(READY, settings=SETTINGS | {"interim_results": False})
NO_PREFLIGHT = dataclasses.replace(READY, settings=SETTINGS | {"preflight": False})

BROKEN = [
    ("comes while utterance 0 is open", (started(), started(1))),
    ("should open utterance 0", (started(1),)),
    ("should open utterance 1", (*UTTERANCE, started(0, 3.0))),
    ("begins before 2.0", (*UTTERANCE, started(1, 1.9))),
    ("no utterance is open", (partial("Good"),)),
    ("no utterance is open", (started(), ended(), partial("Good"))),
    ("no utterance is open", (ended(),)),
    ("is not of utterance 0", (started(), partial("Good", utterance=1))),
    ("changes the stable text 'Good'", (started(), partial("Good"), partial("Bad"))),
    ("changes the stable text 'Good'", (started(), partial("Good"), partial("Goo"))),
    ("changes the stable text 'Good'", (started(), partial("Good"), preflight("Bad"))),
    ("changes the stable text 'Good'", (started(), partial("Good"), ended(), final("good morning."))),
    ("words that spell 'Good'", (started(), partial("G", said="Good"))),
    ("words that spell ''", (started(), ended(), final("Good.", words=()))),
    ("has spaces around", (started(), ended(), final("Good", words=(Word(" Good", 0, 1, 1),)))),
    ("has a bad", (started(), ended(), final("Good", words=(Word("Good", 2, 1, 1),)))),
    ("has a bad", (started(), ended(), final("Good", words=(Word("Good", 0, 1, 1.5),)))),
    ("after", (started(), ended(), final("a b", words=(Word("a", 1, 2, 1), Word("b", 0.5, 2, 1))))),
    ("takes back no preflight", (started(), SpeechResumed(utterance=0, time=1))),
    ("differs from its preflight", (started(), preflight("Yes."), ended(), final("No."))),
    ("comes without speech_ended", (started(), final("Good."))),
    ("comes without speech_ended", (*UTTERANCE, final("Good."))),
    ("should close utterance 0", (started(), ended(), final("Good.", 1))),
    ("overlaps what ended at 2.0", (*UTTERANCE, started(1, 2.0), ended(1, 4.0), final("Yes.", 1, 1.5, 4.0))),
    ("overlaps what ended at 0.0", (started(), ended(), final("", start=2.0, end=1.0))),
    ("answers none of", (Flushed(id=1),)),
    ("leaves utterance", (started(), Done(audio_seconds=1, utterances=0))),
    ("follows 1 finals", (*UTTERANCE, Done(audio_seconds=1, utterances=2))),
    ("comes after the end", (Done(audio_seconds=1, utterances=0), Warned(code="w", message="m"))),
    ("comes after the end", (Failed(code="c", message="m", fatal=True), Warned(code="w", message="m"))),
    ("comes twice", (READY,)),
    ("has channel 1", (started(channel=1),)),
]  # fmt: skip


@pytest.mark.parametrize(("words_", "events"), BROKEN)
def test_a_broken_promise_is_named(words_, events):
    with pytest.raises(ProtocolError, match=words_):
        watch(*events)


def test_what_was_not_asked_for():
    with pytest.raises(ProtocolError, match="was not asked for"):
        watch(started(), partial("Good"), ready=NO_PARTIALS)
    with pytest.raises(ProtocolError, match="was not asked for"):
        watch(started(), preflight("Good"), ready=NO_PREFLIGHT)
    with pytest.raises(ProtocolError, match="words that were not asked for"):
        watch(started(), partial("Good"), ready=NO_WORDS)
    watch(started(), ended(), final("Good.", words=()), ready=NO_WORDS)


def test_an_update_changes_what_is_asked_for():
    watch(Updated(settings=NO_WORDS.settings), started(), ended(), final("Good.", words=()))


def test_a_gap_in_the_numbers():
    promises = Promises()
    promises.observe(dataclasses.replace(READY, seq=0))

    with pytest.raises(ProtocolError, match="should have seq 1"):
        promises.observe(dataclasses.replace(started(), seq=2))


def test_nothing_but_an_error_comes_before_ready():
    with pytest.raises(ProtocolError, match="comes before ready"):
        Promises().observe(dataclasses.replace(started(), seq=0))


def test_flushes_are_answered_in_order():
    watch(Flushed(id=1), Flushed(id="two"), flushes=(1, "two"))
    with pytest.raises(ProtocolError, match="answers none of"):
        watch(Flushed(id="two"), flushes=(1, "two"))
    with pytest.raises(ProtocolError, match="leaves flushes"):
        watch(Done(audio_seconds=0, utterances=0), flushes=(1,))


def test_channels_are_strangers():
    ready = dataclasses.replace(READY, settings=SETTINGS | {"channels": 2})
    watch(
        started(),
        started(channel=1),
        partial("Good"),
        partial("Bad", channel=1),
        ended(),
        final("Good."),
        started(1, 2.5),
        ready=ready,
    )


def reconnect(*events: Event, resumed: bool = True, stable_kept: bool = True) -> None:
    promises = Promises()
    for event in numbered([READY, *UTTERANCE, started(1, 2.0), partial("Let us", utterance=1)]):
        promises.observe(event)
    for _ in range(2):  # the first attempt failed
        promises.reconnected(resumed=resumed, stable_kept=stable_kept)
    for event in numbered([READY, *events]):
        promises.observe(event)


def test_after_a_reconnect_the_open_utterance_begins_again_with_its_stable_text():
    reconnect(started(1, 2.0), partial("Let us", utterance=1), ended(1, 4.0), final("Let us go.", 1, 2.0, 4.0))
    with pytest.raises(ProtocolError, match="changes the stable text 'Let us'"):
        reconnect(started(1, 2.0), partial("Let", utterance=1))
    with pytest.raises(ProtocolError, match="should open utterance 1"):
        reconnect(started(2, 2.0))


def test_stable_text_that_was_not_handed_over_may_change():
    reconnect(started(1, 2.0), partial("Later", utterance=1), stable_kept=False)


def test_a_new_session_counts_from_0():
    reconnect(started(0, 0.1), partial("Later"), resumed=False)


def test_a_session_resumed_from_a_foreign_token_may_begin_at_any_number():
    ready = dataclasses.replace(READY, audio_received=32_000)
    watch(started(7, 2.0), ended(7, 4.0), final("Yes.", 7, 2.0, 4.0), started(8, 4.0), ready=ready)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_documented_conversations_keep_every_promise(path):
    """The server's golden files, connection by connection."""
    promises = Promises()
    connections = 0
    for line in path.read_text().splitlines():
        if line.startswith("C GET"):
            connections += 1
            if connections > 1:
                promises.reconnected(resumed=True, stable_kept=True)
        elif line.startswith("S {"):
            promises.observe(parse(line[2:]))
        elif line.startswith('C {"type":"flush","id":'):
            asked = json.loads(line[2:])["id"]
            if not isinstance(asked, list):  # as it is in the examples of errors
                promises.flushing(asked)

    assert connections >= 1


@st.composite
def conversations(draw) -> list[Event]:
    """Any number of utterances of random words, each seen growing from the left."""
    events: list[Event] = []
    clock = 0.0
    for number in range(draw(st.integers(1, 4))):
        said = draw(st.lists(st.text("abc.,", min_size=1, max_size=4), max_size=5))
        text = " ".join(said)
        start, end = clock + draw(st.floats(0, 1)), clock + draw(st.floats(1, 5))
        events.append(started(number, start))
        shown = sorted(draw(st.lists(st.integers(0, len(said)), max_size=4)))
        events += [partial(" ".join(said[:stable]), " ...", number) for stable in shown]
        events += [ended(number, end), final(text, number, start, end)]
        clock = end
    return events


@given(conversations())
def test_any_conversation_in_order_passes(events):
    watch(*events)


@given(conversations(), st.data())
def test_a_lost_or_doubled_boundary_never_passes(events, data):
    """Leaving out or repeating any event but a partial breaks a promise."""
    boundaries = [i for i, event in enumerate(events) if not isinstance(event, Partial)]
    at = data.draw(st.sampled_from(boundaries))
    finals = sum(isinstance(event, Final) for event in events)
    done = Done(audio_seconds=0, utterances=finals)

    with pytest.raises(ProtocolError):
        watch(*events[:at], *events[at + 1 :], done)
    with pytest.raises(ProtocolError):
        watch(*events[: at + 1], *events[at:], done)
