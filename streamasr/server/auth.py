"""One signer for every token the server gives away, and what stands in a resume token.

A token says what it is for (its scope) and cannot be made or changed without the key; what it carries can be
read by whoever holds it. Nothing is stored: a token is honoured by every process that has the key.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, Literal

import itsdangerous
import msgspec

from streamasr.core.options import ResumePoint
from streamasr.errors import ResumeLost

Scope = Literal["resume"]
"""What a token is for; one of another scope is not accepted for it."""

TAIL = 200
"""Characters of the text before that a resume token carries, for each channel."""


class Signer:
    """Makes and reads tokens under ``key``; None: a random key, so that tokens hold within this process."""

    def __init__(self, key: bytes | str | None) -> None:
        self._key = secrets.token_bytes(32) if key is None else key

    def sign(self, scope: Scope, payload: dict[str, Any]) -> str:
        """A token of URL-safe characters that carries ``payload`` (JSON values)."""
        return str(self._serializer(scope).dumps(payload))

    def read(self, scope: Scope, token: str) -> dict[str, Any]:
        """The payload of a token of this scope.

        Raises:
            ResumeLost: it was not signed with this key for this scope.
        """
        try:
            payload: dict[str, Any] = self._serializer(scope).loads(token)
        except itsdangerous.BadData as error:
            raise ResumeLost("the resume token is not from this server; start a new session", field="resume") from error
        return payload

    def _serializer(self, scope: Scope) -> itsdangerous.URLSafeSerializer:
        return itsdangerous.URLSafeSerializer(
            self._key,
            salt=f"streamasr.{scope}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )


class _Point(msgspec.Struct, array_like=True, frozen=True):
    sample: int
    utterance: int
    language: str | None
    tail: str


class _Resume(msgspec.Struct, frozen=True):
    session: str
    points: tuple[_Point, ...]


def resume_token(signer: Signer, session: str, points: Sequence[ResumePoint]) -> str:
    """A token with which ``session`` goes on at ``points`` (one for each channel) after a reconnect.

    The stable text of the open utterance is not in it: the client sends that beside the token.
    """
    kept = tuple(_Point(p.sample, p.utterance, p.language, p.tail[-TAIL:]) for p in points)
    return signer.sign("resume", msgspec.to_builtins(_Resume(session, kept)))


def read_resume(signer: Signer, token: str) -> tuple[str, tuple[ResumePoint, ...]]:
    """The session and the points of a resume token.

    Raises:
        ResumeLost: the token is not ours, or of a form this version does not know.
    """
    try:
        resume = msgspec.convert(signer.read("resume", token), _Resume)
    except msgspec.ValidationError as error:
        raise ResumeLost("the resume token is of another version; start a new session", field="resume") from error
    points = (
        ResumePoint(sample=p.sample, utterance=p.utterance, language=p.language, tail=p.tail) for p in resume.points
    )
    return resume.session, tuple(points)
