"""A lane's figures from what arrived and when."""

import numpy as np
import pytest

from loadtest.lanes import Lane, utterances
from loadtest.pacing import Arrival
from loadtest.scoring import Text, Waited, score, stable_violations
from loadtest.targets import Heard
from streamasr.bench.scoring import Errors, TimedWord

TRUTH = (
    TimedWord("good", 1.0, 1.5),
    TimedWord("morning", 1.5, 2.0),
    TimedWord("let", 4.0, 4.25),
    TimedWord("us", 4.25, 4.5),
    TimedWord("begin", 4.5, 5.0),
)


def lane(truth=TRUTH):
    return Lane(pcm=np.zeros(0, np.int16), truth=truth, utterances=utterances(truth, 0.3), language="en", pieces=("p",))


def said(at, kind, utterance, stable="", unstable=""):
    return Arrival(at, Heard(kind=kind, utterance=utterance, stable=stable, unstable=unstable))


HEARD = [
    said(1.75, "partial", 0, "", "good more"),
    said(2.25, "partial", 0, "good", " morning"),
    said(2.5, "final", 0, "good morning"),
    said(4.75, "partial", 1, "", "lettuce"),
    said(5.25, "final", 1, "let us begin"),
]


def test_each_words_lag_counts_from_its_true_end_to_its_first_display_and_to_its_stability():
    found = score(lane(), HEARD, began=10.0)

    assert [w.wait for w in found.shown] == [0.25, 0.25, 1.0, 0.75, 0.25]
    assert [w.wait for w in found.stable] == [0.75, 0.5, 1.0, 0.75, 0.25]
    assert [w.spoken_at for w in found.shown] == [11.5, 12.0, 14.25, 14.5, 15.0]
    assert found.text == Text(Errors(words=5), 0, 0)


def test_a_final_is_waited_for_from_the_true_end_of_its_last_word():
    """As Pipecat's stt-benchmark counts: from the end of speech, not from when anybody noticed it."""
    assert score(lane(), HEARD, began=10.0).finals == (Waited(12.0, 0.5), Waited(15.0, 0.25))


def test_a_final_that_came_after_the_next_utterance_began_is_still_that_of_its_own_words():
    late = [said(4.75, "final", 0, "good morning"), said(5.5, "final", 1, "let us begin")]
    assert score(lane(), late, began=0.0).finals == (Waited(2.0, 2.75), Waited(5.0, 0.5))


def test_a_misheard_last_word_does_not_move_its_final():
    heard = [said(2.5, "final", 0, "good mourning"), said(5.5, "final", 1, "let us begin")]
    assert score(lane(), heard, began=0.0).finals[0] == Waited(2.0, 0.5)


def test_an_utterance_that_came_in_no_final_is_missing_if_it_had_three_words():
    """A single word may be misheard altogether; three are lost."""
    nothing = score(lane(), [said(2.5, "final", 0, "good morning")], began=0.0)
    assert (nothing.finals_missing, nothing.utterances) == (1, 2)
    assert nothing.text == Text(Errors(dels=3, words=5), lost=1)
    assert nothing.unheard == ("4.0 s: let us begin",)

    assert score(lane(), [said(5.5, "final", 0, "let us begin")], began=0.0).finals_missing == 0


@pytest.mark.parametrize(("word_end", "unheard"), [(4.75, ()), (4.125, ("4.0 s: let us begin",))])
def test_several_words_that_were_misheard_as_one_are_not_lost(word_end, unheard):
    """Nor does the end of a word before make up for them."""
    words = (TimedWord("good", 1.0, 1.5), TimedWord("morningletter", 1.5, word_end))
    final = Arrival(5.5, Heard(kind="final", utterance=0, stable="good morningletter", words=words))
    found = score(lane(), [final], began=0.0)
    assert (found.text.lost, found.unheard) == (1, unheard)


@pytest.mark.parametrize(
    ("arrivals", "broken"),
    [
        ([said(1, "partial", 0, "a"), said(2, "partial", 0, "a b"), said(3, "final", 0, "a b c")], 0),
        ([said(1, "partial", 0, "a b"), said(2, "partial", 0, "a c")], 1),
        ([said(1, "partial", 0, "a b"), said(2, "final", 0, "a")], 1),
        ([said(1, "final", 0, "a"), said(2, "final", 0, "a b")], 1),
        ([said(1, "partial", 0, "a"), said(2, "preflight", 0, unstable="b")], 1),
        ([said(1, "partial", 0, "a"), said(2, "partial", 1, "b")], 0),
    ],
)
def test_stable_text_may_only_grow_and_ends_with_its_final(arrivals, broken):
    assert stable_violations(arrivals) == broken


def test_words_that_went_away_from_one_display_to_the_next_are_erased():
    """Five words were shown in the end; before, one became another and one became three."""
    found = score(lane(), HEARD, began=0.0)
    assert (found.erased, found.shown_words) == (2, 5)


def test_only_the_preflight_that_the_final_kept_counts_and_from_when_it_was_first_said():
    heard = [
        said(1.625, "preflight", 0, unstable="good morning"),
        said(1.75, "speech_resumed", 0),
        said(2.125, "preflight", 0, unstable="good morning"),
        said(2.25, "preflight", 0, unstable="good morning"),
        said(2.5, "final", 0, "good morning"),
        said(5.125, "preflight", 1, unstable="let us"),
        said(5.25, "final", 1, "let us begin"),
    ]
    assert score(lane(), heard, began=1.0).preflights == (Waited(3.0, 0.125),)


def test_the_reference_is_measured_by_the_same_truth():
    found = score(lane(), HEARD, began=0.0, reference="good morning let begin")
    assert found.reference == Text(Errors(dels=1, words=5))
    assert found.blocks == ((0, 1, 5),)
