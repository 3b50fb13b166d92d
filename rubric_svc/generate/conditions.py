"""Why a criterion may join a rubric: who the patient is, what the case holds, what was said so far.

Invariant: a function of case, persona and dialogue. Each condition that is looked up by words has its row in
criteria/conditions.toml, where a clinician can read and correct it; a row too many or too few is refused when loaded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from rubric_svc.judge.matchers.base import phrases
from rubric_svc.judge.terms import compile_term, first
from rubric_svc.judge.text import plain, sentences, words
from rubric_svc.model import Case, Category, Dialogue, Emotion, Fact, Level, Persona, Sex, Speaker

FILE = Path(__file__).parent.parent / "criteria" / "conditions.toml"
_DENIALS = ("no ", "not ", "none", "never ", "without ")
_CHILD_UNDER = 16
_ELDERLY_FROM = 70
_CHILDBEARING = range(12, 51)


class Condition(StrEnum):
    # Of the persona.
    ANXIOUS = "anxious"
    IRRITABLE = "irritable"
    SAD = "sad"
    STOIC = "stoic"
    POOR = "poor"
    LOW_LITERACY = "low_literacy"
    HIGH_EDUCATION = "high_education"
    # Of the patient's age and sex.
    CHILD = "child"
    ELDERLY = "elderly"
    CHILDBEARING_AGE = "childbearing_age"
    # Of the case. URGENT: its management is an emergency's.
    URGENT = "urgent"
    HAS_TESTS = "has_tests"
    HAS_DIFFERENTIAL = "has_differential"
    PAIN = "pain"
    LONG_ILLNESS = "long_illness"
    TAKES_MEDICINES = "takes_medicines"
    THINS_BLOOD = "thins_blood"
    ALLERGIC = "allergic"
    SMOKES = "smokes"
    DRINKS = "drinks"
    INFECTIOUS = "infectious"
    LOW_MOOD = "low_mood"
    CHEST = "chest"
    BREATHLESS = "breathless"
    FEVER = "fever"
    WEIGHT_LOST = "weight_lost"
    INJURY_OR_FALL = "injury_or_fall"
    SURGERY_LIKELY = "surgery_likely"
    # Of the dialogue so far. RED_FLAG_TOLD: the patient has told a fact that is a warning sign.
    RED_FLAG_TOLD = "red_flag_told"
    PATIENT_ASKED = "patient_asked"
    FEAR_TOLD = "fear_told"
    MONEY_TOLD = "money_told"
    SELF_HARM_TOLD = "self_harm_told"
    PAIN_TOLD = "pain_told"
    DRUG_TOLD = "drug_told"
    INTERNET_TOLD = "internet_told"
    REFUSAL_TOLD = "refusal_told"
    WORK_TOLD = "work_told"


_COMPUTED = frozenset(list(Condition)[: list(Condition).index(Condition.PAIN)]) | {
    Condition.RED_FLAG_TOLD,
    Condition.PATIENT_ASKED,
}


@dataclass(frozen=True, slots=True)
class Row:
    """Looked for in the case's facts of `categories`, or in what the patient has said where there are none."""

    categories: frozenset[Category]
    terms: tuple[str, ...]
    unless: tuple[str, ...]

    def holds(self, texts: Iterator[str]) -> bool:
        return any(first(self.terms, text) and not first(self.unless, text) for text in texts)


@cache
def rows() -> dict[Condition, Row]:
    """Raises ValueError, which names the row."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    if wrong := set(table) ^ (set(Condition) - _COMPUTED):
        raise ValueError(f"{FILE.name}: {min(wrong)}: a row that no condition has, or a condition without its row")
    return {Condition(name): _row(name, row) for name, row in table.items()}


def _row(name: str, row: dict[str, Any]) -> Row:
    if unknown := row.keys() - {"categories", "heard", "terms", "unless"}:
        raise ValueError(f"{FILE.name}: {name}: {min(unknown)} is not a field")
    if bool(row.get("categories")) is bool(row.get("heard")):
        raise ValueError(f"{FILE.name}: {name}: either categories or heard")
    found = Row(
        frozenset(Category[category.upper()] for category in row.get("categories", ())),
        tuple(row["terms"]),
        tuple(row.get("unless", ())),
    )
    for term in (*found.terms, *found.unless):
        compile_term(term)
    return found


def conditions(case: Case, persona: Persona, so_far: Dialogue) -> frozenset[Condition]:
    return frozenset([*_of_persona(persona), *_of_case(case), *_of_dialogue(case, so_far)])


def _of_persona(persona: Persona) -> Iterator[Condition]:
    feelings = {
        Emotion.ANXIOUS: Condition.ANXIOUS,
        Emotion.IRRITABLE: Condition.IRRITABLE,
        Emotion.SAD: Condition.SAD,
        Emotion.STOIC: Condition.STOIC,
    }
    if persona.emotional_state in feelings:
        yield feelings[persona.emotional_state]
    if persona.means is Level.LOW:
        yield Condition.POOR
    if persona.health_literacy is Level.LOW:
        yield Condition.LOW_LITERACY
    if persona.education is Level.HIGH:
        yield Condition.HIGH_EDUCATION


@lru_cache(maxsize=512)
def _of_case(case: Case) -> frozenset[Condition]:
    """Kept: a case is asked for again with every fragment of its consultations."""
    return frozenset(_case_conditions(case))


def _case_conditions(case: Case) -> Iterator[Condition]:
    if case.age_years is not None:
        if case.age_years < _CHILD_UNDER:
            yield Condition.CHILD
        if case.age_years >= _ELDERLY_FROM:
            yield Condition.ELDERLY
        if case.sex is Sex.FEMALE and case.age_years in _CHILDBEARING:
            yield Condition.CHILDBEARING_AGE
    if any(any(phrases("emergency").hits(fact.text)) for fact in case.of(Category.MANAGEMENT)):
        yield Condition.URGENT
    if case.of(Category.TEST):
        yield Condition.HAS_TESTS
    if case.of(Category.DIFFERENTIAL):
        yield Condition.HAS_DIFFERENTIAL
    for condition, row in rows().items():
        if row.categories and row.holds(fact.text for fact in case.facts if fact.category in row.categories):
            yield condition


def _of_dialogue(case: Case, so_far: Dialogue) -> Iterator[Condition]:
    said = [turn.text for turn in so_far if turn.speaker is Speaker.PATIENT]
    heard = joined(said)
    alarming = [fact for fact in case.of(Category.RED_FLAG) if not fact.text.lower().startswith(_DENIALS)]
    if any(told(fact, heard) for fact in alarming):
        yield Condition.RED_FLAG_TOLD
    # What was told several turns ago has had its answer.
    last = sentences(plain(said[-1])) if said else ()
    if any(sentence.marked for sentence in last):
        yield Condition.PATIENT_ASKED
    for condition, row in rows().items():
        if not row.categories and row.holds(sentence.text for sentence in last):
            yield condition


def told(fact: Fact, heard: str) -> bool:
    """Whether the patient has said the fact in its own words; `heard` is what joined() made of the patient's turns."""
    said = joined([fact.spoken or fact.text])
    return bool(said.strip()) and said in heard


def joined(texts: list[str]) -> str:
    return f" {' '.join(' '.join(words(text)) for text in texts)} "
