"""A line of somebody's text to a sentence that every synthesiser reads as it is written, or to nothing."""

import re
import unicodedata

from training.text.sentence import Sentence, plain

ALLOWED = {
    "en": re.compile(r"[A-Za-z.,?!' ]+"),
    "de": re.compile(r"[A-Za-zÄÖÜäöüß.,?! ]+"),
    "es": re.compile(r"[A-Za-zÁÉÍÓÚÜÑáéíóúüñ¿¡.,?! ]+"),
}
WORDS = range(2, 15)
LONGEST_WORD = 16

QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "-": " "})
DROPPED = re.compile(r"[\"“”„«»()\[\]*_]")
DASH = re.compile(r"\s*(--+|[–—;:]|\.\.+|…)\s*")
QUOTING = re.compile(r"(?<!\S)'+|'+(?=[\s,.?!]|$)")
ACRONYM = re.compile(r"\b[A-Z]{2,}\b|\b[A-Z]\.|\b(Mr|Mrs|Dr|St|Ms|Jr|Sr|vs|etc)\b")
"""Synthesisers disagree on how to read these."""


def clean(line: str, language: str) -> Sentence | None:
    """The line with plain punctuation, or None if it cannot be used.

    Used are 2 to 14 words of the language's letters. Figures are not: how they are read depends on the voice
    (the templates write them beside their spoken form).
    """
    text = DASH.sub(", ", DROPPED.sub("", unicodedata.normalize("NFC", line).translate(QUOTES)))
    text = QUOTING.sub("", text) if language == "en" else text.replace("'", "")
    text = re.sub(r"\s+([.,?!])", r"\1", text.replace("&", " and "))
    text = re.sub(r"([.,?!])[.,]+", r"\1", text)
    text = re.sub(r"([,.?!])(?=[^\W\d_])", r"\1 ", text)
    text = " ".join(text.split()).lstrip(" ,.?!").rstrip(" ,")
    text = text[:1].upper() + (text[1:] if text.endswith((".", "?", "!")) else text[1:] + ".")
    words = text.split()
    if len(words) not in WORDS or max(map(len, words)) > LONGEST_WORD:
        return None
    if not ALLOWED[language].fullmatch(text) or ACRONYM.search(text):
        return None
    return Sentence(language, tuple(plain(text)))
