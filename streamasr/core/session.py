"""One lane's session: audio, scores and hypotheses in; windows and events out. A value machine, no clock.

Owns the order of what is said (an utterance's events come before anything of the next), which windows are
wanted, and which answers still count. At any time one partial is wanted per lane, and once a final has been
asked for, only its answer counts: so a final always begins with the stable text.
"""

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamasr.core.audio import SampleBuffer
from streamasr.core.events import (
    FRAME,
    GRID,
    Event,
    FinalReason,
    Flushed,
    Hypothesis,
    Warned,
    Window,
)
from streamasr.core.gate import Gate, State
from streamasr.core.options import MIN_ENDPOINTING_MS, ResumePoint, SessionOptions
from streamasr.core.planner import Lane, Want, wanted_when_closed, wanted_when_open, window
from streamasr.core.policy import Policy, ms
from streamasr.core.stabilizer import LocalAgreement
from streamasr.core.utterance import Sent, Utterance, believable, cut_index, obeys, said

MARGIN = 4 * FRAME
"""Audio kept before the gate's position, beyond the longest pre-roll, for a start noticed late."""


class Cut(NamedTuple):
    """A flush, stop or drain that waits until the audio before it has been scored."""

    at: int
    reason: Literal["flush", "stop", "drain"]
    id: str | int | None


