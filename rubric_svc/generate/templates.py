"""The criteria files: what a rubric may hold, with its points for each moment of a consultation.

Invariant: what is loaded is usable. Each template's points keep the contract's rule, its matcher exists and takes its
terms, its conditions are known; otherwise loading names the file and the criterion.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

from rubric_svc.judge.matchers import WrongTerms
from rubric_svc.judge.matchers.base import read_terms
from rubric_svc.model import Category, Check, Criterion, Dimension

DIRECTORY = Path(__file__).parent.parent / "criteria"


class Moment(StrEnum):
    """EARLY, MIDDLE and LATE speak of the next doctor turn alone."""

    EARLY = "early"
    MIDDLE = "middle"
    LATE = "late"
    WHOLE = "whole"


class Condition(StrEnum):
    ANXIOUS = "anxious"
    POOR = "poor"
    LOW_LITERACY = "low_literacy"
    HIGH_EDUCATION = "high_education"
    # The case's management is an emergency's.
    URGENT = "urgent"
    # The patient has told a fact that is a warning sign.
    RED_FLAG_TOLD = "red_flag_told"


# What a term in braces stands for.
PLACEHOLDERS = ("{diagnoses}", "{examinations}", "{tests}")


@dataclass(frozen=True, slots=True)
class Template:
    template_id: str
    text: str
    dimension: Dimension
    points: dict[Moment, int]
    check: Check
    when: frozenset[Condition]


@dataclass(frozen=True, slots=True)
class Topic:
    category: Category
    name: str
    about: str
    dimension: Dimension
    weight: int
    again: bool


@dataclass(frozen=True, slots=True)
class Points:
    fragment_topics: tuple[int, ...]
    whole_topic: int
    whole_topics: int
    asks_again: int
    early_turns: int
    early_covered: float
    late_turns: int
    late_covered: float


@dataclass(frozen=True, slots=True)
class Templates:
    general: tuple[Template, ...]
    model: tuple[Template, ...]
    topics: tuple[Topic, ...]
    points: Points


class WrongCriteria(ValueError):
    def __init__(self, file: str, criterion: str, problem: str) -> None:
        super().__init__(f"{file}: {criterion}: {problem}")


def load(directory: Path) -> Templates:
    points = _table(directory / "points.toml")
    points["fragment_topics"] = tuple(points["fragment_topics"])
    topics = [_topic(name, row) for name, row in _table(directory / "topics.toml").items()]
    general = [parse_template("general.toml", row) for row in _table(directory / "general.toml")["criterion"]]
    model = [parse_template("model.toml", row) for row in _table(directory / "model.toml")["criterion"]]
    identifiers = [template.template_id for template in (*general, *model)]
    if twice := {name for name in identifiers if identifiers.count(name) > 1}:
        raise WrongCriteria("criteria", min(twice), "two criteria have this id")
    return Templates(tuple(general), tuple(model), tuple(topics), Points(**points))


@cache
def built_in() -> Templates:
    return load(DIRECTORY)


def _table(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _topic(name: str, row: dict[str, Any]) -> Topic:
    category = Category[name.upper()]
    return Topic(category, name, row["about"], Dimension[row["dimension"].upper()], row["weight"], row["again"])


def parse_template(file: str, row: dict[str, Any]) -> Template:
    name = row.get("id", "?")
    known = {"id", "text", "dimension", "points", "when"} | ({"matcher", "terms"} if file == "general.toml" else set())
    try:
        if unknown := row.keys() - known:
            raise ValueError(f"{sorted(unknown)[0]} is not a field")
        check = Check(row["matcher"], tuple(row.get("terms", ()))) if "matcher" in known else Check()
        if check.matcher:
            read_terms(check.matcher, tuple("x" if term in PLACEHOLDERS else term for term in check.terms))
        points = {Moment(moment): value for moment, value in row["points"].items()}
        dimension = Dimension[row["dimension"].upper()]
        for value in points.values():
            Criterion(name, row["text"], value, dimension)
        if not points:
            raise ValueError("counts at no moment")
        conditions = frozenset(Condition(condition) for condition in row.get("when", ()))
        return Template(name, row["text"], dimension, points, check, conditions)
    except (KeyError, ValueError, WrongTerms) as error:
        raise WrongCriteria(file, name, f"{type(error).__name__}: {error}") from error
