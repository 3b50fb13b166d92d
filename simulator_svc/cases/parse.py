"""Reads one case file. A file that is wrong is refused with its name and the field's.

What stands here holds for every case, an imported one too: what any replica, the contract and the Fact Unit rely on.
What the built-in library demands beyond that stands in standard.py.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar

from simulator_svc.cases.model import USUAL_DISCLOSURE, Case, Category, Disclosure, Fact, Manner, Sex, Split
from simulator_svc.units.claims import names_any, normal_sentences

E = TypeVar("E", bound=StrEnum)

_CASE_FIELDS = {
    "case_id", "title", "specialty", "age_years", "sex", "split", "prevalence", "source", "diagnosis_names", "facts",
    "manner",
}  # fmt: skip
_FACT_FIELDS = {"id", "text", "spoken", "disclosure", "cues"}
# For a small child a parent speaks: the spoken sentences say so.
_OLDEST = 110
# The contract's (common/v1/patient.proto): a case beyond them could not be sent inline.
_CASE_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
_MOST_FACTS = 512
_LONGEST = {
    "title": 256, "specialty": 64, "source": 256, "prevalence": 32, "diagnosis_names": 128,
    "id": 64, "text": 2048, "spoken": 2048, "cues": 128,
}  # fmt: skip


class CaseError(ValueError):
    def __init__(self, file: str, field: str, problem: str) -> None:
        super().__init__(f"{file}: {field}: {problem}" if field else f"{file}: {problem}")
        self.file, self.field, self.problem = file, field, problem


class _Reader:
    """Typed access to a parsed table; every complaint carries file and field."""

    def __init__(self, file: str) -> None:
        self.file = file

    def fail(self, field: str, problem: str) -> CaseError:
        return CaseError(self.file, field, problem)

    def text(self, table: dict[str, Any], key: str, field: str, *, required: bool = True) -> str:
        value = table.get(key, "")
        if not isinstance(value, str) or (required and not value.strip()):
            raise self.fail(field, "must be a text" if value else "is missing")
        self.short(key, value, field)
        return value.strip()

    def texts(self, table: dict[str, Any], key: str, field: str) -> tuple[str, ...]:
        value = table.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise self.fail(field, "must be a list of texts")
        for item in value:
            self.short(key, item, field)
        return tuple(value)

    def short(self, key: str, value: str, field: str) -> None:
        if len(value) > _LONGEST.get(key, len(value)):
            raise self.fail(field, f"is longer than {_LONGEST[key]} characters")

    def choice(self, kind: type[E], value: str, field: str) -> E:
        try:
            return kind(value)
        except ValueError:
            raise self.fail(field, f"{value!r} is none of {', '.join(kind)}") from None

    def known(self, table: dict[str, Any], fields: set[str], field: str) -> None:
        if unknown := sorted(set(table) - fields):
            raise self.fail(f"{field}{unknown[0]}", "is not a field")


def parse_case(content: str, file: str) -> Case:
    reader = _Reader(file)
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise reader.fail("", f"is not TOML: {error}") from error
    reader.known(table, _CASE_FIELDS, "")
    age = table.get("age_years")
    if not isinstance(age, int) or isinstance(age, bool) or not 0 <= age <= _OLDEST:
        raise reader.fail("age_years", f"must be a whole number from 0 to {_OLDEST}")
    groups = table.get("facts")
    if not isinstance(groups, dict):
        raise reader.fail("facts", "is missing")
    facts = tuple(
        _fact(reader, reader.choice(Category, name, f"facts.{name}"), row, f"facts.{name}[{index}]")
        for name, rows in groups.items()
        for index, row in enumerate(rows if isinstance(rows, list) else [rows])
    )
    sex = reader.text(table, "sex", "sex", required=False)
    case = Case(
        case_id=reader.text(table, "case_id", "case_id"),
        title=reader.text(table, "title", "title"),
        specialty=reader.text(table, "specialty", "specialty"),
        age_years=age,
        sex=reader.choice(Sex, sex, "sex") if sex else None,
        split=reader.choice(Split, reader.text(table, "split", "split"), "split"),
        facts=facts,
        diagnosis_names=reader.texts(table, "diagnosis_names", "diagnosis_names"),
        source=reader.text(table, "source", "source", required=False) or "written for this project",
        prevalence=reader.text(table, "prevalence", "prevalence", required=False),
        manner=_manner(reader, table["manner"]) if "manner" in table else None,
    )
    _whole(reader, case)
    return case


def _manner(reader: _Reader, row: Any) -> Manner:
    if not isinstance(row, dict) or set(row) != {field.name for field in fields(Manner)}:
        raise reader.fail("manner", f"must have {', '.join(field.name for field in fields(Manner))}")
    if any(isinstance(value, bool) or not isinstance(value, int | float) or value < 0 for value in row.values()):
        raise reader.fail("manner", "must be numbers that are not negative")
    return Manner(**row)


def _fact(reader: _Reader, category: Category, row: Any, field: str) -> Fact:
    if not isinstance(row, dict):
        raise reader.fail(field, "must be a table")
    reader.known(row, _FACT_FIELDS, f"{field}.")
    given = reader.text(row, "disclosure", f"{field}.disclosure", required=False)
    usual = USUAL_DISCLOSURE.get(category, Disclosure.ON_REQUEST)
    disclosure = reader.choice(Disclosure, given, f"{field}.disclosure") if given else usual
    if usual is Disclosure.NEVER and disclosure is not Disclosure.NEVER:
        raise reader.fail(f"{field}.disclosure", f"a {category} is never a patient's to tell")
    if usual is Disclosure.ON_EXAMINATION and disclosure in (Disclosure.VOLUNTEERED, Disclosure.ON_REQUEST):
        raise reader.fail(f"{field}.disclosure", f"a {category} has to be ordered first")
    return Fact(
        fact_id=reader.text(row, "id", f"{field}.id"),
        category=category,
        text=reader.text(row, "text", f"{field}.text"),
        disclosure=disclosure,
        spoken=reader.text(row, "spoken", f"{field}.spoken", required=disclosure is not Disclosure.NEVER),
        cues=reader.texts(row, "cues", f"{field}.cues"),
    )


def _whole(reader: _Reader, case: Case) -> None:
    """What only the whole case shows."""
    if not _CASE_ID.fullmatch(case.case_id):
        raise reader.fail("case_id", "must be small letters, digits, dots, dashes and underscores")
    if len(case.facts) > _MOST_FACTS:
        raise reader.fail("facts", f"has {len(case.facts)} facts, more than {_MOST_FACTS}")
    if all(fact.disclosure is Disclosure.NEVER for fact in case.facts):
        raise reader.fail("facts", "holds nothing that a patient may say")
    seen: dict[str, str] = {}
    identifiers: set[str] = set()
    for fact in case.facts:
        field = f"facts.{fact.category}.{fact.fact_id}"
        if fact.fact_id in identifiers:
            raise reader.fail(f"{field}.id", "another fact has it too")
        identifiers.add(fact.fact_id)
        _spoken(reader, case.diagnosis_names, fact, field, seen)


def _spoken(reader: _Reader, diagnoses: Sequence[str], fact: Fact, field: str, seen: dict[str, str]) -> None:
    if fact.disclosure is Disclosure.NEVER:
        if fact.spoken:
            raise reader.fail(f"{field}.spoken", "a fact that is never disclosed has no spoken words")
        return
    if named := names_any(fact.spoken, diagnoses):
        raise reader.fail(f"{field}.spoken", f"names the diagnosis ({named})")
    if not fact.spoken.endswith((".", "!", "?")):
        raise reader.fail(f"{field}.spoken", "must be whole sentences")
    for sentence in normal_sentences(fact.spoken):
        if sentence in seen:
            raise reader.fail(f"{field}.spoken", f"says the same as {seen[sentence]}")
        seen[sentence] = fact.fact_id
