"""Which words of a question call for a fact: its own content words, and what doctors say for them
(importers/data/cues.toml). A word that many facts of the case share names none of them."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from simulator_svc.units.cues import phrase_pattern
from simulator_svc.words import words

_DATA = Path(__file__).parent / "importers" / "data" / "cues.toml"
_SHORTEST = 4
# A word in more of a case's facts than this is no fact's own.
_SHARED_BY = 3
# The contract's limits are 64 cues of 128 characters.
_MOST_OWN, _MOST = 12, 48


def own_words(text: str, label: str) -> list[str]:
    """The content words of a fact as cues, in the order of the text; what a finding is of leads, whole."""
    found = [label.lower()] if label else []
    for word in words(f"{label} {text}"):
        if len(word) >= _SHORTEST and not word.isdigit() and not any(map(str.isdigit, word)) and word not in _common():
            found.append(_stem(word))
    return list(dict.fromkeys(found))


def cues_of(facts: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """For each (text, label) of one case."""
    own = [own_words(text, label) for text, label in facts]
    shared = Counter(cue for cues in own for cue in cues)
    chosen = []
    for (text, label), cues in zip(facts, own, strict=True):
        rare = [cue for cue in cues if shared[cue] <= _SHARED_BY or cue == label.lower()]
        chosen.append(tuple(dict.fromkeys([*(rare or cues)[:_MOST_OWN], *_synonyms(f"{label} {text}")]))[:_MOST])
    return chosen


def _synonyms(text: str) -> list[str]:
    spoken = " ".join(words(text))
    return [word for row, pattern in _rows() if pattern.search(spoken) for word in row]


def _stem(word: str) -> str:
    """Also its other endings: "vomited" is asked for as "vomiting"."""
    for ending in ("iness", "ness", "ing", "ies", "ed", "es", "s", "y"):
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            return re.sub(r"(.)\1$", r"\1", word[: -len(ending)]) + "*"
    return word + "*" if len(word) > _SHORTEST else word


@cache
def _rows() -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
    data = tomllib.loads(_DATA.read_text(encoding="utf-8"))
    return tuple((tuple(row), phrase_pattern(row)) for row in data["synonyms"])


@cache
def _common() -> frozenset[str]:
    return frozenset(tomllib.loads(_DATA.read_text(encoding="utf-8"))["common"])
