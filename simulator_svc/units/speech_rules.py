"""The phrases of units/data/speech_acts.toml as patterns, one class a section and one field a list."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from simulator_svc.units.cues import phrase_pattern

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class DiagnosisRules:
    asserts: re.Pattern[str]
    asserts_alone: re.Pattern[str]
    points_back: re.Pattern[str]
    hedges: re.Pattern[str]
    firm: re.Pattern[str]
    holds_back: re.Pattern[str]
    firmly: re.Pattern[str]
    negations: re.Pattern[str]
    past: re.Pattern[str]
    others: re.Pattern[str]
    agrees: re.Pattern[str]
    patient_names: re.Pattern[str]
    conditional: re.Pattern[str]
    copulas: re.Pattern[str]
    explains: re.Pattern[str]
    explains_by: re.Pattern[str]
    before_names: re.Pattern[str]
    says_nothing: re.Pattern[str]
    no_account: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class PlanRules:
    things: re.Pattern[str]
    tests: re.Pattern[str]
    directs: re.Pattern[str]
    imperatives: re.Pattern[str]
    begins: re.Pattern[str]
    in_passing: re.Pattern[str]
    verbs: re.Pattern[str]
    any_step: re.Pattern[str]
    no_step: re.Pattern[str]
    alone: re.Pattern[str]
    not_planned: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class QuestionRules:
    openers: re.Pattern[str]
    leads: re.Pattern[str]
    requests: re.Pattern[str]
    offers: re.Pattern[str]
    tags: re.Pattern[str]
    rhetorical: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class FarewellRules:
    phrases: re.Pattern[str]
    wishes: re.Pattern[str]
    thanks: re.Pattern[str]
    not_meant: re.Pattern[str]
    patient_leaves: re.Pattern[str]
    friendly: re.Pattern[str]
    business: re.Pattern[str]


Rules = TypeVar("Rules", DiagnosisRules, PlanRules, QuestionRules, FarewellRules)
_SECTIONS: dict[type[Any], str] = {
    DiagnosisRules: "diagnosis",
    PlanRules: "plan",
    QuestionRules: "questions",
    FarewellRules: "farewell",
}


@cache
def rules_of(kind: type[Rules]) -> Rules:
    data = table("speech_acts.toml")[_SECTIONS[kind]]
    return kind(**{field.name: phrase_pattern(data[field.name]) for field in fields(kind)})


@cache
def table(name: str) -> dict[str, Any]:
    return tomllib.loads((_DATA / name).read_text(encoding="utf-8"))
