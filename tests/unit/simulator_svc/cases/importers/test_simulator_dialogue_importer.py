"""A recorded conversation becomes a case of what the patient stated, with how the patient spoke."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from simulator_svc.cases.importers.draft import Format
from simulator_svc.cases.importers.report import Report, SourceUnreadable
from simulator_svc.cases.importers.run import import_cases
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category, Sex

NOTE = (
    "The patient is a 61-year-old male with a painful wrist. He denies numbness. Mr. Pelletier takes naproxen 500 mg."
)
TALK = """Doctor: What brings you in today, Mr. Pelletier?
Patient: Um, I fell on my left wrist two days ago.
Doctor: I see. Do you have any numbness?
Patient: No, doctor.
Doctor: Do you smoke?
Patient: Yes.
Doctor: Have you had any fever or chills?
Patient: No.
Doctor: Are you taking anything for it?
Patient: I think I take naproxen, about five hundred milligrams. Thank you for asking.
Doctor: Have you had fever or cough?
Patient: Yes."""


HEADER = "section_header section_text dialogue"


def imported(tmp_path: Path, *rows: tuple[str, str, str], fields: str = HEADER) -> tuple[Report, list[Case]]:
    source = tmp_path / "talks.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(fields.split())
        writer.writerows(rows)
    report = import_cases(Format.DIALOGUE, source, tmp_path / "cases")
    return report, CaseLibrary.load(tmp_path / "cases").list() if report.imported else []


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    report, cases = imported(tmp_path_factory.mktemp("talk"), ("GENHX", NOTE, TALK))
    assert report.removed["name"] == 2
    return cases[0]


def spoken(case: Case) -> list[str]:
    return [fact.spoken for fact in case.facts if fact.spoken]


def test_the_patient_s_own_sentences_are_said_as_they_were(case: Case) -> None:
    assert (case.age_years, case.sex) == (61, Sex.MALE)
    complaint = next(fact for fact in case.facts if fact.category is Category.CHIEF_COMPLAINT)
    assert complaint.spoken == "I fell on my left wrist two days ago."
    assert "I think I take naproxen, about five hundred milligrams." in spoken(case)


def test_a_yes_or_a_no_is_a_sentence_only_where_it_is_clear(case: Case) -> None:
    assert "I do not have any numbness." in spoken(case)
    assert "I smoke." in spoken(case)
    assert "I have not had any fever or chills." in spoken(case)
    assert not [words for words in spoken(case) if "cough" in words]  # fever or cough: yes to which?


def test_manners_are_no_facts_and_the_doctor_states_none(case: Case) -> None:
    assert not [words for words in spoken(case) if "asking" in words or "brings" in words]


def test_the_manner_of_speech_is_measured_and_kept(case: Case) -> None:
    assert case.manner and case.manner.turns == 6
    assert 3 < case.manner.words_per_turn < 8
    assert case.manner.fillers == pytest.approx(1 / 6, abs=0.01) == case.manner.hedges


def test_no_name_is_left(case: Case) -> None:
    assert "pelletier" not in repr(case).lower()


def test_what_is_too_little_for_a_case_is_refused_by_row(tmp_path: Path) -> None:
    report, _ = imported(
        tmp_path,
        ("GENHX", "The patient has a cough.", TALK),
        ("CC", "A 50-year-old woman with a cough.", "Doctor: How are you?\nPatient: I am fine."),
        ("MYSTERY", NOTE, TALK),
        ("GENHX", NOTE, TALK),
    )
    assert report.imported == 1
    assert [(row.position.split(" (")[0], row.field) for row in report.refused] == [
        ("row 1", "section_text"),
        ("row 2", "dialogue"),
        ("row 3", "section_header"),
    ]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="has no column dialogue"):
        imported(tmp_path, fields="section_header section_text talk")
