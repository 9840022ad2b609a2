import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamasr.core.options import ResumePoint
from streamasr.errors import ResumeLost
from streamasr.server.auth import TAIL, Signer, read_resume, resume_token

KEY = "a key of sixteen or more characters"
POINTS = (
    ResumePoint(sample=32_960, utterance=1, language="en", tail="Good morning, everyone."),
    ResumePoint(),
)

points = st.builds(
    ResumePoint,
    sample=st.integers(0, 2**53),
    utterance=st.integers(0, 2**31),
    language=st.none() | st.sampled_from(["en", "haw"]),
    tail=st.text(max_size=TAIL),
)


@given(st.text(max_size=40), st.lists(points, min_size=1, max_size=8))
def test_a_token_carries_session_and_points(session, given_points):
    signer = Signer(KEY)

    assert read_resume(signer, resume_token(signer, session, given_points)) == (session, tuple(given_points))


def test_a_token_holds_wherever_the_key_is_known():
    token = resume_token(Signer(KEY), "s1", POINTS)

    assert read_resume(Signer(KEY.encode()), token) == ("s1", POINTS)


def test_without_a_key_a_token_holds_for_its_signer_only():
    signer = Signer(None)
    token = resume_token(signer, "s1", POINTS)

    assert read_resume(signer, token) == ("s1", POINTS)
    with pytest.raises(ResumeLost):
        read_resume(Signer(None), token)


def test_the_open_utterance_is_not_in_a_token_and_the_tail_is_cut():
    point = ResumePoint(sample=5, tail="x" * 150 + "y" * TAIL, stable="shown", stable_end=9)
    signer = Signer(KEY)

    _, (read,) = read_resume(signer, resume_token(signer, "s1", [point]))

    assert read == ResumePoint(sample=5, tail="y" * TAIL)


def test_a_token_is_short_and_fits_a_query():
    token = resume_token(Signer(KEY), "9f3b6c0de8a14257", POINTS[:1])

    assert re.fullmatch(r"[A-Za-z0-9_.-]{60,180}", token)


@pytest.mark.parametrize(
    "spoil", [lambda t: t[:-1], lambda t: "x" + t, lambda t: t.replace(".", ""), lambda _: "", lambda _: "ё.ё"]
)
def test_a_spoilt_token_is_resume_lost(spoil):
    signer = Signer(KEY)

    with pytest.raises(ResumeLost) as caught:
        read_resume(signer, spoil(resume_token(signer, "s1", POINTS)))

    assert caught.value.field == "resume"


@given(st.text(max_size=60))
def test_any_other_text_is_resume_lost(token):
    with pytest.raises(ResumeLost):
        read_resume(Signer(KEY), token)


def test_a_token_for_something_else_is_resume_lost():
    signer = Signer(KEY)
    stolen = signer.sign("view", {"session": "s1", "points": [[0, 0, None, ""]]})  # type: ignore[arg-type]

    with pytest.raises(ResumeLost):
        read_resume(signer, stolen)


@pytest.mark.parametrize("payload", [{}, {"session": "s1"}, {"session": "s1", "points": [[0]]}, []])
def test_a_token_of_another_version_is_resume_lost(payload):
    signer = Signer(KEY)

    with pytest.raises(ResumeLost, match="another version"):
        read_resume(signer, signer.sign("resume", payload))
