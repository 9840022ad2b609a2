"""What ``streamasr serve`` prints when it is ready."""

from streamasr.commands.serve import welcome


def test_the_model_is_named_once_with_why_auto_took_it():
    text = welcome("tiny", "one stream is predicted to keep this CPU 30% busy", "", "127.0.0.1:8765")
    first, second = text.splitlines()[:2]
    assert first.endswith("is ready, with the model tiny")
    assert second == "  auto took it: one stream is predicted to keep this CPU 30% busy"
    assert text.count("tiny") == 1


def test_a_model_in_anothers_place_is_told_without_the_others_reason():
    text = welcome("nano", "", "running nano instead of tiny, since the hub is silent", "127.0.0.1:8765")
    assert "auto took it" not in text
    assert "  Note: running nano instead of tiny, since the hub is silent" in text
