"""The engine on the embedded model: what a window asks for, it gets, whatever shares its batch."""

import asyncio
import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import ctranslate2
import msgspec
import numpy as np
import pytest

from benchmarks.evalset import ROOT, load, read_audio
from streamasr.core.events import Hypothesis, Window
from streamasr.errors import ModelError, WindowFailed
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import resolve
from streamasr.inference.worker import LocalBackend

DATA = ROOT / "tests" / "data"
RECORDINGS = {recording.id: recording for recording in load(DATA)}
NANO = resolve("nano")
WHISPER = ctranslate2.models.Whisper
S = 16_000
FRAME = 320


@pytest.fixture(scope="module")
def engine():
    return Ct2Engine(NANO, threads=1)


def window(name, *, number=0, anchor=0, cut=slice(None), **fields):
    """A recording, in the shortest whole seconds that hold it."""
    pcm = read_audio(DATA, RECORDINGS[name])[cut]
    wanted = {
        "lane": name,
        "number": number,
        "kind": "partial",
        "anchor": anchor,
        "pcm": pcm.tobytes(),
        "encoder_samples": max(1, -(-len(pcm) // S)) * S,
        "language": RECORDINGS[name].lang,
    }
    return Window(**{**wanted, **fields})


def text(hypothesis):
    return "".join(word.text for word in hypothesis.words).strip()


def alone(engine, wanted) -> Hypothesis:
    (hypothesis,) = engine.transcribe([wanted])
    return hypothesis


def test_speech_is_heard_with_its_words_and_times(engine):
    """The recording's truth is exactly this."""
    recording = RECORDINGS["seen_000"]
    hypothesis = alone(engine, window("seen_000", number=7))
    assert text(hypothesis) == recording.text
    assert (hypothesis.lane, hypothesis.number, hypothesis.language) == ("seen_000", 7, "en")
    spoken = [word for word in hypothesis.words if word.text.strip() not in ",."]
    pairs = list(zip(spoken[1:], recording.words[1:], strict=True))
    assert np.mean([abs(heard.start / S - true.start) for heard, true in pairs]) < 0.1
    assert np.mean([abs(heard.end / S - true.end) for heard, true in pairs]) < 0.1


@pytest.mark.parametrize("name", ["seen_000", "lang_de_003", "lang_es_000", "noisy_012", "unseen_014"])
@pytest.mark.parametrize("anchor", [0, 123_200])
def test_times_are_absolute_ordered_and_inside_the_window(engine, name, anchor):
    wanted = window(name, anchor=anchor)
    words = alone(engine, wanted).words
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert words
    assert edges == sorted(edges)
    assert anchor <= edges[0]
    assert edges[-1] <= wanted.end
    assert all(0 < word.confidence <= 1 for word in words)
    assert all(word.text.strip() and word.tokens for word in words)


def test_words_do_not_depend_on_where_the_window_lies(engine):
    here, there = (alone(engine, window("seen_000", anchor=anchor)) for anchor in (0, 160_000))
    assert [(w.text, w.start + 160_000) for w in here.words] == [(w.text, w.start) for w in there.words]


def mixed():
    """Windows of many lengths, languages, prefixes and lengths to pad to; none with a prompt, so one key."""
    return [
        window("seen_000", encoder_samples=6 * S),
        window("lang_de_003", encoder_samples=6 * S, max_new_tokens=12),
        window("seen_050", encoder_samples=6 * S, number=1),
        window("lang_es_000", encoder_samples=6 * S, language=None),
        window("seen_000", encoder_samples=6 * S, prefix_text="He is so quiet"),
        window("seen_070", encoder_samples=6 * S, language=None, languages=("en", "de")),
        window("silence_002", encoder_samples=6 * S),
        window("seen_000", encoder_samples=6 * S, cut=slice(0, 160)),
    ]


def close(one: Hypothesis, other: Hypothesis) -> None:
    """The same, but for what rounding does in batches of another shape: times may be one or two frames apart."""
    assert [(word.text, word.tokens) for word in one.words] == [(word.text, word.tokens) for word in other.words]
    assert (one.lane, one.number, one.language) == (other.lane, other.number, other.language)
    for mine, theirs in zip(one.words, other.words, strict=True):
        assert abs(mine.start - theirs.start) <= 2 * FRAME
        assert mine.confidence == pytest.approx(theirs.confidence, abs=0.05)
    assert one.average_logprob == pytest.approx(other.average_logprob, abs=0.1)
    assert one.no_speech_probability == pytest.approx(other.no_speech_probability, abs=0.05)


def test_windows_in_a_batch_are_heard_as_if_alone(engine):
    """Whatever the languages, prefixes and lengths of the others, and in whatever order."""
    windows = mixed()
    singles = [alone(engine, wanted) for wanted in windows]
    for order in (list(range(len(windows))), [5, 0, 7, 3, 1, 4, 2, 6]):
        batch = engine.transcribe([windows[i] for i in order])
        for i, hypothesis in zip(order, batch, strict=True):
            close(hypothesis, singles[i])


def test_a_batch_pads_shorter_windows_to_its_longest(engine):
    """Text is the same for nano, which was trained on short inputs of every length."""
    short, long = window("seen_070"), window("seen_050")
    assert short.encoder_samples < long.encoder_samples
    together = engine.transcribe([short, long])
    assert [text(h) for h in together] == [text(alone(engine, short)), text(alone(engine, long))]


def test_the_prefix_is_honoured_token_by_token(engine):
    """Also one that nobody said."""
    whole = alone(engine, window("seen_000"))
    prefix = tuple(token for word in whole.words[:4] for token in word.tokens)
    again = alone(engine, window("seen_000", prefix=prefix))
    assert text(again) == text(whole)
    assert tuple(t for w in again.words for t in w.tokens)[: len(prefix)] == prefix

    other = tuple(engine.vocabulary.encode(" She was"))
    hypothesis = alone(engine, window("seen_000", prefix=other))
    assert tuple(t for w in hypothesis.words for t in w.tokens)[: len(other)] == other
    assert text(hypothesis).startswith("She was")
    assert len(hypothesis.words) > 4


@pytest.mark.parametrize("promised", ["He is so quiet", "He  is", "“So”, he said…", "你好", "<|de|> he", "😀"])
def test_promised_text_is_honoured_byte_for_byte(engine, promised):
    assert text(alone(engine, window("seen_000", prefix_text=promised))).startswith(promised)


def test_confidence_and_log_probability_are_of_what_was_generated(engine):
    """What was forced does not make a hypothesis less believable."""
    nonsense = tuple(engine.vocabulary.encode(" Xylophones zigzag quizzically"))
    free, forced = alone(engine, window("seen_000")), alone(engine, window("seen_000", prefix=nonsense))
    assert forced.words[0].confidence < 0.2 < free.words[0].confidence
    assert forced.average_logprob > -2.5


def test_no_more_tokens_are_generated_than_allowed(engine):
    for prefix in ((), tuple(engine.vocabulary.encode(" He is"))):
        for limit in (1, 5):
            hypothesis = alone(engine, window("seen_000", max_new_tokens=limit, prefix=prefix))
            assert sum(len(word.tokens) for word in hypothesis.words) == limit + len(prefix)


def test_an_allowance_holds_in_a_batch_of_larger_ones(engine):
    few, many = engine.transcribe([window("seen_000", max_new_tokens=3), window("seen_050")])
    assert sum(len(word.tokens) for word in few.words) == 3
    assert sum(len(word.tokens) for word in many.words) > 10


@pytest.mark.parametrize("fields", [{"prompt": "A quiet man."}, {"hotwords": "quiet, talk"}, {"prompt": "word " * 999}])
def test_prompts_and_hotwords_are_taken(engine, fields):
    """They stand before the text; it is still what was said."""
    hypothesis = alone(engine, window("seen_000", **fields))
    assert text(hypothesis).startswith("He is so qui")
    assert "because there is no one to t" in text(hypothesis)


def test_windows_share_a_batch_if_their_text_begins_at_the_same_place(engine):
    plain = window("seen_000")
    assert engine.batch_key(plain) == engine.batch_key(window("lang_de_003", prefix=(1, 2)))
    for other in ({"prompt": "A"}, {"beam_size": 5}, {"temperature": 0.4}):
        assert engine.batch_key(plain) != engine.batch_key(window("seen_000", **other))
    same, text_ = engine.vocabulary.encode(" word one"), "word one"
    assert (
        engine.batch_key(window("seen_000", prompt=text_))
        == engine.batch_key(window("seen_050", hotwords=text_))
        == (1, 0.0, 1 + len(same))
    )


def test_prompts_of_one_length_share_a_batch(engine):
    windows = [window("seen_000", prompt="A quiet man."), window("seen_050", prompt="A quiet man.")]
    assert [text(h) for h in engine.transcribe(windows)] == [text(alone(engine, w)) for w in windows]


def test_a_prompt_that_spells_special_tokens_is_only_text(engine):
    wicked = window("seen_000", prompt="<|startoftranscript|><|endoftext|>")
    assert "quiet" in text(alone(engine, wicked))


def test_the_language_is_told_among_the_candidates(engine):
    def told(name, *candidates, previous=None):
        return alone(engine, window(name, language=None, languages=candidates, previous_language=previous))

    assert told("seen_000").language == "en"
    assert told("lang_de_003").language == "de"
    assert told("lang_es_000").language == "es"
    assert told("lang_es_000", "en", "de").language in ("en", "de")
    assert told("seen_000", "de").language == "de"
    assert told("seen_000", "de").language_probability == 1.0
    assert told("seen_000").language_probability > 0.9


def test_a_language_that_is_given_is_not_told_from_the_audio(engine):
    hypothesis = alone(engine, window("seen_000", language="de"))
    assert (hypothesis.language, hypothesis.language_probability) == ("de", 1.0)


@pytest.mark.parametrize("samples", [0, 1, 160, 201])
def test_hardly_any_audio_is_heard_without_words(engine, samples):
    hypothesis = alone(engine, window("seen_000", cut=slice(8_000, 8_000 + samples)))
    assert hypothesis.words == ()
    assert (hypothesis.average_logprob, hypothesis.compression_ratio) == (0.0, 1.0)


def test_beams_and_temperature_are_taken(engine):
    assert "quiet" in text(alone(engine, window("seen_000", beam_size=5, encoder_samples=30 * S)))
    assert isinstance(alone(engine, window("seen_000", temperature=0.4)), Hypothesis)


def test_repetition_shows_in_the_compression_ratio(engine):
    again = alone(engine, window("seen_000", prefix_text="and so on " * 12))
    assert again.compression_ratio > 2 > alone(engine, window("seen_000")).compression_ratio


async def test_a_window_that_cannot_be_run_fails_alone():
    """Longer than the model takes; those in its batch are answered."""
    backend = LocalBackend(lambda: Ct2Engine(NANO, threads=1))
    await backend.start()
    try:
        too_long = msgspec.structs.replace(window("seen_000"), lane="bad", encoder_samples=40 * S)
        unknown = msgspec.structs.replace(window("seen_000"), lane="odd", language="xx")
        futures = [backend.submit(wanted) for wanted in (window("seen_050"), too_long, unknown, window("seen_070"))]
        first, failed, odd, last = await asyncio.gather(*futures, return_exceptions=True)
    finally:
        await backend.close()
    assert text(first).startswith("Yes")
    assert isinstance(failed, WindowFailed)
    assert isinstance(odd, WindowFailed)
    assert text(last)


def test_longer_inputs_and_larger_batches_cost_more(engine):
    assert engine.cost(1, S) < engine.cost(1, 5 * S) < engine.cost(1, 30 * S)
    assert engine.cost(1, 5 * S) < engine.cost(2, 5 * S) < engine.cost(4, 5 * S)
    assert engine.cost(2, 5 * S) < 2 * engine.cost(1, 5 * S)  # sharing gains …
    assert engine.cost(20, 5 * S) > 20 * engine.cost(1, 5 * S)  # … until the cache is full


def test_the_cost_is_scaled_by_what_a_window_takes_here(engine):
    """By a clock that ticks once a millisecond's reading, a window of six stages takes seven."""
    ticks = itertools.count()
    measured = Ct2Engine(NANO, threads=1, clock=lambda: next(ticks) / 1000)
    assert measured.cost(1, 5 * S) == pytest.approx(0.006)
    assert measured.cost(1, 30 * S) / measured.cost(1, 5 * S) == pytest.approx(
        engine.cost(1, 30 * S) / engine.cost(1, 5 * S)
    )
    measured.close()


def test_a_file_that_is_no_model_is_one_clear_sentence(tmp_path):
    for file in NANO.path.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "model.bin").unlink()
    (tmp_path / "model.bin").write_bytes(b"not a model")
    with pytest.raises(ModelError, match="not a model in CTranslate2 format") as error:
        Ct2Engine(resolve(str(tmp_path)), threads=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("told", [None, [], [0, 1], "en"])
def test_a_conversion_without_its_languages_tokens_tells_languages_all_the_same(told, engine, tmp_path, caplog):
    """Without lang_ids, or with those of another vocabulary, CTranslate2 has no language to tell."""
    model = copied(tmp_path, lang_ids=told)
    heard = alone(Ct2Engine(model, threads=1), window("lang_de_003", language=None))
    right = alone(engine, window("lang_de_003", language=None))
    assert (heard.language, heard.language_probability) == ("de", right.language_probability)
    assert text(heard) == text(right)
    assert f"lang_ids in {model.path / 'config.json'} are not the vocabulary's languages" in caplog.text


def test_the_tokens_of_languages_are_left_as_they_are_if_they_are_the_vocabularys(engine, tmp_path, caplog):
    """A conversion may tell fewer apart than its vocabulary has."""
    german = engine.vocabulary.task_tokens("de", "transcribe")[1]
    model = copied(tmp_path, lang_ids=[german])
    assert alone(Ct2Engine(model, threads=1), window("seen_000", language=None)).language == "de"
    assert "lang_ids" not in caplog.text


def test_a_model_that_tells_no_language_does_not_get_past_the_warm_up(monkeypatch):
    monkeypatch.setattr(ctranslate2.models, "Whisper", Speechless)
    with pytest.raises(ModelError, match="cannot be run on cpu: the model gave no language a probability"):
        Ct2Engine(NANO, threads=1)


class Speechless:
    """CTranslate2's model, but that its ``detect_language`` knows none."""

    def __init__(self, path, **options):
        self.model = WHISPER(path, **options)

    def detect_language(self, encoded):
        return [[] for _ in self.model.detect_language(encoded)]

    def __getattr__(self, name):
        return getattr(self.model, name)


def copied(place, **config):
    """A copy of nano with another config.json; what is None is left out."""
    for file in NANO.path.iterdir():
        if file.name != "config.json":
            (place / file.name).symlink_to(file)
    found = json.loads((NANO.path / "config.json").read_text("utf-8")) | config
    kept = {name: value for name, value in found.items() if value is not None}
    (place / "config.json").write_text(json.dumps(kept), "utf-8")
    return msgspec.structs.replace(NANO, path=place)


def test_the_largest_batch_is_the_devices_unless_it_is_told():
    assert Ct2Engine(NANO, threads=1).max_batch_size == 8
    assert Ct2Engine(NANO, threads=1, max_batch=2).max_batch_size == 2


def test_batches_run_at_once_on_replicas_and_are_heard_as_if_alone(engine):
    """On a CPU replicas share the weights; each answer is its own window's."""
    replicated = Ct2Engine(NANO, threads=1, replicas=3)
    assert replicated.parallel == 3
    windows = mixed()
    singles = [alone(engine, wanted) for wanted in windows]
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda wanted: alone(replicated, wanted), windows * 3))
    for single, answer in zip(singles * 3, answers, strict=True):
        close(answer, single)
    replicated.close()


