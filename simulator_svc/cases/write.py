"""A case as the TOML that parse.py reads: what is written and read again is the same case."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import tomli_w

from simulator_svc.cases.model import USUAL_DISCLOSURE, Case, Category, Disclosure, Fact


def to_toml(case: Case) -> str:
    head = {
        "case_id": case.case_id,
        "title": case.title,
        "specialty": case.specialty,
        "age_years": case.age_years,
        "sex": case.sex.value if case.sex else "",
        "split": case.split.value if case.split else "",
        "prevalence": case.prevalence,
        "source": case.source,
    }
    table: dict[str, Any] = {key: value for key, value in head.items() if value != ""}
    table["diagnosis_names"] = list(case.diagnosis_names)
    if case.manner:
        table["manner"] = asdict(case.manner)
    table["facts"] = {
        category.value: [_row(fact) for fact in case.facts if fact.category is category]
        for category in Category
        if any(fact.category is category for fact in case.facts)
    }
    return tomli_w.dumps(table)


def _row(fact: Fact) -> dict[str, Any]:
    row: dict[str, Any] = {"id": fact.fact_id, "text": fact.text}
    if fact.disclosure is not USUAL_DISCLOSURE.get(fact.category, Disclosure.ON_REQUEST):
        row["disclosure"] = fact.disclosure.value
    if fact.spoken:
        row["spoken"] = fact.spoken
    if fact.cues:
        row["cues"] = list(fact.cues)
    return row
