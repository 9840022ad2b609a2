"""Which window an utterance wants next, and what is in it."""

import numpy as np
import pytest

from streamasr.core.audio import SampleBuffer
from streamasr.core.events import FRAME
from streamasr.core.gate import Gate
from streamasr.core.options import SessionOptions
from streamasr.core.planner import Lane, Want, wanted_when_closed, wanted_when_open, window
from streamasr.core.policy import Policy
from streamasr.core.stabilizer import LocalAgreement
from streamasr.core.utterance import Utterance

POLICY = Policy(anchor_margin=32_000)
S = 16_000


def gate(speech_frames, silent_frames=0):
    gate = Gate(POLICY)
    for score in [0.9] * speech_frames + [0.0] * silent_frames:
        gate.step(score)
    return gate


def utterance(**state):
    talk = Utterance(0, 0, 0, LocalAgreement(POLICY, state.pop("anchor", 0)))
    for name, value in state.items():
        setattr(talk, name, value)
    return talk


def lane(**options):
    return Lane("a", SessionOptions(**options), POLICY, "de")


def wanted(talk, gate, received=None, **options):
    return wanted_when_open(talk, gate, lane(**options), gate.position if received is None else received)


def test_a_partial_is_wanted_once_per_hop():
    assert wanted(utterance(), gate(12)) is None
    assert wanted(utterance(), gate(13)) == Want(13 * FRAME, "partial")
    assert wanted(utterance(asked_to=FRAME), gate(13)) is None


def test_without_interim_results_windows_are_wanted_as_rarely_as_possible():
    assert wanted(utterance(), gate(150), interim_results=False) is None
    assert wanted(utterance(), gate(157), interim_results=False) == Want(157 * FRAME, "partial")


def test_a_window_ends_250_ms_after_the_speech():
    """A short pause is inside it, a longer one is not decoded."""
    assert wanted(utterance(), gate(20, 4)) == Want(24 * FRAME, "partial")
    assert wanted(utterance(eager=20 * FRAME), gate(20, 12)) is None
    assert wanted(utterance(), gate(20, 12)) == Want(20 * FRAME + 4_000, "eager")


def test_the_eager_final_is_wanted_after_160_ms_of_silence_and_once():
    assert wanted(utterance(asked_to=20 * FRAME), gate(20, 4)) is None
    assert wanted(utterance(asked_to=20 * FRAME), gate(20, 5)) == Want(25 * FRAME, "eager")
    assert wanted(utterance(eager=20 * FRAME), gate(20, 5)) is None
    assert wanted(utterance(eager=10 * FRAME), gate(20, 5)) == Want(25 * FRAME, "eager")  # another pause


def test_a_window_that_grows_too_long_stops_at_ten_seconds():
    assert wanted(utterance(), gate(400)) == Want(10 * S, "partial")
    assert wanted(utterance(asked_to=10 * S, pending=3), gate(400)) is None
    assert wanted(utterance(asked_to=10 * S), gate(400)) == Want(10 * S, "partial")


def test_a_lane_fed_faster_than_real_time_wants_one_partial_after_the_other():
    ahead = 13 * FRAME + POLICY.backlog + 1
    assert wanted(utterance(pending=1), gate(13), received=ahead) is None
    assert wanted(utterance(pending=1), gate(13), received=ahead - 1) is not None
    assert wanted(utterance(), gate(13), received=ahead) is not None


def test_no_window_is_wanted_that_ends_before_promised_text_does():
    assert wanted(utterance(promised_to=30 * FRAME), gate(29)) is None
    assert wanted(utterance(promised_to=30 * FRAME), gate(10, 10)) is None
    assert wanted(utterance(promised_to=30 * FRAME), gate(30)) == Want(30 * FRAME, "partial")


def test_no_window_is_wanted_of_nothing():
    """All that was received has been given up."""
    assert wanted(utterance(anchor=24 * FRAME), gate(20, 4)) is None
    assert wanted(utterance(anchor=20 * FRAME + 4_000), gate(20, 20)) is None


def closed(end_s, **state):
    talk = utterance(**state)
    talk.close("endpoint", round(end_s * S), round(end_s * S))
    return talk


def test_a_closed_utterance_wants_its_final_once():
    assert wanted_when_closed(closed(3), POLICY) == Want(3 * S, "final")
    assert wanted_when_closed(closed(3, final_number=7), POLICY) is None


def test_one_that_is_longer_than_a_window_is_walked_through_first():
    """A final may be two seconds longer than a partial."""
    assert wanted_when_closed(closed(12), POLICY) == Want(12 * S, "final")
    assert wanted_when_closed(closed(12.1), POLICY) == Want(10 * S, "step")
    assert wanted_when_closed(closed(12.1, step=4), POLICY) is None
    assert wanted_when_closed(closed(32, anchor=15 * S), POLICY) == Want(25 * S, "step")


def made(role, *, talk=None, received_s=3.0, end_s=3.0, **options):
    buffer = SampleBuffer()
    buffer.append(np.arange(round(received_s * S)).astype(np.float32) % 100 / 32_768)
    return window(lane(**options), 7, talk or utterance(), Want(round(end_s * S), role), buffer)


@pytest.mark.parametrize(
    ("role", "kind", "budget_s"),
    [("partial", "first", 0.3), ("eager", "final", 0.2), ("final", "final", 0.2), ("retry", "final", 0.2)],
)
def test_a_window_is_as_urgent_as_what_it_is_for(role, kind, budget_s):
    assert (made(role).kind, made(role).budget_s) == (kind, budget_s)


def test_a_partial_that_has_text_already_is_not_the_first():
    talk = utterance()
    talk.stabilizer.promised = "so far"
    assert (made("partial", talk=talk).kind, made("partial", talk=talk).prefix_text) == ("partial", "so far")


def test_a_lane_far_behind_waits_like_a_file():
    behind = made("partial", received_s=7.1)
    assert (behind.kind, behind.budget_s) == ("file", 5.0)
    assert made("partial", received_s=7.0).kind == "first"
    assert (made("final", received_s=7.1).kind, made("final", received_s=7.1).budget_s) == ("final", 5.0)


def test_a_window_holds_the_samples_from_the_anchor_to_its_end():
    wanted = made("partial", talk=utterance(anchor=S), received_s=3, end_s=2)
    assert np.frombuffer(wanted.pcm, np.int16).tolist() == [n % 100 for n in range(S, 2 * S)]
    assert (wanted.anchor, wanted.end, wanted.encoder_samples) == (S, 2 * S, S)


def test_a_retry_is_decoded_the_expensive_way():
    assert (made("retry").beam_size, made("retry").encoder_samples) == (5, 30 * S)
    assert made("final").beam_size == 1


def test_a_windows_language_is_the_utterances_then_the_clients():
    talk = utterance(language="es")
    assert made("partial", talk=talk, language="en").language == "es"
    assert made("partial", language="en").language == "en"
    assert (made("partial").language, made("partial").previous_language) == (None, "de")
