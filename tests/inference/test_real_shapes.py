"""The engine on the configurations people run: real vocabularies, special tokens, mel bins and heads; random weights.

What such a model says means nothing. That it is asked rightly, and that what it says becomes words, does not
depend on it.
"""

import itertools
import json
from typing import NamedTuple

import numpy as np
import pytest

from streamasr.core.events import Hypothesis, Window
from streamasr.errors import ModelError, WindowFailed
from streamasr.inference.ct2 import CONTEXT_LIMIT, Ct2Engine
from streamasr.inference.models import resolve
from tests import whispers

S = 16_000


class Known(NamedTuple):
    """What is known of a size from its makers: ids of special tokens, and what it can."""

    start: int
    german: int | None
    translate: int | None
    transcribe: int | None
    previous: int
    no_timestamps: int
    languages: int
    n_mels: int
    translates: bool


KNOWN = {
    "tiny": Known(50258, 50261, 50358, 50359, 50361, 50363, 99, 80, True),
    "tiny.en": Known(50257, None, None, None, 50360, 50362, 1, 80, False),
    "small": Known(50258, 50261, 50358, 50359, 50361, 50363, 99, 80, True),
    "large-v3": Known(50258, 50261, 50359, 50360, 50362, 50364, 100, 128, True),
    "large-v3-turbo": Known(50258, 50261, 50359, 50360, 50362, 50364, 100, 128, False),
    "distil-large-v3": Known(50258, 50261, 50359, 50360, 50362, 50364, 1, 128, False),
}
ENGLISH = 50259
YUE = 50358
MULTILINGUAL = [name for name in KNOWN if KNOWN[name].german]


class Heard:
    """A model that notes what it is asked, between the engine and CTranslate2's."""

    def __init__(self, model):
        self.model = model
        self.prompts, self.starts, self.aligned, self.detected = [], [], [], 0

    def generate(self, encoded, prompts, **options):
        self.prompts, self.options = prompts, options
        return self.model.generate(encoded, prompts, **options)

    def align(self, encoded, start, tokens, frames):
        self.starts.append(start)
        self.aligned += tokens
        return self.model.align(encoded, start, tokens, frames)

    def detect_language(self, encoded):
        self.detected += 1
        return self.model.detect_language(encoded)

    def __getattr__(self, name):
        return getattr(self.model, name)


class Built(NamedTuple):
    """A size as the engine runs it."""

    name: str
    engine: Ct2Engine
    suppressed: set

    @property
    def known(self):
        return KNOWN[self.name]

    @property
    def asked(self):
        return self.engine._models[0]

    def hear(self, *windows):
        self.asked.__init__(self.asked.model)
        answers = self.engine.transcribe(windows)
        assert all(isinstance(answer, Hypothesis) for answer in answers)
        return answers


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """Build a size, shrunk, and load it into an engine."""

    def built(name, **wanted):
        place = whispers.build(whispers.SIZES[name].shrunk, tmp_path_factory.mktemp("models") / name, **wanted)
        engine = Ct2Engine(resolve(str(place)), threads=1)
        engine._models = [Heard(engine._models[0])]
        engine._free.get()
        engine._free.put(engine._models[0])
        return Built(name, engine, set(json.loads((place / "config.json").read_text())["suppress_ids"]))

    return built


@pytest.fixture(scope="module")
def sizes(make):
    """Each size once, built when it is first wanted."""
    made = {}

    def built(name):
        if name not in made:
            made[name] = make(name)
        return made[name]

    return built


@pytest.fixture(params=KNOWN)
def size(request, sizes):
    return sizes(request.param)


def window(seconds=3.0, *, encoder_s=None, anchor=0, seed=1, **fields):
    noise = np.random.default_rng(seed).normal(0, 2000, round(seconds * S)).astype(np.int16)
    wanted = {
        "lane": "x",
        "number": 0,
        "kind": "partial",
        "anchor": anchor,
        "pcm": noise.tobytes(),
        "encoder_samples": round((encoder_s or seconds) * S),
        "max_new_tokens": 8,
    }
    return Window(**{**wanted, **fields})


