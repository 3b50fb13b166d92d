"""What a sentence speaks of: medical topics, by the words and phrases of units/data/topics.toml.

A question and a fact meet where they speak of the same topics, whichever words each of them uses, so a fact needs no
cues of its own to be found. The table is data that a clinician can read and correct.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

_TOPICS = Path(__file__).parent / "data" / "topics.toml"
# Shorter words have too many neighbours: "tough" is no misspelt cough.
_LEAST_LETTERS = 6
# The slips of a word are some sixty times its letters; no word of the table is longer.
_MOST_LETTERS = 24


class Kind(StrEnum):
    SYMPTOM = "symptom"
    PART = "part"
    CONDITION = "condition"
    HABIT = "habit"
    MEDICINE = "medicine"
    PROBE = "probe"
    EXAM = "exam"
    LAB = "lab"


HISTORY = (Kind.SYMPTOM, Kind.PART, Kind.CONDITION, Kind.HABIT, Kind.MEDICINE)
PROBES = (Kind.PROBE, Kind.EXAM, Kind.LAB)
PAIN = "pain"


@dataclass(frozen=True, slots=True)
class _Phrase:
    rest: tuple[str, ...]
    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class Topics:
    """The phrases of some kinds, by their first word; `*` words by their first two letters."""

    whole: dict[str, list[_Phrase]]
    begun: dict[str, list[tuple[str, _Phrase]]]
    kinds: dict[str, Kind]
    vocabulary: frozenset[str]

    def of(self, spoken: str) -> frozenset[str]:
        """The topics of bare words."""
        return frozenset().union(*(topics for _, topics in self.spans(spoken)))

    def spans(self, spoken: str) -> list[tuple[tuple[int, int], frozenset[str]]]:
        """Where the words speak of which topics. At each place the longest phrase counts, and its words count once."""
        found: list[tuple[tuple[int, int], frozenset[str]]] = []
        tokens = spoken.split()
        index = begin = 0
        while index < len(tokens):
            length, topics = self._at(tokens, index)
            taken = tokens[index : index + max(1, length)]
            end = begin + sum(map(len, taken)) + len(taken) - 1
            if length:
                found.append(((begin, end), topics))
            index, begin = index + len(taken), end + 1
        return found

    def _at(self, tokens: list[str], index: int) -> tuple[int, frozenset[str]]:
        first = tokens[index]
        phrases = [*self.whole.get(first, ())]
        phrases += [phrase for begin, phrase in self.begun.get(first[:2], ()) if first.startswith(begin)]
        best: tuple[int, frozenset[str]] = (0, frozenset())
        for phrase in phrases:
            length = 1 + len(phrase.rest)
            if length > best[0] and _follows(tokens[index + 1 : index + length], phrase.rest):
                best = (length, phrase.topics)
            elif length == best[0] and _follows(tokens[index + 1 : index + length], phrase.rest):
                best = (length, best[1] | phrase.topics)
        return best

    def parts(self, topics: Iterable[str]) -> frozenset[str]:
        """The parts of the body among them, with the larger parts that they belong to."""
        parts = {topic for topic in topics if self.kinds.get(topic) is Kind.PART}
        for part in tuple(parts):
            while (larger := _within().get(part)) and larger not in parts:
                parts.add(larger)
                part = larger
        return frozenset(parts)

    def corrected(self, word: str) -> str:
        """The word of the table that is one slip of the keyboard away, or the word itself."""
        if not _LEAST_LETTERS <= len(word) <= _MOST_LETTERS or word in self.vocabulary:
            return word
        return _corrected(self.vocabulary, word)


def _follows(tokens: list[str], rest: tuple[str, ...]) -> bool:
    return len(tokens) == len(rest) and all(
        token.startswith(wanted[:-1]) if wanted.endswith("*") else token == wanted
        for token, wanted in zip(tokens, rest, strict=True)
    )


@cache
def _data() -> dict[str, dict[str, Any]]:
    data: dict[str, dict[str, Any]] = tomllib.loads(_TOPICS.read_text(encoding="utf-8"))
    return data


@cache
def _within() -> dict[str, str]:
    return {smaller: str(larger) for smaller, larger in _data()["within"].items()}


def otherwise(topics: frozenset[str]) -> frozenset[str]:
    """The topics that answer instead of these, where nothing speaks of them."""
    return frozenset(str(_data()["otherwise"].get(topic, topic)) for topic in topics)


@cache
def topics_of(kinds: tuple[Kind, ...]) -> Topics:
    whole: dict[str, list[_Phrase]] = {}
    begun: dict[str, list[tuple[str, _Phrase]]] = {}
    by_name: dict[str, Kind] = {}
    vocabulary: set[str] = set()
    for kind in kinds:
        for names, phrases in _data()[kind].items():
            topics = frozenset(names.split())
            for name in topics:
                # "chest pain" makes no symptom of the chest, which is a part of the body by itself.
                if len(topics) == 1 or name not in by_name:
                    by_name[name] = kind
            for phrase in phrases:
                first, *rest = phrase.split()
                known = _Phrase(tuple(rest), topics)
                vocabulary |= {word.rstrip("*") for word in (first, *rest)}
                if first.endswith("*"):
                    begun.setdefault(first[:2], []).append((first[:-1], known))
                else:
                    whole.setdefault(first, []).append(known)
    return Topics(whole, begun, by_name, frozenset(vocabulary))


@lru_cache(maxsize=4096)
def _corrected(vocabulary: frozenset[str], word: str) -> str:
    near = _one_slip(word) & vocabulary
    return next(iter(near)) if len(near) == 1 else word


def _one_slip(word: str) -> frozenset[str]:
    """One letter lost, doubled, wrong or swapped; the first one is right."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    cuts = [(word[:i], word[i:]) for i in range(1, len(word) + 1)]
    lost = {a + letter + b for a, b in cuts for letter in letters}
    more = {a + b[1:] for a, b in cuts if b}
    wrong = {a + letter + b[1:] for a, b in cuts if b for letter in letters}
    swapped = {a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1}
    return frozenset(lost | more | wrong | swapped) - {word}


_SPELLINGS = (
    (re.compile("aem"), "em"),
    (re.compile("aec"), "ec"),
    (re.compile("aed"), "ed"),
    (re.compile("oea"), "ea"),
    (re.compile("oed"), "ed"),
    (re.compile("oeso"), "eso"),
    (re.compile("pnoea"), "pnea"),
    (re.compile("our$"), "or"),
    (re.compile("ise(d|s)?$"), r"ize\1"),
)


@lru_cache(maxsize=8192)
def one_spelling(word: str) -> str:
    """British and American words alike, in the singular: for comparison, never to be read."""
    for british, american in _SPELLINGS:
        word = british.sub(american, word)
    if len(word) > 4 and word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    return word