class Session:
    """One lane."""

    def __init__(self, lane: str, options: SessionOptions, policy: Policy, resume: ResumePoint | None = None) -> None:
        point = resume or ResumePoint()
        self._lane = lane
        self._options = options
        self._policy = policy
        self._buffer = SampleBuffer(start=point.sample)
        self._handed = point.sample
        self._gate = Gate(policy, point.sample)
        self._queue: deque[Utterance | Flushed] = deque()
        """Utterances and flush marks whose events are not all out, oldest first."""
        self._open: Utterance | None = None
        self._next = point.utterance
        self._language = point.language
        self._promise = point
        self._cuts: deque[Cut] = deque()
        self._sent: dict[int, Sent] = {}
        self._number = 0
        self._windows: list[Window] = []
        self._warnings: list[Event] = []
        self._finishing = False

    def __repr__(self) -> str:
        return f"<Session {self._lane} received {self.received}, {self._gate!r}, {len(self._queue)} in queue>"

    # What comes in.

    def receive_audio(self, samples: NDArray[np.float32]) -> None:
        """Take mono 16 kHz audio, shape (n,)."""
        self._buffer.append(samples)

    def take_frames(self) -> NDArray[np.float32]:
        """Whole frames not yet handed out for scoring, shape (n, 512)."""
        count = (self.received - self._handed) // FRAME
        end = self._handed + count * FRAME
        pcm = np.frombuffer(self._buffer.read(self._handed, end), np.int16)
        self._handed = end
        return pcm.reshape(count, FRAME).astype(np.float32) / 32768.0

    def receive_scores(self, scores: Sequence[float]) -> None:
        """Take speech probabilities of frames, in the order they were handed out."""
        for score in scores:
            self._cut_what_is_due()
            last_speech = self._gate.last_speech
            change = self._gate.step(score)
            if change == "started":
                self._begin(self._gate.start, self._gate.onset)
            elif change == "resumed" and self._open:
                self._open.resume(last_speech, self._gate.last_speech - FRAME)
            self._end_at_endpoint()
        self._cut_what_is_due()
        self._plan()

    def receive_hypothesis(self, hypothesis: Hypothesis) -> None:
        """Take what the engine heard in a window; an answer that came too late changes nothing."""
        sent = self._sent.get(hypothesis.number)
        if sent is None or sent.utterance.done:
            return
        if not obeys(hypothesis, sent.window):
            self.window_failed(hypothesis.number)
            return
        del self._sent[hypothesis.number]
        utterance = sent.utterance
        if hypothesis.number == utterance.final_number:
            self._take_final(sent, hypothesis)
        elif utterance.final_number is None and hypothesis.number >= utterance.ignore_below:
            utterance.answered(hypothesis.number)
            self._sent = {n: s for n, s in self._sent.items() if s.utterance is not utterance or n > hypothesis.number}
            self._take_interim(sent, hypothesis)
        self._plan()

    def window_failed(self, number: int) -> None:
        """That window will not be answered: a final makes do with what was heard before, a partial is made up for."""
        sent = self._sent.pop(number, None)
        if sent is None or sent.utterance.done:
            return
        utterance, asked = sent.utterance, sent.window
        utterance.answered(number)
        final = number == utterance.final_number
        longest = sent.role != "eager" and asked.end - utterance.stabilizer.anchor >= self._policy.longest_window
        if final or longest:  # any other's audio is in the next window too
            self._warnings.append(Warned("window_failed", "a stretch of audio could not be transcribed"))
        if final:
            self._finish(utterance)
        elif longest:
            utterance.stabilizer.restart(asked.end)
            utterance.decoded_to = max(utterance.decoded_to, asked.end)
            if utterance is self._open:
                self._cut_long(utterance, 0)
        self._plan()

    def flush(self, id: str | int | None) -> None:  # noqa: A002 - the protocol's name for it
        """Finalise everything received so far; ``Flushed(id)`` follows its finals."""
        self._cuts.append(Cut(self.received, "flush", id))
        self._cut_what_is_due()
        self._plan()

    def finish(self, reason: Literal["stop", "drain"]) -> None:
        """Finalise everything; no audio comes after."""
        self._finishing = True
        self._cuts.append(Cut(self.received, reason, None))
        self._cut_what_is_due()
        self._plan()

    def update(self, options: SessionOptions) -> None:
        """Change the options; the open utterance keeps the language it was decided to be in."""
        self._options = options

    # What goes out.

    def windows_to_send(self) -> list[Window]:
        """Windows to be transcribed, each to be answered by ``receive_hypothesis`` or ``window_failed``."""
        windows, self._windows = self._windows, []
        return windows

    def events_to_send(self) -> list[Event]:
        """What can be said now, in order."""
        events, self._warnings = self._warnings, []
        while self._queue:
            head = self._queue[0]
            if isinstance(head, Flushed):
                events.append(head)
            else:
                events += head.events
                head.events = []
                if not head.done:
                    break
            self._queue.popleft()
        self._trim()
        return events

    @property
    def received(self) -> int:
        """The absolute sample just after the last one received."""
        return self._buffer.end

    @property
    def undecoded(self) -> int:
        """Samples received whose words are not known yet; 0 in silence."""
        head = next((u for u in self._queue if isinstance(u, Utterance)), None)
        known = self._gate.position if head is None else min(self._gate.position, head.decoded_to)
        return self.received - known

    @property
    def finished(self) -> bool:
        """Whether everything has been said after ``finish``."""
        return self._finishing and not self._cuts and not self._queue

    # Utterances begin and end.

    def _begin(self, start: int, onset: int) -> Utterance:
        promise, self._promise = self._promise, ResumePoint()
        utterance = Utterance(self._next, start, onset, LocalAgreement(self._policy, start))
        utterance.language = self._lane_facts().fixed_language
        utterance.asked_to = max(start, onset + self._policy.first_window - self._policy.hop)
        if promise.stable:
            utterance.promised_to = utterance.stabilizer.promise(promise.stable, promise.stable_end)
            utterance.heard_to = utterance.promised_to
        self._next += 1
        self._open = utterance
        self._queue.append(utterance)
        return utterance

    def _end_at_endpoint(self) -> None:
        utterance, gate = self._open, self._gate
        if utterance is None or gate.state is not State.TRAILING:
            return
        patience = ms(max(MIN_ENDPOINTING_MS, self._options.endpointing_ms))
        if gate.silence >= (2 * patience if utterance.doubtful else patience):
            end = min(gate.position, gate.last_speech + self._policy.tail) // GRID * GRID
            self._close("endpoint", end)

    def _cut_what_is_due(self) -> None:
        """Carry out flushes and ends once every whole frame before them has been scored."""
        while self._cuts and self._cuts[0].at < self._gate.position + FRAME:
            cut = self._cuts.popleft()
            if self._open is None and cut.reason != "flush" and self._gate.hesitant():
                self._begin(self._gate.start, self._gate.onset)
            if self._open is not None:
                self._close(cut.reason, cut.at)
            if cut.reason == "flush":
                self._queue.append(Flushed(cut.id))

    def _close(self, reason: FinalReason, end: int, *, wordless: bool = False) -> None:
        """End the open utterance; its final may be there already."""
        utterance = self._open
        if utterance is None:
            return
        gate = self._gate
        goes_on = (gate.state is State.SPEECH or gate.hesitant()) and not wordless
        silent = not goes_on and utterance.eager == gate.last_speech
        gate.end(max(end, utterance.start), speech_goes_on=goes_on)
        self._open = None
        utterance.close(reason, max(end, utterance.start), end if goes_on else gate.last_speech)
        if silent and reason in ("endpoint", "flush"):
            if utterance.eager_answered:
                self._finish(utterance)
            else:
                self._adopt_eager(utterance)

    def _adopt_eager(self, utterance: Utterance) -> None:
        """The eager window on its way is the final."""
        for number, sent in self._sent.items():
            if sent.utterance is utterance and sent.role == "eager":
                utterance.final_number = number

    def _finish(self, utterance: Utterance) -> None:
        utterance.finish(self._lane_facts().fixed_language or self._language or "en")
        if utterance.stabilizer.text:
            self._language = utterance.language or self._language
        self._sent = {n: s for n, s in self._sent.items() if s.utterance is not utterance}

    # Hypotheses.

    def _take_interim(self, sent: Sent, hypothesis: Hypothesis) -> None:
        """A partial, eager or step hypothesis: more text, perhaps a later anchor, a shorter utterance."""
        utterance, asked, stabilizer = sent.utterance, sent.window, sent.utterance.stabilizer
        words = said(hypothesis.words, sent, self._policy)
        if not stabilizer.explains(words, asked.anchor):
            return
        utterance.decoded_to = max(utterance.decoded_to, asked.end)
        if not believable(hypothesis, asked, self._policy):
            if sent.role == "step" or asked.end - stabilizer.anchor >= self._policy.longest_window:
                stabilizer.restart(asked.end)
            self._end_if_wordless(utterance)
            return
        utterance.decide_language(hypothesis, asked, self._policy)
        fresh = stabilizer.take(words, asked.end, commit=utterance.language is not None)
        utterance.heard(words)
        if words:
            self._gate.raised = False
        if fresh:  # a newer window on its way has an older prefix: ask again
            utterance.asked_to = min(utterance.asked_to, asked.end)
        if utterance is self._open and self._cut_long(utterance, len(fresh)):
            return
        if asked.end - stabilizer.anchor >= self._policy.longest_window:
            stabilizer.move_anchor(asked.end)
        elif sent.role == "partial":
            stabilizer.notice_stuck(sent.last_speech)
        utterance.show(interim=self._options.interim_results)
        if sent.role == "eager" and utterance.eager == sent.last_speech:
            utterance.take_eager(self._policy)
            if self._options.preflight:
                utterance.announce()
        self._end_if_wordless(utterance)

    def _take_final(self, sent: Sent, hypothesis: Hypothesis) -> None:
        utterance, policy = sent.utterance, self._policy
        if not believable(hypothesis, sent.window, policy):
            if utterance.tripped is None:
                utterance.tripped = hypothesis
                self._ask(utterance, Want(sent.window.end, "retry"))
                return
            # Twice unbelievable: what was stable is all that is certain.
            utterance.stabilizer.unstable = []
            self._finish(utterance)
            return
        words = said(hypothesis.words, sent, policy)
        if utterance.stabilizer.explains(words, sent.window.anchor):
            utterance.heard_language = hypothesis.language
            utterance.stabilizer.take(words, sent.window.end, commit=False)
            if words:
                self._gate.raised = False
        elif utterance.final_attempts < 2:
            utterance.final_number = None  # the stable text has grown since it was asked for: ask again
            return
        self._finish(utterance)

    def _cut_long(self, utterance: Utterance, fresh: int) -> bool:
        """Cut an utterance that grows too long at a pause between words that have just become stable."""
        index = cut_index(utterance, fresh, self._policy)
        if index is not None:
            self._cut_before(utterance, index)
            return True
        if utterance.decoded_to - utterance.start >= self._policy.longest_utterance:
            if self._far_ahead(utterance):
                self._hand_over(utterance, "max_length", utterance.decoded_to // GRID * GRID)
            else:
                self._close("max_length", self._gate.position)
            return True
        return False

    def _cut_before(self, utterance: Utterance, index: int) -> None:
        """What follows stable word ``index`` is the next utterance's, from the same sample on."""
        interim = self._options.interim_results
        after = utterance.stabilizer.split(index)
        utterance.show(interim=interim)
        following = self._hand_over(utterance, "max_length", after.anchor)
        following.stabilizer, following.language, following.heard_to = after, utterance.language, utterance.heard_to
        following.asked_to = following.decoded_to = utterance.decoded_to
        following.show(interim=interim)
        self._finish(utterance)

    def _far_ahead(self, utterance: Utterance) -> bool:
        """Whether much more speech has been received than decoded: the lane is fed faster than real time."""
        return self._gate.last_speech - utterance.decoded_to > self._policy.pre_roll

    def _hand_over(self, utterance: Utterance, reason: FinalReason, at: int) -> Utterance:
        """Everything from ``at`` on, received already or not, is the next utterance's; returns that."""
        utterance.close(reason, at, at)
        self._gate.free_from = at
        return self._begin(at, at)

    def _end_if_wordless(self, utterance: Utterance) -> None:
        """Music or noise: an utterance in which nothing was heard for long ends; the next start takes more."""
        if utterance is not self._open or utterance.wordless < self._policy.wordless:
            return
        self._gate.raised = True
        # The last of it is left to the next utterance: words may begin there.
        end = (utterance.decoded_to - 2 * self._policy.pre_roll) // GRID * GRID
        if self._far_ahead(utterance):
            self._hand_over(utterance, "endpoint", end)
        else:
            self._close("endpoint", end, wordless=True)
        if not utterance.done:
            self._finish(utterance)

    # Windows.

    def _plan(self) -> None:
        """Ask for what is wanted of every utterance in the queue."""
        lane = self._lane_facts()
        for utterance in [u for u in self._queue if isinstance(u, Utterance) and not u.done]:
            if not utterance.closed:
                want = wanted_when_open(utterance, self._gate, lane, self.received)
            elif utterance.end <= utterance.stabilizer.anchor:
                self._finish(utterance)
                continue
            else:
                want = wanted_when_closed(utterance, self._policy)
            if want is not None:
                self._ask(utterance, want)

    def _ask(self, utterance: Utterance, want: Want) -> None:
        self._number += 1
        last_speech = utterance.last_speech if utterance.closed else self._gate.last_speech
        if want.role == "eager":
            utterance.eager = last_speech
        asked = window(self._lane_facts(), self._number, utterance, want, self._buffer)
        self._sent[self._number] = Sent(asked, utterance, want.role, min(want.end, last_speech))
        utterance.asked(self._number, want.role, want.end)
        self._windows.append(asked)

    def _lane_facts(self) -> Lane:
        return Lane(self._lane, self._options, self._policy, self._language)

    def _trim(self) -> None:
        """Forget audio that no window will need again."""
        needed = min(self._handed, self._gate.position - 2 * self._policy.pre_roll - MARGIN)
        for item in self._queue:
            if isinstance(item, Utterance):
                needed = min(needed, item.stabilizer.anchor)
                break
        self._buffer.trim(max(self._buffer.start, needed))
