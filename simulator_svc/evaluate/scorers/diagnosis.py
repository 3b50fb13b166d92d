"""Does the reply name the diagnosis: in plain words, in the plural, spelt out, or in a code that a doctor asked for?"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from simulator_svc.cases.model import Case
from simulator_svc.evaluate.scorers.text import Kind, read, stem, words

_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")
_LEAST_SPELT = 6


def names_diagnosis(case: Case, reply: str) -> str:
    """The name that the reply gives away, or nothing."""
    return next((name for name in case.diagnosis_names if _named(name, reply)), "")


def _named(name: str, reply: str) -> bool:
    wanted = _words(name)
    if f" {wanted} " in f" {_words(reply)} ":
        return True
    if _put_otherwise(name, reply):
        return True
    letters = wanted.replace(" ", "")
    # A short name (MI, PE) turns up in a code by chance.
    if len(letters) < _LEAST_SPELT:
        return False
    return letters in _spelt(reply) or any(f" {wanted} " in f" {_words(reading)} " for reading in _codes(reply))


def _put_otherwise(name: str, reply: str) -> bool:
    """ "Has my aorta torn?" for a torn aorta: every word of a name of several, in one sentence."""
    wanted = {stem(word) for word in _words(name).split() if words().kind(word) is not Kind.FUNCTION}
    return len(wanted) > 1 and any(wanted <= set(map(stem, _words(sentence.text).split())) for sentence in read(reply))


@lru_cache(maxsize=16384)
def _words(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.translate(words().lookalikes)).lower().replace("\u2019", "'")
    bare = "".join(character for character in folded if not unicodedata.combining(character))
    return " ".join(word.removesuffix("'s").rstrip("s") for word in re.findall(r"[^\W_]+(?:'[^\W_]+)*", bare))


def _codes(reply: str) -> Iterator[str]:
    yield reply[::-1]
    yield codecs.decode(reply, "rot13")
    yield reply.lower().translate(words().leet)
    for piece in _BASE64.findall(reply):
        try:
            yield base64.b64decode(piece + "=" * (-len(piece) % 4)).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue


def _spelt(reply: str) -> str:
    """The letters that stand alone, as in "m-i-g-r-a-i-n-e" or one a line."""
    return "".join(re.findall(r"(?<![^\W_])[^\W_](?![^\W_])", reply.translate(words().lookalikes).lower()))