def tokens(hypothesis):
    return [token for word in hypothesis.words for token in word.tokens]


def test_what_a_model_can_is_read_from_its_files(size):
    entry = size.engine.entry
    assert len(entry.languages) == size.known.languages
    assert (entry.n_mels, entry.translates) == (size.known.n_mels, size.known.translates)
    assert entry.multilingual == (size.name != "tiny.en")
    assert ("yue" in entry.languages) == (size.known.languages == 100)


def test_text_becomes_the_tokens_whisper_was_trained_on(sizes):
    assert sizes("tiny").engine.vocabulary.encode(" Hello world") == [2425, 1002]
    assert sizes("large-v3").engine.vocabulary.encode(" Hello world") == [2425, 1002]
    assert sizes("tiny.en").engine.vocabulary.encode(" Hello world") == [18435, 995]
    text = " “Hé”, 3.5 €\n 你好 😀 مرحبا ♪"
    for name in KNOWN:
        vocabulary = sizes(name).engine.vocabulary
        assert vocabulary.decode(vocabulary.encode(text)) == text


def test_a_prompt_is_the_tokens_the_model_was_trained_with(size):
    """Also for a distilled model, which knows one language and still is told which."""
    known = size.known
    size.hear(window(language="en"))
    task = [known.start, known.no_timestamps] if known.german is None else None
    assert size.asked.prompts == [task or [known.start, ENGLISH, known.transcribe, known.no_timestamps]]
    assert size.asked.starts == [size.asked.prompts[0][:-1]]  # CTranslate2 adds <|notimestamps|> there


@pytest.mark.parametrize("name", MULTILINGUAL)
def test_language_and_task_are_in_the_prompt(name, sizes):
    size, known = sizes(name), KNOWN[name]
    size.hear(window(language="de"), window(language="de", task="translate"))
    assert size.asked.prompts == [
        [known.start, known.german, known.transcribe, known.no_timestamps],
        [known.start, known.german, known.translate, known.no_timestamps],
    ]
    assert sorted(size.asked.starts) == sorted(prompt[:-1] for prompt in size.asked.prompts)


def test_english_only_models_are_told_neither_language_nor_task(sizes):
    """Their tokenizer has tokens for languages and tasks, which the model never saw."""
    size = sizes("tiny.en")
    (answer,) = size.hear(window(language=None, task="translate", previous_language="de"))
    assert (answer.language, answer.language_probability, size.asked.detected) == ("en", 1.0, 0)
    assert size.asked.prompts == [[50257, 50362]]


def test_a_model_of_one_language_is_never_asked_which_it_hears(sizes):
    size = sizes("distil-large-v3")
    (answer,) = size.hear(window(language=None))
    assert (answer.language, size.asked.detected) == ("en", 0)
    assert size.asked.prompts[0][1] == ENGLISH


def test_prompt_and_hotwords_stand_before_the_start(size):
    vocabulary = size.engine.vocabulary
    size.hear(window(language="en", prompt="as we said", hotwords="Zyx"))
    text = vocabulary.encode(" Zyx as we said")
    assert size.asked.prompts[0][: len(text) + 2] == [size.known.previous, *text, size.known.start]


def test_a_long_prompt_and_a_long_prefix_fit_the_decoder(size):
    """The most of the one beside more of the other than there are positions for."""
    prefix = tuple(size.engine.vocabulary.encode(" a" * 150))
    for forced in (prefix, prefix * 2) if size.name == "tiny" else (prefix * 2,):
        (answer,) = size.hear(window(1, language="en", prompt="word " * 400, prefix=forced))
        assert size.asked.prompts[0].index(size.known.start) == CONTEXT_LIMIT
        assert tokens(answer)[:150] == list(prefix)


