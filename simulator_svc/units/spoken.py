"""A turn of the doctor as it is heard: sentences and their parts, without what sound does not carry."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from simulator_svc.words import split_sentences, words

_QUOTED = re.compile(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d")
# "You've had it before, haven't you." asks, whatever its stop.
_TAG = re.compile(r", (?:have|are|did|were|had)n't you$", re.IGNORECASE)
# Where one statement ends and the next begins within a sentence.
_SEGMENT = re.compile(
    r"[;:()\u2013\u2014]|\s-+\s|->|,?\s\b(?:but|so that|so|because|although|though|while|whereas)\b\s"
    r"|,?\sand\s(?=(?:i|we|you|it|that|this|they|he|she|there)(?:'|\s))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """Lower case, no punctuation, no accents: "Ménière's, isn't it?" is heard as "meniere's isn't it"."""

    question: bool
    # Each segment as its comma-separated parts, none of them empty.
    segments: tuple[tuple[str, ...], ...]

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(part for segment in self.segments for part in segment)

    @property
    def text(self) -> str:
        return " ".join(self.parts)


def heard(turn: str) -> list[Sentence]:
    """What stands in quotation marks is somebody else's word, and is left out."""
    return [
        Sentence(_asks(sentence), segments)
        for sentence in split_sentences(_QUOTED.sub(" ", _plain(turn)))
        if (segments := _segments(sentence))
    ]


def _asks(sentence: str) -> bool:
    bare = sentence.rstrip(" \"'")
    return bare.endswith("?") or bool(_TAG.search(bare.rstrip(".!")))


def heard_words(text: str) -> str:
    return " ".join(words(_plain(text)))


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.replace("\u2019", "'").replace("\u2018", "'"))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _segments(sentence: str) -> tuple[tuple[str, ...], ...]:
    split = ([" ".join(words(part)) for part in segment.split(",")] for segment in _SEGMENT.split(sentence))
    segments = (tuple(part for part in parts if part) for parts in split)
    return tuple(segment for segment in segments if segment)
