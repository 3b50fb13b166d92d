"""The tables of data/dialogue.toml, compiled once."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simulator_svc.cases.model import Category

_RULES = Path(__file__).parent / "data" / "dialogue.toml"


@dataclass(frozen=True, slots=True)
class Section:
    category: Category
    among: frozenset[Category]


@dataclass(frozen=True, slots=True)
class Question:
    pattern: re.Pattern[str]
    # What a plain answer says in full; {rest} is the question's end.
    no: str
    yes: str


@dataclass(frozen=True, slots=True)
class Rules:
    sections: dict[str, Section]
    speakers: dict[str, re.Pattern[str]]
    questions: tuple[Question, ...]
    # What an answer, a statement or a sentence of the note begins with: no, yes, lead, states, heading; and vague.
    answers: dict[str, re.Pattern[str]]
    chatter: re.Pattern[str]
    fillers: re.Pattern[str]
    hedges: re.Pattern[str]


@cache
def rules() -> Rules:
    data: dict[str, Any] = tomllib.loads(_RULES.read_text(encoding="utf-8"))

    def pattern(text: str) -> re.Pattern[str]:
        return re.compile(text, re.IGNORECASE)

    answers = dict(data["answers"])
    return Rules(
        sections={
            header: Section(Category(row["category"]), frozenset(map(Category, row.get("among", ()))))
            for header, row in data["sections"].items()
        },
        speakers={name: pattern(text) for name, text in data["speakers"].items()},
        questions=tuple(Question(pattern(row["asks"]), row["no"], row["yes"]) for row in data["question"]),
        chatter=pattern(answers.pop("chatter")),
        answers={name: pattern(text) for name, text in answers.items()},
        fillers=pattern(data["manner"]["fillers"]),
        hedges=pattern(data["manner"]["hedges"]),
    )