def test_what_is_forced_is_what_it_says_first(size):
    """By ids or as text, however many tokens a character takes; in one batch with a window that is free."""
    texts = [" He said: “No”, and", " 你好，世界", " مرحبا", " 😀 10 %"]
    prefixes = [size.engine.vocabulary.encode(text) for text in texts]
    *forced, free = size.hear(
        *(window(1, language="en", prefix=tuple(prefix)) for prefix in prefixes),
        *(window(1, language="en", prefix_text=text) for text in texts),
        window(1, language="en"),
    )
    for prefix, by_ids, by_text in zip(prefixes, forced[:4], forced[4:], strict=True):
        assert tokens(by_ids) == tokens(by_text)
        assert tokens(by_ids)[: len(prefix)] == prefix
        assert len(tokens(by_ids)) <= len(prefix) + 8
        assert tokens(free)[: len(prefix)] != prefix


def test_suppressed_tokens_are_never_said(size):
    """Annotations and special tokens; 50 windows would say many of them by chance, at this temperature."""
    assert {size.known.start, size.known.previous} <= size.suppressed
    assert all(size.engine.vocabulary.encode(mark)[0] in size.suppressed for mark in ("♪", " (", "[", ' "'))
    windows = [window(1, language="en", temperature=1.0, seed=seed) for seed in range(8)]
    said = {token for answer in size.hear(*windows) for token in tokens(answer)}
    assert len(said) > 20
    assert not said & size.suppressed
    assert max(said) < size.engine.vocabulary.first_special


@pytest.mark.parametrize("name", ["tiny", "tiny.en"])
def test_a_model_that_would_only_say_music_does_not(name, make):
    """Its tokens, or the first of them where it has several, are suppressed; not so for whoever forces them."""
    note, *rest = whispers.tokenizer(whispers.SIZES[name]).encode("♪").ids
    size = make(name, leaning=whispers.tokenizer(whispers.SIZES[name]).id_to_token(note))
    assert note in size.suppressed
    free, forced = size.hear(window(language="en"), window(language="en", prefix=(note, *rest)))
    assert note not in tokens(free)
    assert tokens(forced)[: 1 + len(rest)] == [note, *rest]


@pytest.mark.parametrize(
    ("name", "token"), [("tiny", "<|nocaptions|>"), ("tiny.en", "<|nocaptions|>"), ("large-v3-turbo", "<|nospeech|>")]
)
def test_silence_is_told_by_whatever_name_the_vocabulary_has_for_it(name, token, make, sizes):
    (silent,), (other,) = (each.hear(window(1, language="en")) for each in (make(name, leaning=token), sizes(name)))
    assert silent.no_speech_probability > 0.5
    assert other.no_speech_probability < 0.1


@pytest.mark.parametrize("name", ["tiny", "tiny.en", "distil-large-v3"])
def test_beams_begin_with_what_is_forced(name, sizes):
    size = sizes(name)
    prefix = tuple(size.engine.vocabulary.encode(" So it is"))
    forced, free = size.hear(
        window(1, language="en", beam_size=5, prefix=prefix), window(1, language="en", beam_size=5, seed=2)
    )
    assert size.asked.options["beam_size"] == 5
    assert tokens(forced)[: len(prefix)] == list(prefix)
    assert 0 < len(tokens(free)) <= 8


def test_a_model_that_ends_at_once_must_first_say_something(make):
    """Real models may not be silent: <|endoftext|> is not allowed to come first."""
    (answer,) = make("tiny", leaning="<|endoftext|>").hear(window(language="en"))
    assert len(tokens(answer)) == 1


def test_a_model_that_says_only_times_says_nothing(make):
    """Nobody suppresses them: what a model takes for a time is no word, and harms none beside it."""
    size = make("large-v3-turbo", leaning="<|4.20|>")
    free, forced = size.hear(window(language="en"), window(language="en", prefix_text="So"))
    assert (free.words, free.average_logprob, free.compression_ratio) == ((), 0.0, 1.0)
    assert [word.text for word in forced.words] == [" So"]


