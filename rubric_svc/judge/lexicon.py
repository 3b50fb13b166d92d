"""The term lists of lexicon/*.toml: what asks about each topic of a history, and the phrases of each behaviour.

Invariant: what is loaded compiles; a list that a criterion names (`@onset`, `@empathy`) is there, or loading fails.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rubric_svc.judge.terms import compile_term

DIRECTORY = Path(__file__).parent.parent / "lexicon"


@dataclass(frozen=True, slots=True)
class TermList:
    """`unless` are words that turn the same phrase into something else: "how long have you lived here"."""

    name: str
    terms: tuple[str, ...]
    unless: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lexicon:
    topics: dict[str, TermList]
    phrases: dict[str, TermList]

    def get(self, name: str) -> TermList:
        return self.topics.get(name) or self.phrases[name]

    def __contains__(self, name: str) -> bool:
        return name in self.topics or name in self.phrases


def load(directory: Path) -> Lexicon:
    topics = _read(directory / "topics.toml")
    phrases = _read(directory / "phrases.toml")
    if both := topics.keys() & phrases.keys():
        raise ValueError(f"{sorted(both)} stand in topics.toml and in phrases.toml")
    return Lexicon(topics, phrases)


def _read(file: Path) -> dict[str, TermList]:
    lists = {}
    for name, table in tomllib.loads(file.read_text(encoding="utf-8")).items():
        if unknown := table.keys() - {"terms", "unless"}:
            raise ValueError(f"{file.name}: {name}: {sorted(unknown)} is not a field")
        found = TermList(name, tuple(table["terms"]), tuple(table.get("unless", ())))
        for term in (*found.terms, *found.unless):
            try:
                compile_term(term)
            except ValueError as error:
                raise ValueError(f"{file.name}: {name}: {error}") from error
        lists[name] = found
    return lists


@cache
def built_in() -> Lexicon:
    return load(DIRECTORY)
