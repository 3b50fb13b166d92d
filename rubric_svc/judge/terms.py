"""The small language in which term lists are written, so that a clinician can read and correct them.

    start                the word, and its regular inflections (starts, started, starting)
    take/taking          one or the other
    how long ... had     up to five words in between
    *itis   dizz*        any beginning, any ending
Upper and lower case are one; a hyphen is a space; terms match whole words only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

_GAP = r"(?:\W+[\w']+){0,5}?\W+"
_SPACE = r"[\s,\-]+"
_VOWELS = "aeiou"
_SHORTEST_INFLECTED = 4
_SHORTEST_PLURAL = 3


@lru_cache(maxsize=32768)
def compile_term(term: str) -> re.Pattern[str]:
    tokens = term.lower().replace("-", " ").split()
    if not tokens or not re.search(r"\w", term):
        raise ValueError(f"{term!r} is no term")
    pattern, joint = "", ""
    for token in tokens:
        if token == "...":
            joint = _GAP
            continue
        pattern += joint + "(?:" + "|".join(_word(word) for word in token.split("/") if word) + ")"
        joint = _SPACE
    return re.compile(rf"(?<![\w]){pattern}(?![\w])", re.I)


def _word(word: str) -> str:
    if "*" in word:
        return r"[\w']*".join(re.escape(part) for part in word.split("*"))
    if len(word) < _SHORTEST_PLURAL or not word.isalpha():
        return re.escape(word)
    if len(word) < _SHORTEST_INFLECTED:
        return word + "s?"
    forms = {word, word + "s", word + "es", word + "ed", word + "ing"}
    if word.endswith("e"):
        forms |= {word + "d", word[:-1] + "ing"}
    if word.endswith("y") and word[-2] not in _VOWELS:
        forms |= {word[:-1] + "ies", word[:-1] + "ied"}
    if word[-1] not in _VOWELS + "wxy" and word[-2] in _VOWELS and word[-3] not in _VOWELS:
        forms |= {word + word[-1] + "ed", word + word[-1] + "ing"}
    return "|".join(sorted(forms, key=lambda form: (-len(form), form)))


def occurrences(terms: Sequence[str], text: str) -> Iterator[re.Match[str]]:
    """Of any term, in the order of the terms."""
    for term in terms:
        yield from compile_term(term).finditer(text)


def first(terms: Sequence[str], text: str) -> re.Match[str] | None:
    """The leftmost."""
    return min(occurrences(terms, text), key=lambda match: match.start(), default=None)
