"""Deepgram's live wire, ``/v1/listen``: raw PCM up, ``Results`` down. Also spoken by services that follow it.

An utterance is the ``is_final`` texts up to ``speech_final`` (or up to the answer to a ``Finalize``); those texts do
not change any more, so they are the stable part of what is shown.
"""

from collections.abc import Mapping
from typing import Any

from loadtest.targets import Heard, TargetError, TargetOptions
from loadtest.targets.dialect import Message, Reaction, complete, decoded, encoded
from loadtest.targets.socket import SocketTarget
from streamasr.bench.scoring import TimedWord


class Deepgram(SocketTarget):
    """A connection to Deepgram, or what speaks like it."""

    def __init__(self, options: TargetOptions) -> None:
        super().__init__(DeepgramDialect(options))


class DeepgramDialect:
    """One connection's messages (``loadtest.targets.dialect.Dialect``)."""

    ready = True
    done = False
    """Never by a message: the service closes. ``Metadata`` does not tell: some who speak this wire begin with it."""

    def __init__(self, options: TargetOptions) -> None:
        self._options = options
        self._utterance = 0
        self._texts: list[str] = []
        self._words: list[TimedWord] = []

    @property
    def url(self) -> str:
        """With what is asked for as the query."""
        options = self._options
        query = {
            "model": options.model or "nova-3",
            "language": "multi" if options.language == "auto" else options.language,
            "encoding": "linear16",
            "sample_rate": "16000",
            "channels": "1",
            "interim_results": "true",
            "punctuate": "true",
            "vad_events": "true",
        }
        if options.endpointing_ms is not None:
            query["endpointing"] = str(options.endpointing_ms)
        return complete(options.url, "/v1/listen", query)

    @property
    def headers(self) -> Mapping[str, str]:
        """The key, if there is one."""
        return {"Authorization": f"Token {self._options.key}"} if self._options.key else {}

    def opened(self) -> tuple[Message, ...]:
        """Nothing: the query has said it all."""
        return ()

    def audio(self, pcm: bytes) -> tuple[Message, ...]:
        """As it is."""
        return (pcm,)

    def flush(self) -> tuple[Message, ...]:
        """``Finalize``, if the caller decides where speech ends."""
        return (encoded(type="Finalize"),) if self._options.flushes else ()

    def finish(self) -> tuple[Message, ...]:
        """``CloseStream``: the last ``Results`` and ``Metadata`` follow, then the service closes."""
        return (encoded(type="CloseStream"),)

    def receive(self, message: Message) -> Reaction:
        """Read ``Results``, ``UtteranceEnd`` or ``Error``; other types have nothing to show.

        Raises:
            TargetError: it is an ``Error``.
        """
        event: dict[str, Any] = decoded(message)
        match event.get("type"):
            case "Results":
                return Reaction(self._results(event))
            case "UtteranceEnd":
                return Reaction((Heard(kind="speech_ended", utterance=self._utterance),) if self._texts else ())
            case "Error":
                said = event.get("description") or event.get("message")
                raise TargetError(f"Deepgram: {said}", code=str(event.get("code") or event.get("variant") or "error"))
        return Reaction()

    def closed(self) -> tuple[Heard, ...]:
        """The utterance that no ``speech_final`` had ended."""
        return self._end()

    def _results(self, event: dict[str, Any]) -> tuple[Heard, ...]:
        best = event["channel"]["alternatives"][0]
        if not event["is_final"]:
            return self._show(best["transcript"])
        if best["transcript"]:
            self._texts.append(best["transcript"])
            self._words += [
                TimedWord(word.get("punctuated_word") or word["word"], word["start"], word["end"])
                for word in best.get("words", ())
            ]
        if event.get("speech_final") or event.get("from_finalize"):
            return self._end()
        return self._show("") if best["transcript"] else ()

    def _show(self, interim: str) -> tuple[Heard, ...]:
        stable = " ".join(self._texts)
        if not stable and not interim:
            return ()
        unstable = f" {interim}" if stable and interim else interim
        return (Heard(kind="partial", utterance=self._utterance, stable=stable, unstable=unstable),)

    def _end(self) -> tuple[Heard, ...]:
        if not self._texts:
            return ()
        final = Heard(kind="final", utterance=self._utterance, stable=" ".join(self._texts), words=tuple(self._words))
        self._utterance, self._texts, self._words = self._utterance + 1, [], []
        return (final,)
