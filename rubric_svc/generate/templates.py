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

from rubric_svc.generate.conditions import Condition
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
    weight: int
    """Of a library criterion: the heavier are chosen first."""


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
    library_rewards: dict[Moment, int]
    library_penalties: dict[Moment, int]


@dataclass(frozen=True, slots=True)
class Templates:
    """Every rubric takes the `general` ones that fit, some of the `library`, and few for the judge `model`."""

    general: tuple[Template, ...]
    library: tuple[Template, ...]
    model: tuple[Template, ...]
    topics: tuple[Topic, ...]
    points: Points


class WrongCriteria(ValueError):
    def __init__(self, file: str, criterion: str, problem: str) -> None:
        super().__init__(f"{file}: {criterion}: {problem}")


def load(directory: Path) -> Templates:
    points = _table(directory / "points.toml")
    points["fragment_topics"] = tuple(points["fragment_topics"])
    for name in ("library_rewards", "library_penalties"):
        points[name] = {Moment(moment): most for moment, most in points[name].items()}
    topics = [_topic(name, row) for name, row in _table(directory / "topics.toml").items()]
    general = [parse_template("general.toml", row) for row in _table(directory / "general.toml")["criterion"]]
    model = [parse_template("model.toml", row) for row in _table(directory / "model.toml")["criterion"]]
    library = [
        parse_template(f"library/{file.name}", {**row, "dimension": file.stem})
        for file in sorted((directory / "library").glob("*.toml"))
        for row in _table(file)["criterion"]
    ]
    identifiers = [template.template_id for template in (*general, *model, *library)]
    if twice := {name for name in identifiers if identifiers.count(name) > 1}:
        raise WrongCriteria("criteria", min(twice), "two criteria have this id")
    matched = [template for template in library if template.check.matcher]
    model += [template for template in library if not template.check.matcher]
    return Templates(tuple(general), tuple(matched), tuple(model), tuple(topics), Points(**points))


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
    known = {"id", "text", "dimension", "points", "when"}
    if file != "model.toml":
        known |= {"matcher", "terms"}
    if file.startswith("library/"):
        known |= {"weight"}
    try:
        if unknown := row.keys() - known:
            raise ValueError(f"{sorted(unknown)[0]} is not a field")
        if file == "general.toml" and "matcher" not in row:
            raise ValueError("has no matcher")
        check = Check(row.get("matcher", ""), tuple(row.get("terms", ())))
        if check.terms and not check.matcher:
            raise ValueError("terms without a matcher")
        if check.matcher:
            read_terms(check.matcher, tuple("x" if term in PLACEHOLDERS else term for term in check.terms))
        points = {Moment(moment): value for moment, value in row["points"].items()}
        dimension = Dimension[row["dimension"].upper()]
        for value in points.values():
            Criterion(name, row["text"], value, dimension)
        if not points:
            raise ValueError("counts at no moment")
        if (weight := row.get("weight", 1)) < 1:
            raise ValueError("weight: at least 1")
        conditions = frozenset(Condition(condition) for condition in row.get("when", ()))
        return Template(name, row["text"], dimension, points, check, conditions, weight)
    except (KeyError, ValueError, WrongTerms) as error:
        raise WrongCriteria(file, name, f"{type(error).__name__}: {error}") from error