@pytest.mark.parametrize("seconds", [1, 1.5, 2, 3, 5, 10, 30])
def test_words_are_timed_in_order_inside_every_window(size, seconds):
    wanted = window(seconds * 0.9, encoder_s=seconds, anchor=123_200, language="en")
    (answer,) = size.hear(wanted)
    edges = [edge for word in answer.words for edge in (word.start, word.end)]
    assert edges
    assert edges == sorted(edges)
    assert wanted.anchor <= edges[0]
    assert edges[-1] <= wanted.end
    assert all(0 <= word.confidence <= 1 for word in answer.words)


def test_cantonese_is_told_and_named(make):
    """The hundredth language, which only the newest vocabulary has; it is written without spaces."""
    size = make("large-v3", leaning="<|yue|>")
    told, among, given = size.hear(
        window(language=None),
        window(language=None, languages=("en", "zh", "de")),
        window(language="yue", prefix_text="你好"),
    )
    assert (told.language, told.language_probability > 0.9) == ("yue", True)
    assert among.language in ("en", "zh", "de")
    assert (given.language, given.language_probability) == ("yue", 1.0)
    assert [prompt[1] for prompt in size.asked.prompts][::2] == [YUE, YUE]
    assert [word.text.strip() for word in given.words][:2] == ["你", "好"]


def test_a_vocabulary_without_cantonese_refuses_it_by_name(sizes):
    with pytest.raises(ModelError, match=r"lacks <\|yue\|>"):
        sizes("small").engine.transcribe([window(language="yue")])


@pytest.mark.parametrize("name", MULTILINGUAL)
def test_windows_of_many_languages_and_tasks_are_heard_as_if_alone(name, sizes):
    size = sizes(name)
    windows = [
        window(2, encoder_s=3, language="de"),
        window(3, language="en", seed=2, prefix_text="So it"),
        window(1, encoder_s=3, language="fr", task="translate", seed=3),
        window(3, language="en", seed=4, max_new_tokens=3),
        window(3, language="de", seed=5),
    ]
    together = size.hear(*windows)
    for wanted, answer in zip(windows, together, strict=True):
        (alone,) = size.hear(wanted)
        assert tokens(answer) == tokens(alone)
        assert answer.language == alone.language == wanted.language
        for mine, other in zip(answer.words, alone.words, strict=True):
            assert mine.confidence == pytest.approx(other.confidence, abs=0.02)


def test_what_was_drawn_at_random_is_drawn_from_many(sizes):
    """At a temperature the same window is heard differently; at none, it never is."""
    size = sizes("tiny")
    drawn = {tuple(tokens(size.hear(window(language="en", temperature=0.8))[0])) for _ in range(4)}
    assert len(drawn) > 1
    assert len({tuple(tokens(size.hear(window(language="en"))[0])) for _ in range(3)}) == 1


@pytest.mark.parametrize("heads", [whispers.alignment_heads(whispers.SIZES["large-v3"]), [[1, 0], [1, 25]], [[-1, 0]]])
def test_alignment_heads_of_another_model_are_not_used(heads, make, sizes, caplog):
    """Conversions of distilled models are about that name the teacher's heads; CTranslate2 crashes on them."""
    size = make("distil-large-v3", heads=heads)
    assert "are not those of a decoder with 2 layers of 20 heads" in caplog.text
    (answer,), (right,) = (each.hear(window(language="en")) for each in (size, sizes("distil-large-v3")))
    assert tokens(answer) == tokens(right)
    assert [(word.start, word.end) for word in answer.words] == [(word.start, word.end) for word in right.words]


def test_a_size_costs_what_the_table_says_of_its_shape(make, tmp_path):
    """Whatever it is called: a fine-tuned model's directory says nothing."""
    full = whispers.SIZES["tiny"]
    engine = Ct2Engine(resolve(str(whispers.build(full, tmp_path / "my-own"))), threads=1)
    assert engine._size == "tiny"
    pairs = itertools.pairwise((1, 2, 5, 10, 20, 30))
    assert all(engine.cost(1, short * S) < engine.cost(1, long * S) for short, long in pairs)


def test_a_window_longer_than_whisper_hears_fails(sizes):
    with pytest.raises((RuntimeError, ValueError, WindowFailed)):
        sizes("large-v3").engine.transcribe([window(31, language="en")])
