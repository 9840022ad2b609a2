"""streamasr_client.resumption: what is kept, what is replayed, what the next start says."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr_client.events import Final, Partial, Ready, SpeechStarted, Word
from streamasr_client.resumption import Resumption

READY = Ready(session="s", settings={}, model={}, audio_received=0)
EIGHT = {"encoding": "pcm_s16le", "sample_rate": 8000}
SECOND = bytes(range(250)) * 64
"""One second of 8 kHz PCM: 16,000 bytes."""


def begun(settings=EIGHT, limit=1_000_000, ready=READY) -> Resumption:
    resumption = Resumption(settings, limit)
    resumption.began(ready)
    return resumption


def final(end: float, token: str | None = "t", channel: int = 0) -> Final:
    return Final(utterance=0, text="", start=0, end=end, reason="endpoint", resume=token, channel=channel)


def partial(stable: str, end: float | None = None, channel: int = 0) -> Partial:
    words = () if end is None else (Word("us", end - 0.1, end, 0.9),)
    return Partial(utterance=0, start=0, stable=stable, unstable="", words=words, channel=channel)


def replayed(resumption: Resumption, sample: int) -> bytes:
    return b"".join(part for part in resumption.replay(sample) if isinstance(part, bytes))


def test_before_the_first_final_everything_is_replayed_and_the_start_says_nothing():
    resumption = begun()
    resumption.sent(SECOND)
    resumption.observe(partial("Let us"))

    assert resumption.start_fields() == {}
    assert replayed(resumption, 0) == SECOND


def test_a_token_of_the_ready_holds_until_the_first_final():
    resumption = begun(ready=dataclasses.replace(READY, resume="first"))

    assert resumption.start_fields() == {"resume": "first", "stable": "", "stable_end": None}


def test_the_start_carries_the_last_token_and_the_stable_text_of_the_open_utterance():
    resumption = begun()
    resumption.observe(final(1.0, "one"))
    resumption.observe(SpeechStarted(utterance=1, time=1.2))
    resumption.observe(partial("Let us", end=1.9))

    assert resumption.start_fields() == {"resume": "one", "stable": "Let us", "stable_end": 1.9}

    resumption.observe(final(2.0, "two"))

    assert resumption.start_fields() == {"resume": "two", "stable": "", "stable_end": None}


def test_several_channels_have_lists():
    resumption = begun(EIGHT | {"channels": 2})
    resumption.observe(final(1.0, "one", channel=1))
    resumption.observe(partial("Let us", channel=1))

    assert resumption.start_fields() == {"resume": "one", "stable": ["", "Let us"], "stable_end": [None, None]}


def test_only_audio_well_before_the_last_final_is_forgotten():
    """The server may ask for as much as a second before the final's end."""
    resumption = begun()
    resumption.sent(SECOND * 5)
    resumption.observe(final(3.0))

    assert replayed(resumption, 2 * 8000) == SECOND * 3
    assert replayed(resumption, 8000) == bytes(int(0.9 * 16_000)) + (SECOND * 5)[int(1.9 * 16_000) :]


def test_the_slowest_channel_decides_what_is_kept():
    resumption = begun(EIGHT | {"channels": 2})
    resumption.sent(SECOND * 10)
    resumption.observe(final(4.0, channel=0))
    assert replayed(resumption, 0) == SECOND * 10

    resumption.observe(final(3.0, channel=1))
    assert replayed(resumption, 0)[: int(1.9 * 32_000)] == bytes(int(1.9 * 32_000))


@pytest.mark.parametrize(("encoding", "silence"), [("pcm_s16le", 0), ("pcm_f32le", 0), ("mulaw", 0xFF), ("alaw", 0xD5)])
def test_audio_beyond_the_limit_becomes_silence_and_is_reported(encoding, silence):
    resumption = begun({"encoding": encoding, "sample_rate": 8000}, limit=8_000)
    resumption.sent(b"\x01" * 16_000)

    assert replayed(resumption, 0) == bytes([silence]) * 8_000 + b"\x01" * 8_000
    width = {"pcm_s16le": 2, "pcm_f32le": 4}.get(encoding, 1)
    assert resumption.reconnected(READY, "r", 1).missing == 8_000 / width / 8000
    assert resumption.reconnected(dataclasses.replace(READY, audio_received=8_000 // width), "r", 1).missing == 0


def test_controls_are_replayed_where_they_were_sent_until_they_are_answered():
    resumption = begun()
    resumption.sent(SECOND)
    resumption.asked("flush", "F")
    resumption.sent(SECOND)
    resumption.asked("stop", "S")

    assert list(resumption.replay(0)) == [SECOND, "F", SECOND, "S"]
    assert list(resumption.replay(12_000)) == ["F", SECOND[8_000:], "S"]

    resumption.answered("flush")

    assert list(resumption.replay(8_000)) == [SECOND, "S"]


def test_a_restart_makes_the_audio_after_the_last_final_the_beginning():
    resumption = begun()
    resumption.sent(SECOND * 3)
    resumption.observe(final(1.5))
    resumption.observe(partial("Let us"))
    resumption.asked("stop", "S")
    resumption.restart()

    assert resumption.start_fields() == {}
    assert replayed(resumption, 0) == (SECOND * 3)[24_000:]
    event = resumption.reconnected(READY, "r", 1)
    assert (event.resumed, event.offset, event.missing) == (False, 1.5, 0.0)

    resumption.observe(final(0.5, "new"))
    resumption.restart()
    assert resumption.reconnected(READY, "r", 1).offset == 2.0
    assert list(resumption.replay(0)) == [(SECOND * 3)[32_000:], "S"]


def test_a_restart_silences_what_a_channel_has_finalised():
    """Nothing is said twice by the channel that was ahead."""
    resumption = begun({"encoding": "mulaw", "sample_rate": 8000, "channels": 2})
    resumption.sent(b"LR" * 16_000)
    resumption.observe(final(0.5, channel=0))
    resumption.observe(final(1.5, channel=1))
    resumption.restart()

    assert replayed(resumption, 0) == b"L\xff" * 8_000 + b"LR" * 4_000


def test_a_restart_after_the_limit_tells_what_is_missing():
    resumption = begun(limit=16_000)
    resumption.sent(SECOND * 3)
    resumption.restart()

    event = resumption.reconnected(READY, "r", 1)
    assert (event.offset, event.missing) == (2.0, 2.0)
    assert replayed(resumption, 0) == SECOND


def test_a_session_resumed_by_hand_begins_at_its_sample():
    resumption = begun(ready=dataclasses.replace(READY, audio_received=8_000))
    resumption.sent(SECOND)

    assert resumption.end == 32_000
    assert replayed(resumption, 8_000) == SECOND


@given(
    pieces=st.lists(st.binary(max_size=3_000), max_size=20),
    finals=st.lists(st.floats(0, 5), max_size=5),
    sample=st.integers(0, 20_000),
)
def test_a_replay_always_fills_the_clock(pieces, finals, sample):
    """Whatever was cut, finalised and asked for: what comes is as long as it must be, and true where it is kept."""
    resumption = begun({"encoding": "mulaw", "sample_rate": 8000})
    for piece in pieces:
        resumption.sent(piece)
    for end in sorted(finals):
        resumption.observe(final(end))
    whole = b"".join(pieces)

    audio = replayed(resumption, sample)

    assert len(audio) == max(0, len(whole) - sample)
    kept = max(sample, round(max([*finals, 0]) * 8000))
    assert audio[kept - sample :] == whole[kept:]
