"""A FHIR bundle becomes a case of the latest encounter, and nothing of the patient's identity comes with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulator_svc.cases.importers.draft import Format
from simulator_svc.cases.importers.report import Report
from simulator_svc.cases.importers.run import import_cases
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category, Disclosure, Sex

BUNDLES = Path(__file__).with_name("bundles")
HEART = json.loads((BUNDLES / "heart-failure.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> CaseLibrary:
    out = tmp_path_factory.mktemp("fhir")
    report = import_cases(Format.FHIR, BUNDLES, out)
    assert report.imported == 2 and not report.refused
    return CaseLibrary.load(out)


@pytest.fixture(scope="module")
def woman(library: CaseLibrary) -> Case:
    return next(case for case in library.list() if case.sex is Sex.FEMALE)


@pytest.fixture(scope="module")
def toddler(library: CaseLibrary) -> Case:
    return next(case for case in library.list() if case.sex is Sex.MALE)


def said(case: Case, category: Category) -> list[str]:
    return [fact.spoken for fact in case.facts if fact.category is category and fact.spoken]


def texts(case: Case, category: Category) -> list[str]:
    return [fact.text for fact in case.facts if fact.category is category]


def test_the_age_is_that_at_the_latest_encounter(woman: Case, toddler: Case) -> None:
    assert (woman.age_years, toddler.age_years) == (72, 1)


def test_each_resource_is_told_in_its_category(woman: Case) -> None:
    assert said(woman, Category.CHIEF_COMPLAINT) == ["I have shortness of breath on climbing stairs."]
    assert said(woman, Category.PAST_HISTORY) == [
        "I have a history of essential hypertension, first noted 15 years ago.",
        "I have a history of cholecystectomy, 20 years ago.",
    ]
    assert said(woman, Category.ALLERGY) == ["I am allergic to penicillin (hives)."]
    assert said(woman, Category.FAMILY) == ["In my family: father with myocardial infarction at 58."]
    assert said(woman, Category.MEDICATION) == [
        "I take ramipril 5 MG Oral Tablet, one tablet in the morning.",
        "I take naproxen 500 MG (in the past).",
    ]
    assert "They told me my blood pressure is 152/94 mmHg." in said(woman, Category.EXAMINATION)
    assert said(woman, Category.TEST) == ["They told me my NT-proBNP is 4210.5 pg/mL (High)."]  # the latest, not 880
    assert "I sleep on 3 pillows." in [fact.spoken for fact in woman.facts]


def test_what_the_latest_encounter_found_and_ordered_is_the_doctor_s(woman: Case) -> None:
    assert woman.diagnosis_names[0] == "Congestive heart failure"
    assert texts(woman, Category.MANAGEMENT) == ["Furosemide 40 MG.", "Insertion of urinary catheter."]
    assert said(woman, Category.EXAMINATION)[-1] == "They told me about my lung auscultation: crackles at both bases."
    assert all(fact.disclosure is Disclosure.NEVER for fact in woman.facts if fact.category is Category.MANAGEMENT)


def test_what_was_withdrawn_is_not_told(woman: Case) -> None:
    assert not [fact for fact in woman.facts if "Asthma" in fact.text or "Troponin" in fact.text]


def test_a_parent_speaks_for_a_small_child(toddler: Case) -> None:
    assert said(toddler, Category.CHIEF_COMPLAINT) == ["My son has barking cough."]
    assert "He has had a hoarse voice for 2 days." in [fact.spoken for fact in toddler.facts]


@pytest.mark.parametrize(
    "identifying",
    [
        "Vandersloot", "Ottoline", "Grace", "4471902", "999-61-1234", "555-201-7788", "1951", "Lantern",
        "Winchendon", "01475", "iVBOR", "Quesnelle", "Armand", "Hendrik", "March", "urn:uuid", "JVBER", "Abernathy",
        "Caspian", "2022",
    ],
)  # fmt: skip
def test_nothing_identifying_is_carried_over(library: CaseLibrary, identifying: str) -> None:
    for case in library.list():
        assert identifying.lower() not in repr(case).lower()


def changed(change: Callable[[list[dict[str, Any]]], object], tmp_path: Path) -> Report:
    bundle = json.loads(json.dumps(HEART))
    change([entry["resource"] for entry in bundle["entry"]])
    source = tmp_path / "Ottoline_Vandersloot.json"
    source.write_text(json.dumps(bundle), encoding="utf-8")
    return import_cases(Format.FHIR, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        (lambda rows: rows[0].pop("birthDate"), "Patient.birthDate", "is missing, so there is no age"),
        (lambda rows: rows[0].update(birthDate="2030-01-01"), "Patient.birthDate", "is after the latest encounter"),
        (lambda rows: rows[0].update(gender=7), "entry[0].Patient.gender", "is not valid FHIR R4 (string_type)"),
        (
            lambda rows: rows[7].pop("status"),
            "entry[7].Observation.status",
            "is not valid FHIR R4",
        ),
        (
            lambda rows: (rows[2].clear(), rows[2].update(rows[0])),
            "entry",
            "holds 2 patients, and a case is of one",
        ),
        (lambda rows: rows[4]["note"][0].update(text="Жалобы"), "Condition.note", "text in another script"),
        (lambda rows: rows[4]["note"][0].update(text="data:image/png;base64,AA"), "Condition.note", "encoded data"),
    ],
)
def test_a_bundle_that_cannot_be_a_case_is_refused_by_field_and_without_its_file_s_name(
    change: Callable[[list[dict[str, Any]]], object], field: str, reason: str, tmp_path: Path
) -> None:
    report = changed(change, tmp_path)
    [refusal] = report.refused
    assert (refusal.position, refusal.field) == ("file 1 of 1", field) and refusal.reason.startswith(reason)
    assert "vandersloot" not in repr(report).lower()
