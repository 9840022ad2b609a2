"""What is left out for a slow client, and what never is."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.events import Final, Partial, SpeechStarted
from streamasr.errors import EngineError, SlowClient
from streamasr.server.outbox import Ended, Failed, Outbox, Said
from streamasr.wire.commands import Send


def partial(text: str, channel: int = 0) -> Said:
    return Said(Partial(0, 0, "", text, ()), channel)


def final(text: str = "", channel: int = 0) -> Said:
    return Said(Final(0, text, (), "en", 0, 1, "endpoint"), channel)


async def take_all(outbox: Outbox) -> list[object]:
    return [await outbox.take() for _ in range(len(outbox))]


async def test_a_newer_partial_takes_the_place_of_one_that_waits_in_its_channel_only():
    outbox = Outbox()
    for said in (partial("a"), partial("b", channel=1), final(channel=2), partial("c")):
        outbox.say(said)

    assert await take_all(outbox) == [partial("b", channel=1), final(channel=2), partial("c")]


async def test_a_partial_that_was_taken_is_not_replaced():
    outbox = Outbox()
    outbox.say(partial("a"))
    assert await outbox.take() == partial("a")
    outbox.say(partial("b"))

    assert await take_all(outbox) == [partial("b")]


async def test_replies_go_before_events_and_in_order():
    outbox = Outbox()
    outbox.say(partial("a"))
    outbox.reply([Send("1"), Send("2")])

    assert await take_all(outbox) == [Send("1"), Send("2"), partial("a")]


async def test_nothing_is_said_after_the_end_but_what_was_asked_is_still_answered():
    outbox = Outbox()
    outbox.say(final())
    outbox.end("done")
    outbox.say(final())
    outbox.fail(EngineError("late"))
    outbox.reply([Send("already stopped")])

    assert await take_all(outbox) == [Send("already stopped"), final(), Ended("done")]


async def test_take_waits_until_there_is_something():
    outbox = Outbox()
    taking = asyncio.ensure_future(outbox.take())
    await asyncio.wait((taking,), timeout=0)
    assert not taking.done()
    outbox.say(final())

    assert await taking == final()


async def test_a_client_with_too_many_events_waiting_is_too_slow():
    outbox = Outbox(max_events=3)
    for _ in range(4):
        outbox.say(final())
    outbox.say(final())
    outbox.reply([Send("pong")])

    (failed,) = await take_all(outbox)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, SlowClient)


async def test_a_client_with_too_many_bytes_waiting_is_too_slow():
    outbox = Outbox(max_bytes=2_000)
    outbox.say(final("x" * 1_000))
    assert len(outbox) == 1
    outbox.reply([Send("y" * 1_000)])

    (failed,) = await take_all(outbox)
    assert isinstance(failed, Failed)


@given(st.lists(st.one_of(st.none(), st.tuples(st.sampled_from("pfs"), st.integers(0, 2))), max_size=60))
def test_all_but_overtaken_partials_come_out_once_and_in_order(steps):
    """None takes; a letter says a partial, a final or a start in a channel."""

    async def run() -> None:
        outbox, said, taken = Outbox(), [], []
        for number, step in enumerate(steps):
            if step is None:
                if len(outbox):
                    taken.append(await outbox.take())
                continue
            kind, channel = step
            event = {
                "p": Partial(0, 0, "", str(number), ()),
                "f": Final(0, str(number), (), "en", 0, 1, "endpoint"),
                "s": SpeechStarted(0, number),
            }[kind]
            said.append(Said(event, channel))
            outbox.say(said[-1])
        taken += await take_all(outbox)

        assert [item for item in said if item in taken] == taken
        left_out = [item for item in said if item not in taken]
        assert all(isinstance(item.event, Partial) for item in left_out)
        for item in left_out:  # a newer one of its channel came out
            later = said[said.index(item) + 1 :]
            assert any(i in taken and i.channel == item.channel and isinstance(i.event, Partial) for i in later)
        assert outbox._bytes == 0
        assert not outbox._partials

    asyncio.run(run())
