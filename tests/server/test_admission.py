"""Who is let in, from values."""

import pytest

from streamasr.server.admission import admit


@pytest.mark.parametrize(
    ("open_sessions", "max_sessions", "ready", "draining", "why"),
    [
        (0, None, True, False, None),
        (10_000, None, True, False, None),
        (3, 4, True, False, None),
        (4, 4, True, False, "all 4 sessions are taken"),
        (5, 4, True, False, "all 4 sessions are taken"),
        (0, None, False, False, "the model is being loaded"),
        (0, None, True, True, "the server is shutting down"),
        (9, 4, False, True, "the server is shutting down"),
    ],
)
def test_a_session_is_admitted_or_refused_with_a_reason(open_sessions, max_sessions, ready, draining, why):
    refused = admit(open_sessions=open_sessions, max_sessions=max_sessions, ready=ready, draining=draining)

    assert (refused and refused.message) == why
    assert refused is None or refused.retry_after_s > 0
