"""Which window an utterance wants next, and that window as a value. Decides; the session sends."""

from typing import NamedTuple

from streamasr.core.audio import SampleBuffer
from streamasr.core.events import SAMPLE_RATE, Window, WindowKind
from streamasr.core.gate import Gate
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.core.utterance import Role, Utterance
from streamasr.core.windows import encoder_samples, token_limit

RETRY_ENCODER = 30 * SAMPLE_RATE
"""A final that a guard stopped is decoded once more with the input length Whisper was made for."""
RETRY_BEAM = 5
BUDGETS = {"first": 0.3, "partial": 0.6, "final": 0.2, "file": 5.0}
"""Seconds within which a window's hypothesis is wanted."""


class Want(NamedTuple):
    """A window from the utterance's anchor to ``end``."""

    end: int
    role: Role


class Lane(NamedTuple):
    """What all windows of a lane share."""

    name: str
    options: SessionOptions
    policy: Policy
    language: str | None
    """The language of its last utterance."""

    @property
    def fixed_language(self) -> str | None:
        """The language the client chose, if it chose one."""
        return None if self.options.language == "auto" else self.options.language


def wanted_when_closed(utterance: Utterance, policy: Policy) -> Want | None:
    """The final window, or a step towards it if one window cannot hold the rest; None while it is out."""
    if utterance.final_number is not None:
        return None
    anchor = utterance.stabilizer.anchor
    if utterance.end - anchor <= policy.longest_window + policy.anchor_margin:
        return Want(utterance.end, "final")
    return Want(anchor + policy.longest_window, "step") if utterance.step is None else None


def wanted_when_open(utterance: Utterance, gate: Gate, lane: Lane, received: int) -> Want | None:
    """An eager final once per pause, a partial once per hop.

    Args:
        utterance: the open one.
        gate: where speech was last.
        lane: options and policy.
        received: the last sample received; far ahead of the window, the lane is fed faster than real time.
    """
    policy = lane.policy
    edge = min(gate.last_speech + policy.tail, gate.position)
    anchor = utterance.stabilizer.anchor
    if edge <= anchor or edge < utterance.promised_to:
        return None
    if edge - anchor > policy.longest_window:  # walk through what is there, one longest window at a time
        edge = anchor + policy.longest_window
        asked = edge == utterance.asked_to and utterance.pending is not None
        return None if asked else Want(edge, "partial")
    if gate.silence >= policy.eager:
        return Want(edge, "eager") if utterance.eager != gate.last_speech else None
    if utterance.eager is not None:  # speech has resumed, but the eager answer is not here yet
        return None
    if utterance.pending is not None and received - edge > policy.backlog:
        return None
    hop = policy.hop if lane.options.interim_results else policy.longest_window // 2
    return Want(edge, "partial") if edge - utterance.asked_to >= hop else None


def window(lane: Lane, number: int, utterance: Utterance, want: Want, buffer: SampleBuffer) -> Window:
    """The wanted window as a value."""
    policy, options, stabilizer = lane.policy, lane.options, utterance.stabilizer
    retry, urgent = want.role == "retry", want.role != "partial"
    behind = buffer.end - want.end > policy.backlog
    kind: WindowKind = "final" if urgent else "partial" if stabilizer.text else "first"
    length = want.end - stabilizer.anchor
    return Window(
        lane=lane.name,
        number=number,
        kind="file" if behind and not urgent else kind,
        anchor=stabilizer.anchor,
        pcm=buffer.read(stabilizer.anchor, want.end),
        encoder_samples=RETRY_ENCODER if retry else encoder_samples(length, policy),
        prefix=stabilizer.prefix,
        prefix_text=stabilizer.promised,
        language=utterance.language or lane.fixed_language,
        languages=options.languages,
        previous_language=lane.language,
        task=options.task,
        prompt=options.prompt,
        hotwords=options.hotwords,
        beam_size=RETRY_BEAM if retry else 1,
        max_new_tokens=token_limit(want.end - stabilizer.stable_end),
        budget_s=BUDGETS["file" if behind else kind],
    )
