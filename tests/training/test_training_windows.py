"""Training windows: what is placed, what is cut off, and what the model is to say about it."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.conftest import ENDS, STARTS, WORDS
from training.settings import RECIPES, SAMPLE_RATE
from training.tokenizer import LETTERS
from training.windows.augment import Augmenter
from training.windows.batch import batches, collate, divide
from training.windows.noise import NoiseBank, coloured
from training.windows.plan import LONGEST, Part, Placed, Plan, Planner
from training.windows.targets import IGNORED, TargetMaker, frame_letters
from training.windows.window import MOST_FRAMES, WindowMaker, render

RECIPE = RECIPES["nano"]


def plan_of(corpus, end, *, first=0, at=0, previous=()):
    """A window with the corpus's first utterance from a word on."""
    skipped = STARTS[first] if first else 0
    words = tuple(
        Placed(w, s + at - skipped, e + at - skipped)
        for w, s, e in zip(WORDS[first:], STARTS[first:], ENDS[first:], strict=True)
    )
    part = Part(entry=corpus.entries[0], at=at, skipped=skipped, words=words)
    return Plan(parts=(part,), end=end, language="en", previous=previous)


def targets_of(plan, tokens, seed=1, *, stamps_allowed=False):
    made = TargetMaker(tokens, Random(seed), lambda: ["unrelated", "words"]).make(
        plan, 100, stamps_allowed=stamps_allowed
    )
    assert made is not None
    return made


def said(targets, tokens):
    """The text that is to be learned."""
    ids = [t for t in targets.targets if t != IGNORED and t < tokens.end]
    return "".join(tokens.text(i) for i in ids).replace("Ġ", " ").strip()


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (ENDS[-1], "turn on the kitchen light, please."),
        (ENDS[-1] - 1, "turn on the kitchen light,"),
        (STARTS[4] + 2_000, "turn on the kitchen"),
        (ENDS[0], "turn"),
        (ENDS[0] - 1, ""),
    ],
)
def test_a_window_cut_in_mid_word_keeps_only_whole_words(corpus, tokens, end, text):
    targets = targets_of(plan_of(corpus, end), tokens)

    assert said(targets, tokens) == text
    assert targets.targets[-1] == tokens.end
    spelled = "".join(LETTERS[i] for i in targets.letters)
    assert spelled.split() == [w.strip(",.") for w in text.split()]


def test_targets_are_the_tokens_to_come(corpus, tokens):
    targets = targets_of(plan_of(corpus, ENDS[-1]), tokens, seed=3)

    first = targets.tokens.index(tokens.start)
    task = [tokens.languages["en"], tokens.transcribe, tokens.no_timestamps]
    assert targets.targets[:first] == [IGNORED] * first
    assert targets.targets[first : first + 3] == task
    assert len(targets.tokens) == len(targets.targets) == len(targets.spans)
    heard = [span for span in targets.spans if span is not None]
    assert heard[0][0] == STARTS[0] // 320
    assert heard[-1][1] == ENDS[-1] // 320


def test_timestamps_stand_around_whole_utterances_only(corpus, tokens):
    stamped = [targets_of(plan_of(corpus, ENDS[-1]), tokens, seed, stamps_allowed=True) for seed in range(40)]
    cut = [targets_of(plan_of(corpus, ENDS[2]), tokens, seed, stamps_allowed=True) for seed in range(40)]

    whole_stamps = {tuple(t for t in x.targets if t >= tokens.first_timestamp) for x in stamped}
    cut_stamps = {tuple(t for t in x.targets if t >= tokens.first_timestamp) for x in cut}
    assert whole_stamps == {(), (tokens.timestamp(STARTS[0]), tokens.timestamp(ENDS[-1]))}
    assert cut_stamps == {(), (tokens.timestamp(STARTS[0]),)}


def test_silence_is_answered_with_no_speech_and_no_text(tokens):
    plan = Plan(parts=(), end=SAMPLE_RATE, language="de")

    for seed in range(40):
        targets = targets_of(plan, tokens, seed, stamps_allowed=True)
        learned = [t for t in targets.targets if t != IGNORED]

        assert learned in ([tokens.no_speech, tokens.end], [tokens.no_speech, tokens.first_timestamp, tokens.end])
        assert len(targets.tokens) == len(targets.targets) == len(targets.spans)


def test_earlier_words_may_come_as_context_and_are_not_learned(corpus, tokens):
    plan = plan_of(corpus, 20_000, first=3, previous=WORDS[:3])

    contexts = [t.tokens[: t.tokens.index(tokens.start)] for t in (targets_of(plan, tokens, s) for s in range(40))]

    expected = tokens.words(WORDS[:3])
    assert [] in contexts
    assert any(
        context[0] == tokens.previous and context[-len(expected) :] == expected for context in contexts if context
    )
    assert said(targets_of(plan, tokens), tokens) == "kitchen light, please."


