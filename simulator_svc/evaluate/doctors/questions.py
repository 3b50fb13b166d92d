"""Questions labelled with the facts that they call for, for any case. The rule stands in data/questions.toml.

The labels come from the facts' clinical statements and from nothing that the patient's own matching reads (no cues, no
spoken words), so that a question which the patient misunderstands counts against the patient.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simulator_svc.cases.model import Case, Category, Disclosure, Fact
from simulator_svc.evaluate.doctors.base import Question

_QUESTIONS = Path(__file__).parent.parent / "data" / "questions.toml"
# What "history" stands for: what the patient feels or has noticed.
_HISTORY = frozenset(
    {
        Category.CHIEF_COMPLAINT, Category.ONSET, Category.CHARACTER, Category.TIMING, Category.SEVERITY,
        Category.AGGRAVATING, Category.ASSOCIATED, Category.REVIEW_OF_SYSTEMS, Category.RED_FLAG,
    }
)  # fmt: skip
_PROBED = frozenset({Category.EXAMINATION, Category.TEST})


@dataclass(frozen=True, slots=True)
class _Template:
    about: str
    questions: tuple[str, ...]
    # None: a category's own template.
    words: re.Pattern[str] | None
    beside: re.Pattern[str] | None
    within: frozenset[Category]
    also: frozenset[Category]
    open: bool
    ordered: bool

    def question(self, case: Case, text: str) -> Question | None:
        """None where the case has nothing that it calls for."""
        sayable = [fact for fact in case.facts if self._sayable(fact)]
        named = [fact for fact in sayable if self.words is None or self.words.search(fact.text.lower())]
        called = _ids(fact for fact in named if fact.category in self.within)
        if not called:
            return None
        also = _ids(fact for fact in sayable if fact.category in self.also)
        if self.beside:
            also |= _ids(fact for fact in sayable if self.beside.search(fact.text.lower()))
        # Which of several facts that speak of a thing a question about it means, no rule can tell.
        several = self.words is not None and len(called) > 1
        return Question(text, called, called | also, self.open or several, self.about)

    def _sayable(self, fact: Fact) -> bool:
        if fact.disclosure is Disclosure.NEVER:
            return False
        return self.ordered or (fact.disclosure is not Disclosure.ON_EXAMINATION and fact.category not in _PROBED)


def questions(case: Case) -> Iterator[list[Question]]:
    """For each category and topic that the case can answer: its phrasings, each labelled."""
    for template in _templates():
        found = [template.question(case, text) for text in template.questions]
        if labelled := [question for question in found if question is not None]:
            yield labelled


@cache
def _templates() -> tuple[_Template, ...]:
    data: dict[str, Any] = tomllib.loads(_QUESTIONS.read_text(encoding="utf-8"))
    categories = [
        _Template(
            about=name,
            questions=tuple(row["questions"]),
            words=None,
            beside=_any_of(row["beside"]) if "beside" in row else None,
            within=frozenset({Category(name)}),
            also=frozenset(map(Category, row.get("also", ()))),
            open=row.get("open", False),
            ordered=row.get("ordered", False),
        )
        for name, row in data["categories"].items()
    ]
    topics = [
        _Template(
            about=row["name"],
            questions=tuple(row["questions"]),
            words=_any_of(row["words"]),
            beside=_any_of([*row["words"], *row.get("beside", ())]),
            within=frozenset().union(*map(_within, row.get("within", ["history"]))),
            also=frozenset(),
            open=row.get("open", False),
            ordered=row.get("ordered", False),
        )
        for row in data["topics"]
    ]
    return (*categories, *topics)


def _within(name: str) -> frozenset[Category]:
    return _HISTORY if name == "history" else frozenset({Category(name)})


def _any_of(listed: Iterable[str]) -> re.Pattern[str]:
    parts = "|".join(re.escape(word).replace(r"\*", r"\w*") for word in listed)
    return re.compile(rf"(?<!\w)(?:{parts})(?!\w)")


def _ids(facts: Iterable[Fact]) -> frozenset[str]:
    return frozenset(fact.fact_id for fact in facts)
