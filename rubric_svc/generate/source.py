"""What a rubric is generated from: a case, a knowledge item or a scenario told in words.

Invariant: whatever it is, the rules and the library see a case. A knowledge item and a scenario become one of nothing
but statements, under a name made of their text; a knowledge item's statements are criteria as well.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from rubric_svc.judge.text import plain, sentences, words
from rubric_svc.model import Case, Category, Criterion, Dimension, Fact

_MOST_STATEMENTS = 5
_FEWEST_WORDS = 5
_STATEMENT_POINTS = 3
_LONGEST = 240


@dataclass(frozen=True, slots=True)
class Knowledge:
    """A statement of a textbook or guideline, that a doctor who is asked should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """A patient told in words."""

    text: str


Source = Case | Knowledge | Scenario


def as_case(source: Source) -> Case:
    if isinstance(source, Case):
        return source
    kind = type(source).__name__.lower()
    name = f"{kind}.{hashlib.sha256(source.text.encode()).hexdigest()[:12]}"
    statements = sentences(plain(source.text))
    facts = (Fact(f"s{n}", Category.CHIEF_COMPLAINT, s.text) for n, s in enumerate(statements, start=1))
    return Case(name, tuple(facts))


def grounded(source: Source) -> list[Criterion]:
    """What follows from the source by rule, beyond what generator.py makes of a case's facts."""
    if not isinstance(source, Knowledge):
        return []
    stated = [s.text for s in sentences(plain(source.text)) if not s.marked and len(words(s.text)) >= _FEWEST_WORDS]
    return [
        Criterion(
            f"knows.{number}",
            f"Says, in words of its own: {text[:_LONGEST]}",
            _STATEMENT_POINTS,
            Dimension.EVIDENCE,
            ("grounded",),
        )
        for number, text in enumerate(stated[:_MOST_STATEMENTS], start=1)
    ]


def described(source: Source) -> str:
    """For the model's prompt; the diagnosis is told, since the rubric may ask for it."""
    if not isinstance(source, Case):
        return source.text
    lines = [fact.text for fact in source.facts if fact.category is not Category.DIFFERENTIAL]
    return "Patient: " + " ".join(lines)