def test_frames_spell_the_words_where_they_are_spoken(corpus):
    frames = frame_letters(plan_of(corpus, STARTS[4] + 320), 100)

    spelled = "".join(LETTERS[i] for i in dict.fromkeys(frames[STARTS[0] // 320 : ENDS[0] // 320]))
    assert spelled == "turn"
    assert (frames[: STARTS[0] // 320] == len(LETTERS)).all()
    assert (frames[STARTS[4] // 320 + 2 :] == len(LETTERS)).all()  # after the cut


def test_a_windows_audio_is_its_utterances_where_the_plan_has_them(corpus):
    plan = plan_of(corpus, 20_000, first=2, at=1_600)

    signal = render(corpus, plan)

    utterance = corpus.audio(corpus.entries[0])
    assert len(signal) == 20_000
    assert not signal[:1_600].any()
    np.testing.assert_array_equal(signal[1_600:], utterance[STARTS[2] : STARTS[2] + 18_400])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_plans_hold_together(corpus, seed, progress):
    """Utterances follow one another in one language, and no word is asked for that the window cuts off."""
    plan = Planner(corpus, RECIPE, Random(seed)).plan(progress)

    assert 0 < plan.end <= LONGEST
    assert all(before.end <= after.at for before, after in zip(plan.parts, plan.parts[1:], strict=False))
    assert {part.entry.utterance.language for part in plan.parts} <= {plan.language}
    assert all(word.end <= plan.end for words, _ in plan.heard() for word in words)
    assert plan.silent or plan.parts[0].words[0].start >= 0


def test_some_windows_are_cut_some_begin_late_and_some_are_silent(corpus):
    planner = Planner(corpus, RECIPE, Random(8))

    plans = [planner.plan(0.9) for _ in range(600)]

    speech = [plan for plan in plans if not plan.silent]
    assert 10 < len(plans) - len(speech) < 60
    assert 30 < sum(bool(plan.previous) for plan in speech) < 120
    assert sum(not all(whole for _, whole in plan.heard()) for plan in speech) > 150
    assert {plan.language for plan in speech} == {"en", "de"}
    assert max(plan.end for plan in plans) > 15 * SAMPLE_RATE


def test_a_run_begins_with_short_windows(corpus):
    planner = Planner(corpus, RECIPE, Random(8))

    assert max(planner.plan(0.0).end for _ in range(300)) < 12 * SAMPLE_RATE


def test_windows_are_whole_encoder_frames_and_their_lists_agree(corpus, tokens):
    maker = WindowMaker(corpus, tokens, RECIPE, seed=4)

    for progress in (0.0, 0.3, 0.9):
        for window in (maker.make(progress) for _ in range(40)):
            said = window.targets
            assert window.mel.shape[0] == 80
            assert window.mel.shape[1] % 2 == 0
            assert window.mel.shape[1] <= MOST_FRAMES
            assert np.isfinite(window.mel).all()
            assert len(said.tokens) == len(said.targets) == len(said.spans) <= 448
            assert len(said.frames) == window.mel.shape[1] // 2


def test_batches_are_padded_with_what_is_not_learned(corpus, tokens):
    maker = WindowMaker(corpus, tokens, RECIPE, seed=5)
    windows = [maker.make(0.3) for _ in range(7)]

    batch = collate(windows)

    for i, window in enumerate(windows):
        frames, positions = window.mel.shape[1], len(window.targets.tokens)
        np.testing.assert_array_equal(batch.mel[i, :, :frames], window.mel)
        assert not batch.mel[i, :, frames:].any()
        assert (batch.targets[i, positions:] == IGNORED).all()
        assert (batch.frames[i, frames // 2 :] == IGNORED).all()
        assert (batch.spans[i, positions:] == -1).all()
        assert batch.letter_counts[i] == len(window.targets.letters)


def test_batches_hold_no_more_frames_than_they_may(corpus, tokens):
    maker = WindowMaker(corpus, tokens, RECIPE, seed=6)
    windows = [maker.make(0.3) for _ in range(50)]

    groups = divide(windows, 3_000)

    assert sum(map(len, groups)) == 50
    assert all(len(g) == 1 or len(g) * max(w.mel.shape[1] for w in g) <= 3_000 for g in groups)
    assert next(batches(maker, 3_000, Random(1), lambda: 0.5)).mel.shape[1] == 80


def test_noise_has_its_colour():
    spectrum = np.abs(np.fft.rfft(coloured(np.random.default_rng(1), 16_000, 2.0))) ** 2

    assert spectrum[100:200].mean() > 50 * spectrum[1_000:2_000].mean()


def test_augmented_speech_keeps_its_length_and_range(corpus):
    rng, generator = Random(2), np.random.default_rng(2)
    augment = Augmenter(RECIPE, NoiseBank(corpus, rng, generator), rng, generator)
    speech = corpus.audio(corpus.entries[0])

    for _ in range(60):
        spoiled = augment.signal(speech, 2, 1.0)

        assert spoiled.shape == speech.shape
        assert np.abs(spoiled).max() <= 1


def test_silence_is_never_the_corpus_itself_and_never_too_loud(corpus):
    bank = NoiseBank(corpus, Random(3), np.random.default_rng(3))

    levels = [float(np.sqrt((bank.silence(16_000) ** 2).mean())) for _ in range(80)]

    assert min(levels) == 0.0
    assert max(levels) < 1.0
