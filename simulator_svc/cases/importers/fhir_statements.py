"""What the resources of a bundle say, as statements."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from simulator_svc.cases.classify import category_of
from simulator_svc.cases.grammar import lower_words
from simulator_svc.cases.importers.draft import Statement
from simulator_svc.cases.importers.fhir_chart import Chart, codes, day_of, identifier
from simulator_svc.cases.model import Category

_OVER = {"stopped", "completed", "ended", "inactive", "resolved", "remission"}
_EXAMINED = {"vital-signs", "exam"}
_ANSWERED = {"social-history", "survey"}
_SYSTOLIC, _DIASTOLIC = "8480-6", "8462-4"  # LOINC
# UCUM codes as people write them.
_UNITS = {"Cel": "\u00b0C", "[degF]": "\u00b0F", "mm[Hg]": "mmHg", "{score}": "", "{nominal}": "", "1": ""}


def diagnoses(chart: Chart) -> list[str]:
    """The conditions that the latest encounter names, or else those that were recorded in it as its diagnosis."""
    conditions = chart.standing("Condition")
    named = {identifier(row.condition) for row in (chart.encounter.diagnosis or ())} if chart.encounter else set()
    found = [condition for condition in conditions if condition.id in named] or [
        condition
        for condition in conditions
        if chart.is_of_today(condition) and "encounter-diagnosis" in codes(condition.category)
    ]
    return list(dict.fromkeys(chart.concepts([condition.code for condition in found], "Condition.code")))


def statements(chart: Chart) -> Iterator[Statement]:
    if chart.encounter:
        for words in chart.concepts(chart.encounter.reasonCode, "Encounter.reasonCode"):
            yield Statement(Category.CHIEF_COMPLAINT, words)
    yield from _conditions(chart)
    yield from _observations(chart)
    yield from _medications(chart)
    yield from _allergies(chart)
    yield from _procedures(chart)
    yield from _family(chart)


def _conditions(chart: Chart) -> Iterator[Statement]:
    diagnosed = set(diagnoses(chart))
    for condition in chart.standing("Condition"):
        name = chart.concept(condition.code, "Condition.code")
        if name and name not in diagnosed:
            over = " (over now)" if codes([condition.clinicalStatus]) & _OVER else ""
            yield Statement(Category.PAST_HISTORY, f"{name}{over}{chart.ago(condition.onsetDateTime, 'first noted ')}")
        yield from _notes(chart, condition, "Condition")


def _observations(chart: Chart) -> Iterator[Statement]:
    """The latest of each kind: the patient tells how things are now."""
    latest: dict[str, Any] = {}
    for observation in sorted(chart.standing("Observation"), key=lambda o: day_of(o.effectiveDateTime) or date.min):
        if name := lower_words(chart.concept(observation.code, "Observation.code")):
            latest[name] = observation
    for name, observation in latest.items():
        value = _value(chart, observation) or _components(chart, observation)
        kinds = codes(observation.category)
        if value and kinds & _ANSWERED:
            yield Statement(Category.SOCIAL, f"{name}: {value}")
        elif value:
            meaning = ", ".join(chart.concepts(observation.interpretation, "Observation.interpretation"))
            category = Category.EXAMINATION if kinds & _EXAMINED else Category.TEST
            yield Statement(category, f"{value} ({meaning})" if meaning else value, label=name.removesuffix(" panel"))
        yield from _notes(chart, observation, "Observation")


def _value(chart: Chart, source: Any) -> str:
    quantity = source.valueQuantity
    if quantity and quantity.value is not None:
        unit = quantity.unit or quantity.code or ""
        return f"{quantity.comparator or ''}{quantity.value.normalize():f} {_UNITS.get(unit, unit)}".strip()
    if source.valueCodeableConcept:
        return chart.concept(source.valueCodeableConcept, "Observation.valueCodeableConcept")
    if source.valueString:
        return chart.clear(source.valueString, "Observation.valueString")
    if source.valueBoolean is not None:
        return "yes" if source.valueBoolean else "no"
    return str(source.valueInteger) if source.valueInteger is not None else ""


def _components(chart: Chart, observation: Any) -> str:
    rows = observation.component or ()
    by_code = {code: row for row in rows for code in codes([row.code])}
    if _SYSTOLIC in by_code and _DIASTOLIC in by_code:
        upper, lower = _value(chart, by_code[_SYSTOLIC]), _value(chart, by_code[_DIASTOLIC])
        return f"{upper.split(' ')[0]}/{lower}"
    values = [(chart.concept(row.code, "Observation.component"), _value(chart, row)) for row in rows]
    return ", ".join(f"{name.lower()} {value}" for name, value in values if name and value)


def _medications(chart: Chart) -> Iterator[Statement]:
    """What is ordered in the latest encounter is the doctor's plan; what was before is the patient's to tell."""
    for kind, dosing in (("MedicationStatement", "dosage"), ("MedicationRequest", "dosageInstruction")):
        for row in chart.standing(kind):
            concept = row.medicationCodeableConcept
            if concept is None and row.medicationReference:
                referred = chart.medications.get(str(row.medicationReference.reference or ""))
                concept = referred.code if referred else None
            name = chart.concept(concept, f"{kind}.medication")
            doses = [chart.clear(dose.text, f"{kind}.{dosing}") for dose in getattr(row, dosing) or () if dose.text]
            text = ", ".join([name, *doses])
            if name and kind == "MedicationRequest" and chart.is_of_today(row):
                yield Statement(Category.MANAGEMENT, text)
            elif name:
                yield Statement(Category.MEDICATION, f"{text} (in the past)" if row.status in _OVER else text)
            yield from _notes(chart, row, kind)


def _allergies(chart: Chart) -> Iterator[Statement]:
    for allergy in chart.standing("AllergyIntolerance"):
        if name := chart.concept(allergy.code, "AllergyIntolerance.code"):
            shown = [sign for row in allergy.reaction or () for sign in row.manifestation or ()]
            signs = ", ".join(chart.concepts(shown, "AllergyIntolerance.reaction"))
            yield Statement(Category.ALLERGY, f"{name} ({signs})" if signs else name)
        yield from _notes(chart, allergy, "AllergyIntolerance")


def _procedures(chart: Chart) -> Iterator[Statement]:
    """What is done in the latest encounter is the doctor's doing."""
    for procedure in chart.standing("Procedure"):
        if name := chart.concept(procedure.code, "Procedure.code"):
            when = procedure.performedDateTime or (procedure.performedPeriod and procedure.performedPeriod.start)
            today = chart.is_of_today(procedure)
            yield Statement(Category.MANAGEMENT if today else Category.PAST_HISTORY, f"{name}{chart.ago(when)}")
        yield from _notes(chart, procedure, "Procedure")


def _family(chart: Chart) -> Iterator[Statement]:
    for row in chart.standing("FamilyMemberHistory"):
        relative = chart.concept(row.relationship, "FamilyMemberHistory.relationship").lower()
        for condition in row.condition or ():
            name = chart.concept(condition.code, "FamilyMemberHistory.condition")
            age = condition.onsetAge
            since = f" at {age.value.normalize():f}" if age and age.value is not None else ""
            if relative and name:
                yield Statement(Category.FAMILY, f"{relative} with {name.lower()}{since}")
        yield from _notes(chart, row, "FamilyMemberHistory")


def _notes(chart: Chart, resource: Any, kind: str) -> Iterator[Statement]:
    for note in getattr(resource, "note", None) or ():
        if text := chart.clear(note.text, f"{kind}.note"):
            yield Statement(category_of(text), text)
