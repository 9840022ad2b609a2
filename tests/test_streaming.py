"""The whole main path on real audio: the embedded model, its gate and its batcher under the simulated clock.

Only the network is missing. The recordings (``tests/data``) are a small sample, so the bounds are wider than what is
measured over all of the evaluation sets; ``Promises`` checks the protocol in every event.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from driving import Play, Promises

from benchmarks.evalset import ROOT, at_level, load, read_audio
from benchmarks.reference import Reference
from streamasr.bench.scoring import (
    Errors,
    Shown,
    TimedWord,
    count_errors,
    doubled_words,
    lost_runs,
    mean_absolute,
    normalise,
    paired_bootstrap,
    percentile,
    word_lags,
)
from streamasr.bench.simulated import Simulation, Stream
from streamasr.core.events import Final, Partial, SpeechEnded
from streamasr.core.options import SessionOptions
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import resolve
from streamasr.inference.vad import VadModel

RATE = 16_000
DATA = ROOT / "tests" / "data"
RECORDINGS = {recording.id: recording for recording in load(DATA)}
ENGLISH = ("seen", "unseen", "long")
MODEL = resolve("nano")


@cache
def engine():
    return Ct2Engine(MODEL, threads=1)


@cache
def vad():
    return VadModel()


@cache
def reference():
    return Reference(MODEL)


class Run(NamedTuple):
    """A stream that was played: what was said when, and the windows it took."""

    said: list
    windows: list

    @property
    def finals(self):
        return [said.event for said in self.said if isinstance(said.event, Final)]

    @property
    def text(self):
        return " ".join(final.text for final in self.finals if final.text)

    @property
    def shown(self):
        """As the scores want it."""
        log = []
        for at, event in self.said:
            if isinstance(event, Partial):
                log.append(Shown(at=at, utterance=event.utterance, stable=event.stable, unstable=event.unstable))
            elif isinstance(event, Final):
                words = tuple(TimedWord(word.text, word.start / RATE, word.end / RATE) for word in event.words)
                log.append(Shown(at=at, utterance=event.utterance, stable=event.text, final=True, words=words))
        return log


def play(pcm, language="en", tail_s=1.0, **options) -> Run:
    """Stream recordings at their own pace, with silence after them; batches take the time that they are said to."""
    heard = np.concatenate([pcm, np.zeros(round(tail_s * RATE), np.int16)])

    def cost(batch):
        return engine().cost(len(batch), max(window.encoder_samples for window in batch))

    simulation = Simulation(engine(), vad().lane, MODEL.policy(), cost)
    (said,) = simulation.run([Stream(heard, SessionOptions(language=language, **options))])
    promises = Promises()
    for _, event in said:
        promises.check(event)
    assert promises.open is None
    return Run(said, simulation.windows)


def audio(name):
    return read_audio(DATA, RECORDINGS[name])


def of(*sets):
    return [recording for recording in RECORDINGS.values() if recording.set in sets]


@cache
def played(name) -> Run:
    return play(audio(name), RECORDINGS[name].lang)


@cache
def referred(name) -> str:
    return reference().transcribe(audio(name), RECORDINGS[name])


def errors(name, text) -> Errors:
    return count_errors(normalise(RECORDINGS[name].text), normalise(text))


def against_the_reference(*sets):
    """(errors streamed, errors of the reference, words) for each recording."""
    rows = []
    for recording in of(*sets):
        streamed, truth = errors(recording.id, played(recording.id).text), errors(recording.id, referred(recording.id))
        rows.append((streamed.total, truth.total, truth.words))
    return rows


def test_streamed_speech_has_no_more_errors_than_the_same_model_on_true_utterances():
    """The reference hears each true span whole. 21 recordings bound the difference to a few points."""
    interval = paired_bootstrap(against_the_reference(*ENGLISH))
    assert interval.difference <= 3.0
    assert interval.low <= 0.3


def test_speech_in_noise_loses_little_to_the_reference():
    assert paired_bootstrap(against_the_reference("noisy")).difference <= 6.0


@pytest.mark.parametrize("recording", of(*ENGLISH), ids=lambda recording: recording.id)
def test_no_run_of_words_is_lost_or_doubled(recording):
    hypothesis, heard = normalise(played(recording.id).text), normalise(referred(recording.id))
    assert lost_runs(heard, hypothesis) == 0
    spoken = normalise(recording.text)
    assert doubled_words(spoken, hypothesis) <= doubled_words(spoken, heard)


def lags():
    return [
        lag
        for recording in of(*ENGLISH)
        for lag in word_lags(recording.words, played(recording.id).shown, recording.lang)
    ]


def test_words_are_shown_soon_after_they_end():
    shown = [lag.shown for lag in lags()]
    assert percentile(shown, 50) <= 0.45
    assert percentile(shown, 95) <= 0.9


def test_words_become_stable_soon_after_they_end():
    stable = [lag.stable for lag in lags()]
    assert percentile(stable, 50) <= 0.9
    assert percentile(stable, 95) <= 2.0


def test_stable_text_is_not_withheld_until_the_final():
    """In a long recording nearly every word is stable in a partial before its final comes."""
    run = played("long_000")
    last = {event.utterance: event.stable for _, event in run.said if isinstance(event, Partial)}
    stable = sum(len(text.split()) for text in last.values())
    assert stable > 0.7 * len(run.text.split())


def test_word_times_of_finals_are_true():
    measured = lags()
    assert mean_absolute(lag.start_error for lag in measured) <= 0.1
    assert mean_absolute(lag.end_error for lag in measured) <= 0.1


def test_finals_come_with_their_endpoint():
    """The eager final has been decoded by then: nobody waits for the engine."""
    waits = []
    for recording in of(*ENGLISH):
        ended = {e.utterance: at for at, e in played(recording.id).said if isinstance(e, SpeechEnded)}
        waits += [at - ended[e.utterance] for at, e in played(recording.id).said if isinstance(e, Final)]
    assert percentile(waits, 50) == 0.0
    assert max(waits) <= 0.3


@pytest.mark.parametrize("recording", of("silence"), ids=lambda recording: recording.id)
def test_silence_and_background_have_no_words(recording):
    """Not in partials either."""
    run = played(recording.id)
    assert all(shown.stable + shown.unstable == "" for shown in run.shown)


def test_speech_at_minus_forty_decibels_is_heard_as_well_as_normal():
    normal, changed = Errors(), Errors()
    for recording in of("seen", "unseen")[::2]:
        run = play(at_level(audio(recording.id), recording, -40.0))
        normal += errors(recording.id, played(recording.id).text)
        changed += errors(recording.id, run.text)
    assert changed.wer <= normal.wer + 5


def tone(seconds, frequencies, decay=0.0):
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * f * k * time) / k for f in frequencies for k in (1, 2, 3, 4))
    return 0.3 / len(frequencies) * np.exp(-decay * time) * wave


def random_notes(seconds, count, decay):
    rng = np.random.default_rng(count)
    scale = [196, 220, 247, 262, 294, 330, 392, 440, 494, 523]
    return np.concatenate([tone(seconds, rng.choice(scale, count), decay) for _ in range(round(20 / seconds))])


NO_SPEECH = {
    "mains hum": lambda: tone(20, [50, 150]),
    "loud hum": lambda: 1.5 * tone(20, [120]),
    "melody": lambda: random_notes(0.5, 1, 3.0),
    "chords": lambda: random_notes(1.0, 3, 0.5),
    "white noise": lambda: np.random.default_rng(0).normal(0, 0.1, 20 * RATE),
    "bursts": lambda: np.random.default_rng(1).normal(0, 0.2, 20 * RATE) * (np.arange(20 * RATE) % 8_000 > 4_000),
}


@pytest.mark.parametrize("sound", NO_SPEECH)
def test_music_hum_and_noise_have_no_words(sound):
    """What the gate lets through of them comes to an empty final."""
    run = play(np.clip(NO_SPEECH[sound]() * 32767, -32768, 32767).astype(np.int16), "auto")
    assert all(shown.stable + shown.unstable == "" for shown in run.shown)


def test_speech_after_music_is_heard_as_if_there_had_been_none():
    """Whatever the music did to the gate and to the language."""
    music = (random_notes(0.5, 1, 3.0) * 32767).astype(np.int16)
    run = play(np.concatenate([music, np.zeros(RATE, np.int16), audio("seen_000")]))
    assert run.text == played("seen_000").text


def test_the_language_is_decided_for_each_utterance_anew():
    """Three languages in turn, a second apart; nothing is stable before the language is decided."""
    names = ["seen_000", "lang_de_003", "lang_es_000", "unseen_014", "lang_de_009", "seen_060"]
    pause = np.zeros(RATE, np.int16)
    run = play(np.concatenate([part for name in names for part in (audio(name), pause)]), "auto")

    assert [final.language for final in run.finals] == [RECORDINGS[name].lang for name in names]
    for window in run.windows:
        assert not window.prefix or window.language is not None
    begun = {window.anchor: window for window in run.windows}
    assert len({window.previous_language for window in begun.values()}) == 4  # None and each of the three


def test_a_language_that_is_given_is_not_questioned():
    run = play(audio("lang_de_003"), "en")
    assert {window.language for window in run.windows} == {"en"}
    assert [final.language for final in run.finals] == ["en"]


def without_pauses(*names):
    """The recordings' speech, no gap longer than 0.2 s left in it."""
    pieces = []
    for name in names:
        pcm, kept = audio(name), []
        for word in RECORDINGS[name].words:
            start, end = round(word.start * RATE), round(word.end * RATE)
            if kept and start - kept[-1][1] < 0.2 * RATE:
                kept[-1][1] = end
            else:
                kept.append([start, end])
        pieces += [pcm[max(0, start - 800) : end + 800] for start, end in kept]
    return np.concatenate(pieces)


