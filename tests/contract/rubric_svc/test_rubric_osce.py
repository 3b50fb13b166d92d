"""A candidate doctor interviews the real simulator's patients (without a language model) and is scored by station."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from anamnesis.simulator.v1 import simulator_pb2_grpc
from rubric_svc.evaluate.journal import Journal
from rubric_svc.evaluate.osce import OsceTask
from rubric_svc.evaluate.patients import INSTRUCTIONS, Patient, Patients
from rubric_svc.evaluate.run import Evaluation, Reported
from rubric_svc.evaluate.scores import summarize
from rubric_svc.generate import templates
from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.model import ungraded
from rubric_svc.judge.verifiable import judge
from rubric_svc.model import Case, Category, Dialogue, Rubric, Scope, Speaker, Verdict
from service_kit.errors import ServiceError
from service_kit.grpc.server import GrpcServer
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.patient import Patient as SimulatedPatient
from simulator_svc.patient import PatientSettings
from simulator_svc.server import SERVICE, PatientSimulator
from simulator_svc.settings import SimulatorSettings

MOST_TURNS = 8


class MatchersOnly:
    async def judge(self, rubric: Rubric, dialogue: Dialogue, scope: Scope) -> list[Verdict]:
        evidence = Evidence.of(dialogue, scope)
        return [judge([c], evidence)[0] if c.check.matcher else ungraded(c, "NO_MODEL") for c in rubric.criteria]


class Doctor:
    """Says the same lines to every patient; `knows` lets it order and conclude what the case holds."""

    name = "scripted"

    def __init__(self, lines: Sequence[str], knows: dict[str, Case] | None = None) -> None:
        self._lines = lines
        self._knows = knows or {}
        self.first_instructions = ""

    async def answer(self, dialogue: Dialogue) -> str:
        self.first_instructions = dialogue[0].text
        turn = sum(said.speaker is Speaker.DOCTOR for said in dialogue)
        case = self._knows.get(dialogue[1].text)
        if case is not None and turn == len(self._lines):
            cues = [fact.cues[0].rstrip("*") for c in (Category.EXAMINATION, Category.TEST) for fact in case.of(c)]
            return " ".join(f"I would like to check your {cue}." for cue in cues)
        if case is not None and turn > len(self._lines):
            return f"You have {case.diagnosis_names[0]}. I will refer you to hospital now. Goodbye."
        return self._lines[min(turn, len(self._lines) - 1)]

    async def close(self) -> None: ...


@pytest.fixture(scope="module")
async def patients() -> AsyncIterator[Patients]:
    def register(server: grpc.aio.Server) -> Sequence[str]:
        simulated = PatientSimulator(CaseLibrary.load(), SimulatedPatient(None, PatientSettings()))
        simulator_pb2_grpc.add_PatientSimulatorServiceServicer_to_server(simulated, server)
        return [SERVICE]

    server = GrpcServer(SimulatorSettings(grpc_port=0), "simulator", register)
    port = await server.start()
    await server.ready()
    opened = Patients(f"127.0.0.1:{port}", 30.0)
    yield opened
    await opened.close()
    await server.drain(1)


async def _examined(patients: Patients, met: list[Patient], doctor: Doctor, directory: Path) -> list[Reported]:
    tasks = [OsceTask(patient, patients, templates.built_in(), 0, MOST_TURNS, 0.3) for patient in met]
    journal = Journal(directory, {"benchmark": "osce"})
    evaluation = Evaluation(tasks, doctor, MatchersOnly(), journal, 4, lambda done, total: None)
    await evaluation.run()
    assert not evaluation.unplayed
    return evaluation.reported()


HISTORY = [
    "Hello. When did it start?",
    "Where is it, and how bad is it?",
    "What makes it worse? What makes it better?",
    "Do you take any medicines? Are you allergic to anything?",
    "Have you had any illnesses before? Does anything run in your family?",
]


async def test_a_doctor_who_asks_orders_and_concludes_beats_one_who_does_not(
    patients: Patients, tmp_path: Path
) -> None:
    met = await patients.held_out(6, seed=3)
    knowing = Doctor(HISTORY, knows={patient.opening: patient.case for patient in met})
    good = summarize([one.example for one in await _examined(patients, met, knowing, tmp_path / "good")]).means
    idle = Doctor(["I see. Please tell me more about the weather."])
    poor = summarize([one.example for one in await _examined(patients, met, idle, tmp_path / "poor")]).means
    assert good["station:history"].value > 0.4 > poor["station:history"].value
    assert good["station:diagnosis"].value > 0.8
    assert poor["station:diagnosis"].value == 0
    assert good["station:examination"].value > poor["station:examination"].value
    assert good["overall"].value > poor["overall"].value
    assert knowing.first_instructions == INSTRUCTIONS


async def test_an_interview_that_was_played_is_not_played_again(patients: Patients, tmp_path: Path) -> None:
    met = await patients.held_out(2, seed=5)
    first = await _examined(patients, met, Doctor(HISTORY), tmp_path)
    silent = Doctor([])  # would fail if it were asked
    again = await _examined(patients, met, silent, tmp_path)
    assert [one.dialogue for one in again] == [one.dialogue for one in first]


async def test_patients_are_held_out_cases_each_with_a_seed_of_its_own(patients: Patients) -> None:
    met = await patients.held_out(30, seed=100)
    held_out = {case.case_id for case in CaseLibrary.load().list() if case.split == "held_out"}
    assert {patient.case.case_id for patient in met} == held_out
    assert [patient.seed for patient in met] == list(range(100, 130))


async def test_a_simulator_that_is_away_is_an_error_not_a_score() -> None:
    away = Patients("127.0.0.1:9", 3.0)
    with pytest.raises(ServiceError):
        await away.held_out(1, seed=0)
    await away.close()
