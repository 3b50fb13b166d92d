"""MediQ records: a vignette as atomic facts, a question and its answer; one JSON object a line.

What each fact is of is told by its words (data/classify.toml). The answer is never said: it is the diagnosis where the
question asks for one, a part of the plan where it asks what to do, and a secret otherwise.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from simulator_svc.cases.classify import category_of
from simulator_svc.cases.deidentify import Deidentifier
from simulator_svc.cases.importers.demographics import age_in_years, sex_of
from simulator_svc.cases.importers.draft import Draft, Refused, Statement
from simulator_svc.cases.importers.reading import Record, clear_tree, json_lines
from simulator_svc.cases.importers.sentences import NUMBERING
from simulator_svc.cases.model import Category

SOURCE = "imported from a MediQ record"
records = json_lines
_RULES = Path(__file__).parent / "data" / "mediq.toml"
_FIELDS = ("facts", "context", "question", "answer", "patient")
# A longer answer names no disease.
_LONGEST_NAME = 8
_NOT_SAID = frozenset({Category.DIAGNOSIS, Category.MANAGEMENT})
_PROBED = frozenset({Category.EXAMINATION, Category.TEST})
_WITH = re.compile(r"(?i)with (.+?),? ?(?=(?:presents?|comes?|came|is|was|complains?|has)\b|\.?$)")
_NAMED = re.compile(r"(?i)\bdiagnosed with (?:an? )?([^.;,]+?)(?: (?:and|by|after|at|in|on|for)\b.*)?\.?$")


def draft(record: Record, deidentifier: Deidentifier) -> Draft:
    """Raises Refused and NotCleared."""
    if not isinstance(record.content, dict):
        raise Refused("is not an object")
    table = clear_tree({name: record.content.get(name) for name in _FIELDS}, deidentifier)
    facts = [NUMBERING.sub("", text) for text in _texts(table, "facts") or _texts(table, "context")]
    if not facts:
        raise Refused("is missing", "facts")
    patient = table["patient"] if isinstance(table["patient"], dict) else {}
    everything = " ".join([*_texts(table, "context"), *facts])
    stated = str(patient.get("age", ""))
    if stated.lower() == "study":
        raise Refused("is about a study and no patient", "patient.age")
    age = age_in_years(stated, field=True)
    age = age_in_years(everything) if age is None else age
    if age is None:
        raise Refused("states no age", "patient.age")
    answer, asked = _asked(table)
    statements = list(_with_complaint(list(_statements(facts))))
    diagnoses = [answer] if asked is Category.DIAGNOSIS else []
    if not diagnoses:
        said = (found for s in statements if s.category is Category.DIAGNOSIS and (found := _NAMED.search(s.text)))
        diagnoses = [found[1] for found in said][:1]
    if asked is Category.MANAGEMENT and answer:
        statements.append(Statement(Category.MANAGEMENT, answer))
    return Draft(
        age_years=age,
        sex=sex_of(str(patient.get("gender", ""))) or sex_of(everything),
        source=SOURCE,
        statements=statements,
        diagnoses=diagnoses,
        secrets=[answer] if answer else [],
        specialty=str(patient.get("gpt_specialty") or "").lower()[:64],
    )


def _texts(table: dict[str, Any], name: str) -> list[str]:
    value = table.get(name)
    return [text for text in value if isinstance(text, str) and text.strip()] if isinstance(value, list) else []


def _asked(table: dict[str, Any]) -> tuple[str, Category | None]:
    """The answer, and what it is: a diagnosis, a part of the plan, or neither."""
    question, answer = str(table.get("question") or ""), str(table.get("answer") or "").strip(" .")
    rules = _rules()
    if rules["asks_diagnosis"].search(question) and not rules["not_diagnosis"].search(question):
        return answer, Category.DIAGNOSIS if 0 < len(answer.split()) <= _LONGEST_NAME else None
    return answer, Category.MANAGEMENT if rules["asks_management"].search(question) else None


def _statements(facts: list[str]) -> Iterator[Statement]:
    """ "A 35-year-old woman with a history of asthma presents with a cough" says three things."""
    for fact in facts:
        who = _rules()["who"].match(fact)
        if not who:
            yield Statement(category_of(fact), fact)
            continue
        yield Statement(Category.SOCIAL, who[1])
        rest = re.sub(r"^,?\s*(?:who )?", "", fact[who.end() :])
        if has := _WITH.match(rest):
            history = f"The patient has {has[1]}"
            yield Statement(category_of(history), history)
            rest = rest[has.end() :]
        if len(rest.split()) > 1:
            text = f"The patient {rest}"
            yield Statement(category_of(text), text)


def _with_complaint(statements: list[Statement]) -> Iterator[Statement]:
    told = (s for s in statements if s.category not in _NOT_SAID | _PROBED and _rules()["complaint"].search(s.text))
    complaint = next(told, None)
    for statement in statements:
        is_it = statement is complaint
        yield Statement(Category.CHIEF_COMPLAINT if is_it else statement.category, statement.text)


@cache
def _rules() -> dict[str, re.Pattern[str]]:
    data: dict[str, str] = tomllib.loads(_RULES.read_text(encoding="utf-8"))
    return {name: re.compile(pattern, re.IGNORECASE) for name, pattern in data.items()}
