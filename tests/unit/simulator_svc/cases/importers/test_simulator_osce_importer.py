"""An OSCE record becomes a case: every part a fact of the right category, and the diagnosis a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator_svc.cases.importers.draft import Format
from simulator_svc.cases.importers.report import Report, SourceUnreadable
from simulator_svc.cases.importers.run import import_cases
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category, Disclosure, Sex

RECORD: dict[str, Any] = {
    "OSCE_Examination": {
        "Objective_for_Doctor": "Find out why the patient faints.",
        "Patient_Actor": {
            "Demographics": "72-year-old woman",
            "History": "The patient reports a 2-week history of fainting. Dr. Kumar saw her on May 3, 2021.",
            "Symptoms": {"Primary_Symptom": "Fainting when standing up", "Secondary_Symptoms": ["No tongue biting"]},
            "Past_Medical_History": ["Hypertension", "Allergic to penicillin"],
            "Current_Medications": ["Hydrochlorothiazide 25 mg"],
            "Social_History": {"Living": "Lives alone.", "Smoking": "Non-smoker."},
            "Review_of_Systems": "Information not provided.",
        },
        "Physical_Examination_Findings": {
            "Vital_Signs": {"Blood_Pressure": "95/60 mmHg standing", "Heart_Rate": 104},
            "Neurological_Examination": {"Reflexes": "Normal. No Babinski sign."},
        },
        "Test_Results": {
            "ECG": {"Findings": "Sinus tachycardia, consistent with orthostatic hypotension (OH)."},
            "Tilt_Table": "Orthostatic hypotension was seen.",
        },
        "Correct_Diagnosis": "Orthostatic hypotension (OH)",
    }
}


def imported(tmp_path: Path, *records: Any) -> tuple[Report, CaseLibrary | None]:
    source = tmp_path / "records.jsonl"
    source.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in records), encoding="utf-8")
    report = import_cases(Format.OSCE, source, tmp_path / "cases")
    return report, CaseLibrary.load(tmp_path / "cases") if report.imported else None


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    report, library = imported(tmp_path_factory.mktemp("osce"), RECORD)
    assert library and report.removed == {"name": 1, "date": 1} and not report.refused
    return library.list()[0]


def said(case: Case, category: Category) -> list[str]:
    return [fact.spoken for fact in case.facts if fact.category is category and fact.spoken]


def test_each_part_is_in_its_category(case: Case) -> None:
    assert (case.age_years, case.sex) == (72, Sex.FEMALE)
    assert said(case, Category.CHIEF_COMPLAINT) == ["I have fainting when standing up."]
    assert "I have a 2-week history of fainting." in said(case, Category.ONSET)
    assert said(case, Category.PAST_HISTORY) == ["I have a history of hypertension."]
    assert said(case, Category.ALLERGY) == ["I am allergic to penicillin."]
    assert said(case, Category.MEDICATION) == ["I take hydrochlorothiazide 25 mg."]
    assert said(case, Category.SOCIAL) == ["I live alone.", "I am a non-smoker."]
    assert "They told me my heart rate is 104." in said(case, Category.EXAMINATION)
    assert all(
        fact.disclosure is Disclosure.ON_EXAMINATION for fact in case.facts if fact.category is Category.EXAMINATION
    )


def test_the_doctor_s_task_is_no_fact_of_the_patient(case: Case) -> None:
    assert not [fact for fact in case.facts if "Find out" in fact.text]


def test_the_diagnosis_is_known_by_its_names_and_never_said(case: Case) -> None:
    assert (
        case.diagnosis_names == ("Orthostatic hypotension", "OH") or "Orthostatic hypotension" in case.diagnosis_names
    )
    assert said(case, Category.TEST) == ["They told me about my ECG: sinus tachycardia."]
    silent = [fact for fact in case.facts if fact.category is Category.TEST and fact.disclosure is Disclosure.NEVER]
    assert [fact.text for fact in silent] == ["Tilt table: Orthostatic hypotension was seen."]


def test_nothing_identifying_reaches_the_case(case: Case) -> None:
    assert not [fact for fact in case.facts if "Kumar" in fact.text + fact.spoken or "May" in fact.text + fact.spoken]


def test_a_bad_record_is_refused_by_line_and_field_and_the_rest_imported(tmp_path: Path) -> None:
    actor = RECORD["OSCE_Examination"]["Patient_Actor"]
    ageless = {"OSCE_Examination": {**RECORD["OSCE_Examination"], "Patient_Actor": {**actor, "Demographics": "woman"}}}
    nameless = {"OSCE_Examination": {**RECORD["OSCE_Examination"], "Correct_Diagnosis": ""}}
    cyrillic = {"OSCE_Examination": {**RECORD["OSCE_Examination"], "Patient_Actor": {**actor, "History": "Жалобы."}}}
    report, library = imported(tmp_path, ageless, "{not json", "", nameless, cyrillic, [1], RECORD)
    assert library and report.imported == 1
    assert [(row.position, row.field, row.reason) for row in report.refused] == [
        ("line 1", "Patient_Actor.Demographics", "states no age"),
        ("line 2", "", "is not JSON"),
        ("line 4", "Correct_Diagnosis", "is missing"),
        ("line 5", "OSCE_Examination.Patient_Actor.History", "text in another script"),
        ("line 6", "OSCE_Examination", "is not an object with Patient_Actor"),
    ]


def test_one_record_twice_is_in_one_split(tmp_path: Path) -> None:
    _, library = imported(tmp_path, RECORD, RECORD)
    assert library
    first, second = library.list()
    assert first.case_id != second.case_id and first.split is second.split


def test_a_directory_that_holds_cases_is_not_written_into(tmp_path: Path) -> None:
    imported(tmp_path, RECORD)
    with pytest.raises(SourceUnreadable, match="holds case files already"):
        imported(tmp_path, RECORD)


def test_files_of_a_directory_are_numbered_and_not_named(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "Jane_Doe.jsonl").write_text("{", encoding="utf-8")
    report = import_cases(Format.OSCE, source, tmp_path / "out")
    assert [row.position for row in report.refused] == ["file 1 of 1, line 1"]
