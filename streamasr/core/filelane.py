"""One recording: audio, scores and hypotheses in; windows and segments out. A value machine, no clock.

Owns the order of what is said, the language of the recording, and which audio is still needed. Windows do not
depend on each other, so many are out at once; only speech without a pause is walked through window by window.
"""

from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamasr.core.audio import SampleBuffer
from streamasr.core.events import FRAME, SAMPLE_RATE, Hypothesis, Segment, Window, Word
from streamasr.core.fallback import Thresholds, Tries
from streamasr.core.options import FileOptions
from streamasr.core.packing import Packer, Packing, Stretch
from streamasr.core.planner import BUDGETS
from streamasr.core.policy import Policy
from streamasr.core.sentences import Sentences
from streamasr.core.stabilizer import LocalAgreement
from streamasr.core.utterance import obeys, within_speech
from streamasr.core.windows import ENCODER_STEP, token_limit

LANGUAGE_WINDOWS = 3
"""Windows after which the language is decided, if the model is not sure of any of them …"""
LANGUAGE_PATIENCE = 30 * SAMPLE_RATE
"""… or so much audio after the first of them, if no more come."""

ENCODER_GRAIN = SAMPLE_RATE // 2
"""Encoder inputs are a whole number of half seconds: a recording's windows share batches with each other."""


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a recording of which no words are known, because the engine failed on it."""

    start: int
    end: int
    reason: str
    """For a person; tells nothing of the engine's inside."""


class _Piece:
    """A stretch on its way to words."""

    def __init__(self, stretch: Stretch, policy: Policy) -> None:
        self.stretch = stretch
        # Nothing hears a window a second time to agree with it: all but its edge is taken as it is.
        walking = msgspec.structs.replace(policy, lone_confidence=0.0, lone_lag=policy.anchor_margin)
        self.stabilizer = LocalAgreement(walking, stretch.start)
        self.tries: Tries | None = None
        """Of the window that is out."""
        self.heard: tuple[Hypothesis, Window] | None = None
        """An answer that waits for the recording's language to be decided."""
        self.facts: tuple[Hypothesis, Window] | None = None
        """The last answer taken."""
        self.lost: list[Lost] = []
        self.done = False
        self.afresh = True
        """Whether the next words to be said were heard with nothing forced before them."""
        self._said = 0

    def edge(self, policy: Policy) -> int | None:
        """Where the next window ends; None if there is not enough speech yet."""
        anchor, end = self.stabilizer.anchor, self.stretch.end
        if end is not None and end - anchor <= policy.longest_window + policy.anchor_margin:
            return end
        far = anchor + policy.longest_window
        return far if far <= (end or self.stretch.last_speech) else None

    def settled(self) -> list[Word]:
        """Words that will not change, once each."""
        words, held = self.stabilizer.settled, self._said
        if self.done:
            words = self.stabilizer.stable_words + self.stabilizer.unstable
        fresh = words[held:]
        del self.stabilizer.settled[:-1]  # the last one bounds the times of those that follow
        self._said = len(self.stabilizer.settled)
        return fresh


