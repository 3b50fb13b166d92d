"""The public files are imported whole: every record becomes a case that plays, or is refused with a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator_svc.cases.importers.draft import Format
from simulator_svc.cases.importers.report import Report
from simulator_svc.cases.importers.run import import_cases
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Disclosure, Split
from simulator_svc.cases.wording import keeps
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.personas.model import Persona
from simulator_svc.units.claims import names_any, normal_sentences

DATA = Path(__file__).parents[6] / "shared" / "data"
FILES = {
    Format.OSCE: (DATA / "agentclinic" / "agentclinic_medqa.jsonl", 107, 100),
    Format.MEDIQ: (DATA / "mediq" / "all_dev_good.jsonl", 1272, 1000),
    Format.DIALOGUE: (DATA / "mts-dialog" / "MTS-Dialog-TrainingSet.csv", 1201, 200),
}
QUESTIONS = (
    "When did it start?",
    "Do you have any medical problems?",
    "Let me check your vital signs.",
    "I would like to order some blood tests.",
    "What is your diagnosis?",
)


@dataclass(frozen=True)
class Import:
    format: Format
    report: Report
    library: CaseLibrary


# MediQ's 1,272 vignettes take a while on a busy machine.
PARAMS = [pytest.param(form, marks=pytest.mark.slow if form is Format.MEDIQ else (), id=form.value) for form in FILES]


@pytest.fixture(scope="module", params=PARAMS)
def public(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Import:
    source, _, _ = FILES[request.param]
    if not source.exists():
        pytest.skip(f"needs {source.name} in ../shared/data")
    out = tmp_path_factory.mktemp(request.param)
    report = import_cases(request.param, source, out)
    return Import(request.param, report, CaseLibrary.load(out))


def test_every_record_is_imported_or_refused_with_a_reason(public: Import) -> None:
    _, records, least = FILES[public.format]
    assert public.report.imported + len(public.report.refused) == records
    assert public.report.imported == len(public.library.list()) >= least
    assert all(refusal.reason and refusal.position for refusal in public.report.refused)


def test_about_a_third_is_held_out(public: Import) -> None:
    splits = Counter(case.split for case in public.library.list())
    assert 0.25 < splits[Split.HELD_OUT] / splits.total() < 0.42


def test_no_sentence_loses_a_number_a_side_or_a_negation(public: Import) -> None:
    lost = [
        (fact.text, fact.spoken)
        for case in public.library.list()
        for fact in case.facts
        if fact.spoken and not keeps(fact.text, fact.spoken)
    ]
    assert lost == []


def test_no_sentence_names_the_diagnosis_or_is_said_twice(public: Import) -> None:
    for case in public.library.list():
        told = [fact for fact in case.facts if fact.disclosure is not Disclosure.NEVER]
        assert not [fact for fact in told if names_any(fact.spoken, case.diagnosis_names)]
        sentences = Counter(sentence for fact in told for sentence in normal_sentences(fact.spoken))
        assert max(sentences.values()) == 1


async def test_each_case_opens_and_answers(public: Import) -> None:
    patient, persona = Patient(None, PatientSettings()), Persona()
    answered = opened = 0
    for case in public.library.list()[:120]:
        first = patient.open(case, persona, 1)
        opened += bool(first.stated)
        dialogue = [Turn(Speaker.PATIENT, first.text)]
        for question in QUESTIONS:
            dialogue.append(Turn(Speaker.DOCTOR, question))
            turn = await patient.respond(case, persona, 1, dialogue, 20)
            assert turn.text and not names_any(turn.text, case.diagnosis_names)
            answered += bool(turn.stated)
            dialogue.append(Turn(Speaker.PATIENT, turn.text))
    count = min(120, len(public.library.list()))
    assert opened >= 0.97 * count
    assert answered >= count  # of four questions that a whole case answers, one at the least
