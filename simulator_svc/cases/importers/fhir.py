"""FHIR R4 bundles, one patient and one JSON file each, read with `fhir.resources` (its R4B models, which R4 fits).

Of the patient only sex and the age at the latest encounter are carried over. Names, addresses, contacts, identifiers
and the birth date stay behind, and the de-identification is told of them, so that they come out of the free text too;
photos, narratives (`text.div`) and attachments are not read. Dates become times before the latest encounter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from simulator_svc.cases.deidentify import Deidentifier, NotCleared
from simulator_svc.cases.importers.demographics import OLDEST
from simulator_svc.cases.importers.draft import Draft, Refused
from simulator_svc.cases.importers.fhir_chart import Chart, day_of
from simulator_svc.cases.importers.fhir_statements import diagnoses, statements
from simulator_svc.cases.importers.reading import Record, files
from simulator_svc.cases.model import Sex

SOURCE = "imported from a FHIR bundle"
_READ = (
    "Patient", "Condition", "Observation", "MedicationStatement", "MedicationRequest", "Medication",
    "AllergyIntolerance", "Procedure", "FamilyMemberHistory", "Encounter",
)  # fmt: skip
# A bundle beyond this is an archive and no case.
_LARGEST = 64 * 1024 * 1024
# Of any resource: what names a person, a place or a number of one.
_IDENTIFYING = ("name", "address", "telecom", "identifier", "contact", "birthDate", "photo")
_NOT_IDENTIFYING = ("use", "system", "type", "country", "state", "period", "extension", "relationship")
# Whose names have a word that can stand for them.
_NAMED = {"Patient": "the patient", "Practitioner": "the doctor"}
# A shorter value ("M", "USA") stands in too many words.
_SHORTEST_KNOWN = 4
_SEXES = {"female": Sex.FEMALE, "male": Sex.MALE}


def records(source: Path) -> Iterator[Record]:
    for number, (name, file) in enumerate(files(source, ".json"), 1):
        position = name.rstrip(", ") or "the bundle"
        if file.stat().st_size > _LARGEST:
            yield Record(position, number, None, "is too large for one case")
            continue
        try:
            yield Record(position, number, json.loads(file.read_text(encoding="utf-8-sig")))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            yield Record(position, number, None, "is not JSON")


def draft(record: Record, deidentifier: Deidentifier) -> Draft:
    """Raises Refused and NotCleared."""
    bundle = record.content
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise Refused("is no Bundle", "resourceType")
    entries = bundle.get("entry")
    resources: dict[str, list[Any]] = {kind: [] for kind in _READ}
    every: list[dict[str, Any]] = []
    urls: dict[str, str] = {}
    for index, row in enumerate(entries if isinstance(entries, list) else []):
        resource = row.get("resource") if isinstance(row, dict) else None
        if not isinstance(resource, dict):
            continue
        every.append(resource)
        urls[str(resource.get("id"))] = str(row.get("fullUrl", ""))
        if (kind := str(resource.get("resourceType"))) in resources:
            resources[kind].append(_valid(kind, resource, index))
    patients = resources["Patient"]
    if len(patients) != 1:
        raise Refused(f"holds {len(patients)} patients, and a case is of one", "entry")
    chart = Chart.of(resources, urls, partial(_clear, deidentifier, _known(every)))
    age = _age(patients[0], chart)
    return Draft(
        age_years=age,
        sex=_SEXES.get(patients[0].gender or ""),
        source=SOURCE,
        statements=list(statements(chart)),
        diagnoses=diagnoses(chart),
    )


def _valid(kind: str, resource: dict[str, Any], index: int) -> Any:
    """The resource as its model; the error names field and kind of fault and never the value."""
    try:
        return get_fhir_model_class(kind).model_validate(resource)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in fault["loc"] if isinstance(part, int) or part.isalpha())
        raise Refused(f"is not valid FHIR R4 ({fault['type']})", f"entry[{index}].{kind}.{path}") from None


def _age(patient: Any, chart: Chart) -> int:
    born = day_of(patient.birthDate)
    if born is None:
        raise Refused("is missing, so there is no age", "Patient.birthDate")
    if chart.today is None:
        raise Refused("no resource has a date to reckon the age from", "Encounter.period")
    if chart.today < born:
        raise Refused("is after the latest encounter", "Patient.birthDate")
    years = chart.today.year - born.year - ((chart.today.month, chart.today.day) < (born.month, born.day))
    return min(years, OLDEST)


def _known(resources: list[dict[str, Any]]) -> dict[str, str]:
    """Every text below a field that identifies, whole and word for word, and what stands for it in a note."""
    known: dict[str, str] = {}
    for resource in resources:
        for field in _IDENTIFYING:
            named = _NAMED.get(str(resource.get("resourceType"))) if field == "name" else None
            for text in _texts(resource.get(field)):
                for part in {text, *text.replace(",", " ").split()}:
                    if len(part) >= _SHORTEST_KNOWN:
                        known[part] = named or "[name]"
    return known


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in (
                "use",
                "system",
                "type",
                "country",
                "state",
                "period",
                "resourceType",
                "extension",
                "relationship",
            ):
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _clear(deidentifier: Deidentifier, known: dict[str, str], text: str, field: str) -> str:
    try:
        return deidentifier.clear(text, known)
    except NotCleared as error:
        raise Refused(str(error), field) from None