def test_more_than_a_minute_without_a_pause_loses_no_words():
    """Windows walk over the speech with overlapping context, and the utterance is cut between words."""
    names = ["long_000", "seen_000", "seen_050", "seen_060", "seen_070", "seen_090", "seen_110"]
    run = play(without_pauses(*names))

    assert "max_length" in [final.reason for final in run.finals]
    assert max(window.end - window.anchor for window in run.windows) <= 12 * RATE
    spoken = normalise(" ".join(RECORDINGS[name].text for name in names))
    heard = normalise(" ".join(referred(name) for name in names))
    hypothesis = normalise(run.text)
    assert lost_runs(heard, hypothesis) == 0
    assert doubled_words(spoken, hypothesis) <= doubled_words(spoken, heard) + 2  # the model stammers a little
    assert count_errors(spoken, hypothesis).wer <= count_errors(spoken, heard).wer + 3


@pytest.mark.parametrize("seconds", [0.7, 1.234, 2.0, 3.3])
def test_the_final_of_a_stop_hears_the_last_sample_received(seconds):
    """Also those that are no whole frame of the gate's."""
    pcm = audio("seen_050")[RATE // 2 :][: round(seconds * RATE)]
    run = play(pcm, tail_s=0.0)
    assert run.finals[-1].reason == "stop"
    assert run.windows[-1].end == len(pcm)


def test_audio_faster_than_real_time_gives_the_same_words():
    """A whole recording at once: each utterance is decoded as a whole, none is lost."""
    pcm = np.concatenate([audio(name) for name in ("seen_000", "seen_050", "unseen_042", "seen_090", "seen_070")])
    silence = np.zeros(RATE, np.int16)
    samples = np.concatenate([pcm, silence]).astype(np.float32) / 32768
    whole = Play(engine(), vad=vad().lane(), policy=MODEL.policy(), options=SessionOptions(language="en"))
    whole.hear(samples, chunk=len(samples)).stop()

    in_time = play(pcm)
    streamed, at_once = normalise(in_time.text), normalise(whole.text)
    assert lost_runs(streamed, at_once) == 0
    assert count_errors(streamed, at_once).wer < 10


def test_partials_or_none_the_finals_are_alike():
    """Without partials there are far fewer windows."""
    run = play(audio("seen_050"), interim_results=False)
    assert not [event for _, event in run.said if isinstance(event, Partial)]
    assert len(run.windows) < len(played("seen_050").windows) / 2
    assert count_errors(normalise(played("seen_050").text), normalise(run.text)).wer < 15