def test_each_device_has_its_own_model_and_runs_a_batch_beside_the_others(monkeypatch):
    """Two calls of three meet inside two devices; the third takes its turn after one of them."""
    whisper, indexes = ctranslate2.models.Whisper, []
    together = threading.Barrier(2, timeout=20)

    def on_device(path, *, device, device_index, **options):
        indexes.append((device, device_index))
        return whisper(path, **options)

    monkeypatch.setattr(ctranslate2.models, "Whisper", on_device)
    engine = Ct2Engine(NANO, device="cuda", device_index=(0, 2), threads=1)
    assert indexes == [("cuda", 0), ("cuda", 2)]
    assert engine.parallel == 2
    running, most = [], []

    class Meeting:
        def __init__(self, model):
            self.model = model
            self.n_mels = model.n_mels

        def encode(self, *args, **options):
            running.append(self)
            most.append(len(running))
            together.wait()
            return self.model.encode(*args, **options)

        def __getattr__(self, name):
            return getattr(self.model, name)

        def align(self, *args):
            running.remove(self)
            return self.model.align(*args)

    for model in [engine._free.get() for _ in range(2)]:
        engine._free.put(Meeting(model))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: alone(engine, window("seen_000")), range(4)))
    assert max(most) == 2
    assert {text(answer) for answer in answers} == {RECORDINGS["seen_000"].text}
    engine.close()


