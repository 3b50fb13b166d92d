"""A MediQ vignette becomes a case: each atomic fact in the category of its words, the answer a secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator_svc.cases.classify import category_of
from simulator_svc.cases.importers.draft import Format
from simulator_svc.cases.importers.report import Report
from simulator_svc.cases.importers.run import import_cases
from simulator_svc.cases.importers.sentences import says_nothing
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category

FACTS = [
    "1. A 47-year-old man with a history of gout presents to the clinic with tingling of both hands.",
    "2. Patient has had the tingling for 6 months.",
    "3. Patient denies neck pain.",
    "4. Patient takes allopurinol.",
    "5. His father had diabetes.",
    "6. Patient works as a carpenter.",
    "7. Phalen test is positive on the right side.",
    "8. TSH is 2.1 mU/L.",
    "9. A photograph of the hands is shown.",
    "10. Physician suspects carpal tunnel syndrome.",
]


def record(question: str, answer: str, **other: Any) -> dict[str, Any]:
    patient = {"age": "47", "gender": "Male", "gpt_specialty": "Neurology"}
    return {"id": 9, "question": question, "answer": answer, "facts": FACTS, "context": [], "patient": patient, **other}


def imported(tmp_path: Path, *records: dict[str, Any]) -> tuple[Report, list[Case]]:
    source = tmp_path / "vignettes.jsonl"
    source.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    report = import_cases(Format.MEDIQ, source, tmp_path / "cases")
    return report, CaseLibrary.load(tmp_path / "cases").list() if report.imported else []


def test_each_fact_is_told_in_its_category(tmp_path: Path) -> None:
    _, [case] = imported(tmp_path, record("What is the most likely diagnosis?", "Carpal tunnel syndrome"))
    said = {category: [f.spoken for f in case.facts if f.category is category and f.spoken] for category in Category}
    assert said[Category.CHIEF_COMPLAINT] == ["I present to the clinic with tingling of both hands."]
    assert said[Category.PAST_HISTORY] == ["I have a history of gout."]
    assert said[Category.ONSET] == ["I have had the tingling for 6 months."]
    assert said[Category.REVIEW_OF_SYSTEMS] == ["I have had no neck pain."]
    assert said[Category.MEDICATION] == ["I take allopurinol."]
    assert said[Category.FAMILY] == ["My father had diabetes."]
    assert said[Category.SOCIAL] == ["I am a 47-year-old man.", "I work as a carpenter."]
    assert said[Category.EXAMINATION] == ["They told me that phalen test is positive on the right side."]
    assert said[Category.TEST] == ["They told me that TSH is 2.1 mU/L."]
    assert (case.diagnosis_names[0], case.specialty) == ("Carpal tunnel syndrome", "neurology")
    assert not [fact for fact in case.facts if "shown" in fact.text]


def test_a_plan_is_no_diagnosis_and_no_answer_is_ever_said(tmp_path: Path) -> None:
    told = [*FACTS, "11. Patient asks for a wrist splint."]
    question = "Which of the following is the best next step in management?"
    _, [case] = imported(tmp_path, record(question, "Wrist splint", facts=told))
    assert case.diagnosis_names == ()
    assert [fact.text for fact in case.facts if fact.category is Category.MANAGEMENT] == ["Wrist splint."]
    assert not [fact for fact in case.facts if "splint" in fact.spoken]


def test_a_record_of_no_patient_is_refused(tmp_path: Path) -> None:
    study = record("Which bias is this?", "Recall bias", patient={"age": "study", "gender": "study"})
    ageless = record("?", "x", patient={}, facts=["Patient has a cough."])
    empty = record("?", "x", facts=[])
    report, _ = imported(tmp_path, study, ageless, empty)
    assert [(row.position, row.field) for row in report.refused] == [
        ("line 1", "patient.age"),
        ("line 2", "patient.age"),
        ("line 3", "facts"),
    ]


@pytest.mark.parametrize(
    ("sentence", "category"),
    [
        ("Her blood pressure is 120/80 mm Hg.", Category.EXAMINATION),
        ("Hematocrit is 31%.", Category.TEST),
        ("An ECG shows ST elevation.", Category.TEST),
        ("She smokes one pack of cigarettes a day.", Category.SOCIAL),
        ("His mother died of breast cancer.", Category.FAMILY),
        ("He is allergic to penicillin.", Category.ALLERGY),
        ("The pain radiates to the left arm.", Category.RADIATION),
        ("The pain is worse with deep breaths.", Category.AGGRAVATING),
        ("Rest improves the pain.", Category.RELIEVING),
        ("The pain is 8/10.", Category.SEVERITY),
        ("The patient is diagnosed with anemia.", Category.DIAGNOSIS),
        ("Intravenous antibiotics are started.", Category.MANAGEMENT),
        ("He underwent an appendectomy 10 years ago.", Category.PAST_HISTORY),
        ("She has hiccups.", Category.ASSOCIATED),
    ],
)
def test_a_sentence_is_classified_by_its_words(sentence: str, category: Category) -> None:
    assert category_of(sentence) is category


@pytest.mark.parametrize(
    ("sentence", "nothing"),
    [
        ("Information not provided.", True),
        ("Not specified", True),
        ("The patient is brought to the emergency department by his mother.", True),
        ("She comes to the physician for a follow-up examination.", True),
        ("A photograph of the lesion is shown.", True),
        ("No significant past medical history.", False),
        ("Naproxen 500 mg twice a day.", False),
        ("No known drug allergies.", False),
        ("The patient presents to the clinic because of a cough.", False),
        ("He is brought to the hospital after a fall.", False),
    ],
)
def test_what_says_nothing_is_told_from_what_says_that_there_is_nothing(sentence: str, nothing: bool) -> None:
    assert says_nothing(sentence) is nothing