class FileLane:
    """One recording.

    Args:
        lane: its name, unlike every other lane's.
        options: how it is to be transcribed.
        policy: the model's.
        packing: how it is cut; None: as suits the model.
    """

    def __init__(self, lane: str, options: FileOptions, policy: Policy, packing: Packing | None = None) -> None:
        self.name = lane
        self._options = options
        self._policy = policy
        self._thresholds = Thresholds(options, policy)
        self._buffer = SampleBuffer()
        self._handed = 0
        self._packer = Packer(policy, packing or Packing.of(policy))
        self._queue: deque[_Piece] = deque()
        """Stretches whose words have not all been said, in order."""
        self._sent: dict[int, _Piece] = {}
        self._number = 0
        self._windows: list[Window] = []
        self._sentences = Sentences(word_timestamps=options.word_timestamps)
        self._language = None if options.language == "auto" else options.language
        self._language_probability = 1.0
        self._evidence: list[tuple[str, float, int]] = []
        """Language, probability and samples of the windows heard before it was decided."""
        self._finishing = False

    def __repr__(self) -> str:
        return f"<FileLane {self.name} received {self.received}, known to {self.position}, {len(self._sent)} out>"

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
        self._packer.receive_scores(scores)
        self._plan()

    def receive_hypothesis(self, hypothesis: Hypothesis) -> None:
        """Take what the engine heard in a window; an answer that nobody waits for changes nothing."""
        piece = self._sent.pop(hypothesis.number, None)
        if piece is None or piece.tries is None:
            return
        if not obeys(hypothesis, piece.tries.window):
            self._lose(piece)
        elif (kept := piece.tries.receive(hypothesis, self._thresholds)) is None:
            self._send(piece)
        else:
            piece.tries, piece.heard = None, kept
            self._listen(piece)
        self._plan()

    def window_failed(self, number: int) -> None:
        """That window will not be answered: its stretch is lost."""
        piece = self._sent.pop(number, None)
        if piece is not None:
            self._lose(piece)
            self._plan()

    def finish(self) -> None:
        """No audio comes after; to be called when all frames have been scored."""
        self._finishing = True
        self._packer.finish(self.received)
        self._plan()

    # What goes out.

    def windows_to_send(self) -> list[Window]:
        """Windows to be transcribed, each to be answered by ``receive_hypothesis`` or ``window_failed``."""
        windows, self._windows = self._windows, []
        return windows

    def segments_to_send(self) -> list[Segment | Lost]:
        """What is known now and was not said yet, in order: nothing is left out before it."""
        said: list[Segment | Lost] = []
        while self._queue:
            head = self._queue[0]
            if head.facts is not None:
                words = head.settled()
                said += self._sentences.add(words, *head.facts, afresh=head.afresh)
                head.afresh = head.afresh and not words
            if head.lost:
                said += [*self._sentences.flush(), *head.lost]
                head.lost = []
            if not head.done:
                return said
            if head.stretch.before_silence:
                said += self._sentences.flush()
            self._queue.popleft()
        return [*said, *self._sentences.flush()] if self.finished else said

    @property
    def received(self) -> int:
        """Samples received."""
        return self._buffer.end

    @property
    def position(self) -> int:
        """Samples from the beginning whose words have all been said."""
        if self._queue:
            return self._queue[0].stabilizer.anchor
        return self.received if self._finishing else min(self._packer.position, self._packer.needed_from)

    @property
    def undecoded(self) -> int:
        """Samples received whose words have not been said yet: what back pressure goes by."""
        return self.received - self.position

    @property
    def language(self) -> str | None:
        """The recording's language; None until it is decided."""
        return self._language

    @property
    def language_probability(self) -> float:
        """How probable it was among the candidates; 1 if it was chosen."""
        return self._language_probability

    @property
    def finished(self) -> bool:
        """Whether everything can be said, or has been, after ``finish``."""
        return self._finishing and all(piece.done for piece in self._queue)

    # The language: one for the whole recording, told from its first speech.

    def _listen(self, piece: _Piece) -> None:
        """Take an answer, now or when the language is decided."""
        if piece.heard is None:
            return
        hypothesis, window = piece.heard
        if self._language is not None or not hypothesis.words:
            self._take(piece)
        else:
            self._evidence.append((hypothesis.language, hypothesis.language_probability, window.samples))

    def _decide_language(self) -> None:
        """Decide when the model is sure of one window, when several were heard, or when no more will come."""
        if self._language is not None:
            return
        sure = [
            (language, probability)
            for language, probability, samples in self._evidence
            if samples >= self._policy.language_early and probability >= self._policy.language_sure
        ]
        if sure:
            self._language, self._language_probability = sure[0]
        elif self._evidence and not self._more_evidence():
            weights: dict[str, float] = {}
            for language, probability, samples in self._evidence:
                weights[language] = weights.get(language, 0.0) + probability * samples
            self._language = max(weights, key=lambda language: weights[language])
            self._language_probability = weights[self._language] / sum(samples for _, _, samples in self._evidence)
        else:
            return
        for piece in [p for p in self._queue if p.heard is not None]:
            self._take(piece)

    def _more_evidence(self) -> bool:
        """Whether it is worth waiting for another window before the language is decided."""
        if self._sent:
            return len(self._evidence) < LANGUAGE_WINDOWS
        patience = self._queue[0].stabilizer.anchor + self._policy.longest_window + LANGUAGE_PATIENCE
        return not self._finishing and self._packer.position < patience and len(self._evidence) < LANGUAGE_WINDOWS

    # Answers.

    def _take(self, piece: _Piece) -> None:
        """Take the answer a piece has; one in another language than the recording's is asked for again."""
        if piece.heard is None:
            return
        (hypothesis, window), piece.heard = piece.heard, None
        if hypothesis.words and window.language is None and hypothesis.language != self._language:
            again = msgspec.structs.replace(
                window, language=self._language, temperature=self._options.temperatures[0], number=0
            )
            piece.tries = Tries(again, self._options, self._policy)
            self._send(piece)
            return
        stretch, stabilizer = piece.stretch, piece.stabilizer
        last = window.end == stretch.end
        speech = (stretch.onset, stretch.last_speech if last else window.end)
        words = within_speech(hypothesis.words, window, speech, self._policy)
        stabilizer.take(words, window.end, commit=not last)
        sure = msgspec.structs.replace(hypothesis, language_probability=self._language_probability)
        piece.facts = sure, window
        if last:
            piece.done = True
        else:
            stabilizer.move_anchor(window.end, least=self._policy.longest_window // 2 - self._policy.anchor_margin)

    def _lose(self, piece: _Piece) -> None:
        """The engine failed on the window that is out."""
        if piece.tries is None:
            return
        window, piece.tries = piece.tries.window, None
        start = piece.stabilizer.stable_end
        piece.lost.append(Lost(start=start, end=window.end, reason="the engine could not transcribe it"))
        piece.done = window.end == piece.stretch.end
        piece.stabilizer.restart(window.end)

    # Windows.

    def _plan(self) -> None:
        """Ask for every window that can be asked for now."""
        self._queue.extend(_Piece(stretch, self._policy) for stretch in self._packer.take())
        self._decide_language()
        for count, piece in enumerate(self._queue):
            if self._language is None and count >= LANGUAGE_WINDOWS:
                break
            if piece.done or piece.tries is not None or piece.heard is not None:
                continue
            if piece.stretch.end is not None and piece.stretch.end <= piece.stabilizer.anchor:
                piece.done = True
            elif (edge := piece.edge(self._policy)) is not None:
                self._ask(piece, edge)
        self._trim()

    def _ask(self, piece: _Piece, end: int) -> None:
        anchor, stable_end = piece.stabilizer.anchor, piece.stabilizer.stable_end
        window = Window(
            lane=self.name,
            number=0,
            kind="file",
            anchor=anchor,
            pcm=self._buffer.read(anchor, end),
            encoder_samples=_encoder_samples(end - anchor, self._policy),
            prefix=piece.stabilizer.prefix,
            language=self._language,
            languages=self._options.languages,
            task=self._options.task,
            prompt=self._options.prompt,
            hotwords=self._options.hotwords,
            beam_size=self._options.beam_size,
            temperature=self._options.temperatures[0],
            max_new_tokens=token_limit(end - stable_end),
            budget_s=BUDGETS["file"],
        )
        piece.tries = Tries(window, self._options, self._policy)
        self._send(piece)

    def _send(self, piece: _Piece) -> None:
        """Send the window of a piece's tries under a new number."""
        if piece.tries is None:
            return
        self._number += 1
        window = piece.tries.window = msgspec.structs.replace(piece.tries.window, number=self._number)
        self._sent[self._number] = piece
        self._windows.append(window)

    def _trim(self) -> None:
        """Forget audio that no window will be cut from again."""
        needed = min(self._handed, self._packer.needed_from)
        for piece in self._queue:
            if not piece.done and not (piece.tries and piece.tries.window.end == piece.stretch.end):
                needed = min(needed, piece.stabilizer.anchor)
                break
        self._buffer.trim(needed)


def _encoder_samples(length: int, policy: Policy) -> int:
    """How much audio the encoder is to see for a window of ``length`` samples."""
    if policy.encoder_forced:
        return -(-max(policy.encoder_forced, length) // ENCODER_STEP) * ENCODER_STEP
    wanted = max(policy.encoder_floor, length + policy.encoder_margin)
    return max(length, min(30 * SAMPLE_RATE, -(-wanted // ENCODER_GRAIN) * ENCODER_GRAIN))