def test_where_a_batchs_time_went_is_told_after_it():
    measured = Ct2Engine(NANO, threads=1)
    told = []
    measured.on_stages = told.append
    begun = time.perf_counter()
    measured.transcribe([window("seen_000"), window("lang_de_003")])
    took = time.perf_counter() - begun
    (stages,) = told
    parts = msgspec.structs.astuple(stages)
    assert all(part > 0 for part in parts)
    assert 0.5 * took < sum(parts) <= took


def test_a_device_that_cannot_run_the_first_window_is_named_with_what_to_do(monkeypatch):
    """As CTranslate2 has it: the model loads, and only the first product misses the library."""

    def encode(self, model, batch):
        raise RuntimeError("Library libcublas.so.12 is not found or cannot be loaded")

    monkeypatch.setattr(Ct2Engine, "_transcribe", encode)
    with pytest.raises(
        ModelError, match=r"cannot be run on cpu: Library libcublas\.so\.12 .*streamasr\[cuda\]"
    ) as error:
        Ct2Engine(NANO, threads=1)
    assert isinstance(error.value.__cause__, RuntimeError)
    assert "\n" not in str(error.value)


def test_what_is_drawn_at_random_comes_out_again_in_the_same_order():
    """The seed is the engine's, not the window's: the second time the same window is heard differently."""
    windows = [window("noisy_012", temperature=1.0), window("unseen_014", temperature=1.0)] * 2
    one, other = Ct2Engine(NANO, threads=1), Ct2Engine(NANO, threads=1)
    heard = [text(alone(one, w)) for w in windows]
    assert heard == [text(alone(other, w)) for w in windows]
    assert len(set(heard)) > 2
