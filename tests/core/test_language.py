"""Which language an utterance is in, from the model's probabilities."""

import pytest

from streamasr.core.language import choose_language


def test_the_likeliest_language_is_chosen():
    assert choose_language({"en": 0.125, "de": 0.75, "es": 0.125}, (), None) == ("de", 0.75)


def test_only_candidates_count_and_share_the_probability():
    assert choose_language({"en": 0.375, "de": 0.5, "es": 0.125}, ("en", "es"), None) == ("en", 0.75)


def test_candidates_the_model_does_not_know_are_no_candidates():
    assert choose_language({"en": 0.4, "de": 0.6}, ("xx",), None) == ("de", 0.6)


def test_in_doubt_the_language_of_the_last_utterance_stays():
    """Up to 0.6, as a share of the candidates."""
    assert choose_language({"en": 0.41, "de": 0.59}, (), "en") == ("en", 0.41)
    assert choose_language({"en": 0.4, "de": 0.6}, (), "en") == ("de", 0.6)


def test_a_last_language_that_is_no_candidate_does_not_stay():
    assert choose_language({"en": 0.5, "de": 0.3, "es": 0.2}, ("de", "es"), "en") == ("de", 0.6)


def test_without_probabilities_nothing_is_divided_by_zero():
    assert choose_language({"en": 0.0, "de": 0.0}, ("en", "de"), None)[1] == 0.0


def test_a_model_that_tells_no_language_is_said_to():
    with pytest.raises(ValueError, match="gave no language a probability"):
        choose_language({}, ("en",), "en")
