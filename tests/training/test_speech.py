"""Speech: word times, voices, and what becomes of an utterance before it is in the corpus."""

from collections import Counter
from itertools import islice
from random import Random

import numpy as np
import pytest

from training.settings import Synthesis
from training.speech import espeak, voices
from training.speech.speak import speak
from training.speech.synthesise import Job, make_shard, shard_names
from training.speech.timing import word_spans
from training.text.sentence import Sentence, Word
from training.windows.corpus import Corpus, Utterance, shard_seconds, write_shard

RATE = 8_000
needs_espeak = pytest.mark.skipif(not espeak.available(), reason="needs the Debian package libespeak-ng1")


def sound(*pieces: tuple[float, float]) -> np.ndarray:
    """One second of silence with sound in the given stretches, seconds."""
    audio = np.zeros(RATE, np.int16)
    for start, end in pieces:
        audio[round(start * RATE) : round(end * RATE)] = 8_000
    return audio


def test_pauses_at_the_edges_do_not_belong_to_words():
    spans = word_spans(sound((0.1, 0.4), (0.6, 0.9)), RATE, [0.0, 0.6], [3, 3])

    assert spans == [pytest.approx((0.1, 0.4)), pytest.approx((0.6, 0.9))]


def test_short_quiet_at_an_edge_is_part_of_the_word():
    spans = word_spans(sound((0.0, 0.46), (0.5, 1.0)), RATE, [0.0, 0.5], [3, 3])

    assert spans == [pytest.approx((0.0, 0.5)), pytest.approx((0.5, 1.0))]


def test_words_run_together_share_their_time_by_letters():
    spans = word_spans(sound((0.0, 1.0)), RATE, [0.0, None, 0.8, 0.9], [2, 6, 2, 2])

    assert spans is not None
    assert spans[0] == pytest.approx((0.0, 0.2))
    assert spans[1] == pytest.approx((0.2, 0.8))


@pytest.mark.parametrize("starts", [[None, 0.5], [0.6, 0.2], [0.0, None, None, 0.9], [0.0, 0.5]])
def test_times_that_cannot_be_told_are_not_guessed(starts):
    audio = sound((0.0, 0.4))  # nothing is heard of a second word

    assert word_spans(audio, RATE, starts, [3] * len(starts)) is None


class Reader:
    """Reads every spoken word as a tenth of a second of tone, after a second of silence."""

    name = "reader"

    def choose_voice(self, rng, language):
        return f"{language}-voice"

    def speak(self, voice, words, rng):
        time = np.arange(len(words) * 1_600) / 16_000
        tone = (3_000 * np.sin(2 * np.pi * 300 * time)).astype(np.int16)
        audio = np.concatenate([np.zeros(16_000, np.int16), tone, np.zeros(16_000, np.int16)])
        return audio, 16_000, [(1 + 0.1 * i, 1.1 + 0.1 * i) for i in range(len(words))]


def test_an_utterance_is_trimmed_levelled_and_timed_by_written_words():
    sentence = Sentence("en", (Word("At", "At"), Word("7:30,", "seven thirty,"), Word("Anna.", "Anna.")))

    spoken = speak(Reader(), sentence, Random(1))

    assert spoken is not None
    assert spoken.voice == "reader:en-voice"
    assert len(spoken.starts) == len(spoken.ends) == 3
    lengths = [end - start for start, end in zip(spoken.starts, spoken.ends, strict=True)]
    assert lengths[1] == pytest.approx(2 * lengths[0], abs=2)  # two spoken words
    assert spoken.starts[0] == pytest.approx(0.05 * 16_000, abs=2)
    assert len(spoken.audio) == pytest.approx(spoken.ends[-1] + 0.08 * 16_000, abs=2)
    assert np.abs(spoken.audio).max() == pytest.approx(0.6 * 32_767, rel=0.02)


def test_the_unseen_voices_are_not_trained_on():
    rng = Random(3)
    drawn = {voices.choose_espeak(rng, language) for language in ("en", "de", "es") for _ in range(3_000)}

    assert not {voice.split("+")[0] for voice in drawn} & {voices.UNSEEN_ACCENT}
    assert not {voice.partition("+")[2] for voice in drawn} & voices.UNSEEN_VARIANTS


def test_every_fifth_shard_is_flites_if_there_is_a_flite():
    names = list(islice(shard_names(Synthesis(flite_share=0.2, seed=7), flite=True), 50))
    without = list(islice(shard_names(Synthesis(flite_share=0.2, seed=7), flite=False), 50))

    assert Counter(name.split("-")[0] for name in names)["flite"] in (9, 10)
    assert names[0] == "espeak-7-00000"
    assert all(name.startswith("espeak-7-") for name in without)


def test_a_shard_exists_only_when_it_is_whole(tmp_path):
    utterance = Utterance(offset=0, samples=3, words=("a",), starts=(0,), ends=(3,), voice="x:y", language="en")
    (tmp_path / "half.i16").write_bytes(b"\0\0")

    assert shard_seconds(tmp_path, "half") is None

    write_shard(tmp_path, "whole", [np.array([1, 2, 3], np.int16)], [utterance])

    assert shard_seconds(tmp_path, "whole") == 3 / 16_000
    assert [entry.utterance for entry in Corpus(tmp_path).entries] == [utterance]


def test_a_corpus_without_speech_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="python -m training synthesise"):
        Corpus(tmp_path)


@needs_espeak
def test_a_shard_says_the_same_in_the_same_voices_whenever_it_is_made(tmp_path):
    """Its texts and voices depend on the seed and the shard's name alone."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        make_shard(Job(corpus=folder, settings=Synthesis(shard_utterances=12)), "espeak-1-00003")

    first, second = (
        [(e.utterance.words, e.utterance.voice, e.utterance.language) for e in Corpus(folder).entries]
        for folder in folders
    )
    assert first == second


@needs_espeak
def test_spoken_words_follow_one_another(tmp_path):
    make_shard(Job(corpus=tmp_path, settings=Synthesis(shard_utterances=30, german=0.3, spanish=0.3)), "espeak-1-1")

    corpus = Corpus(tmp_path)

    assert {entry.utterance.language for entry in corpus.entries} == {"en", "de", "es"}
    for said in (entry.utterance for entry in corpus.entries):
        assert len(said.words) == len(said.starts) == len(said.ends)
        assert all(start < end for start, end in zip(said.starts, said.ends, strict=True))
        assert all(end <= start for end, start in zip(said.ends, said.starts[1:], strict=False))
        assert said.ends[-1] <= said.samples
