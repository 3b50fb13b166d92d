"""AgentClinic-style OSCE records: one JSON object a line.

Only the frame is fixed (`OSCE_Examination` with `Patient_Actor`, `Physical_Examination_Findings`, `Test_Results`,
`Correct_Diagnosis`); below it the keys vary from record to record, so a fact's category comes from where it stands and
from what it says. `Objective_for_Doctor` speaks to the doctor and is no fact of the patient.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simulator_svc.cases.classify import category_of
from simulator_svc.cases.deidentify import Deidentifier
from simulator_svc.cases.grammar import lower_words
from simulator_svc.cases.importers.demographics import age_in_years, sex_of
from simulator_svc.cases.importers.draft import Draft, Refused, Statement
from simulator_svc.cases.importers.reading import Record, clear_tree, json_lines, leaves
from simulator_svc.cases.importers.sentences import sentences
from simulator_svc.cases.model import Category

SOURCE = "imported from an OSCE record"
records = json_lines
_RULES = Path(__file__).parent / "data" / "osce.toml"


@dataclass(frozen=True, slots=True)
class _Part:
    key: re.Pattern[str]
    category: Category
    # What a sentence of it may be by what it says; empty: it is of the part's own category.
    among: frozenset[Category]


def draft(record: Record, deidentifier: Deidentifier) -> Draft:
    """Raises Refused and NotCleared."""
    table = clear_tree(record.content, deidentifier)
    osce = table.get("OSCE_Examination", table) if isinstance(table, dict) else None
    if not isinstance(osce, dict) or not isinstance(osce.get("Patient_Actor"), dict):
        raise Refused("is not an object with Patient_Actor", "OSCE_Examination")
    actor = osce["Patient_Actor"]
    demographics = " ".join(text for _, text in leaves(actor.get("Demographics", "")))
    age = age_in_years(demographics, field=True)
    if age is None:
        raise Refused("states no age", "Patient_Actor.Demographics")
    diagnosis = osce.get("Correct_Diagnosis")
    if not isinstance(diagnosis, str) or not diagnosis.strip():
        raise Refused("is missing", "Correct_Diagnosis")
    history = " ".join(text for _, text in leaves(actor))
    return Draft(
        age_years=age,
        sex=sex_of(demographics) or sex_of(history),
        source=SOURCE,
        statements=[
            *_history(actor),
            *_findings(osce.get("Physical_Examination_Findings", {}), Category.EXAMINATION),
            *_findings(osce.get("Test_Results", {}), Category.TEST),
        ],
        diagnoses=[diagnosis],
    )


def _history(actor: dict[str, Any]) -> Iterator[Statement]:
    for path, text in leaves(actor):
        if path[0] == "Demographics":
            continue
        part = next(part for part in _parts() if any(map(part.key.search, reversed(path))))
        for sentence in sentences(text):
            yield Statement(category_of(sentence, part.among, part.category), sentence)


def _findings(tree: Any, category: Category) -> Iterator[Statement]:
    for path, text in leaves(tree):
        yield Statement(category, text, label=_label(path))


def _label(path: tuple[str, ...]) -> str:
    """The last keys that name something: "cardiopulmonary examination, lungs"."""
    named = [key for raw in path if not _empty_label().fullmatch(key := lower_words(raw.replace("_", " ")))]
    return ", ".join(named[-2:])


@cache
def _parts() -> tuple[_Part, ...]:
    return tuple(
        _Part(re.compile(row["key"], re.I), Category(row["category"]), frozenset(map(Category, row.get("among", ()))))
        for row in _rules()["part"]
    )


@cache
def _empty_label() -> re.Pattern[str]:
    return re.compile("|".join(_rules()["labels"]["empty"]), re.IGNORECASE)


@cache
def _rules() -> dict[str, Any]:
    return tomllib.loads(_RULES.read_text(encoding="utf-8"))
