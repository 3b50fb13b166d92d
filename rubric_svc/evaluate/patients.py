"""The simulator's patients, as a candidate doctor meets them.

Invariant: an interview ends: by the patient's Termination Gate, at the turn limit, or with a ServiceError.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.simulator.v1 import simulator_pb2, simulator_pb2_grpc
from rubric_svc import mapping
from rubric_svc.case_store import CaseStore
from rubric_svc.evaluate.candidate import PROMPT_TOO_LONG, Candidate
from rubric_svc.evaluate.journal import Performance
from rubric_svc.model import Case, Persona, Speaker, Turn
from service_kit.errors import ServiceError
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.tls import TlsSettings

DEPENDENCY = "simulator"
_SERVICE = "anamnesis.simulator.v1.PatientSimulatorService"
_PAGE = 1000
INSTRUCTIONS = (Path(__file__).parent.parent / "prompts" / "osce_doctor.txt").read_text(encoding="utf-8").strip()
_ROLES = {Speaker.PATIENT: dialogue_pb2.ROLE_USER, Speaker.DOCTOR: dialogue_pb2.ROLE_ASSISTANT}


@dataclass(frozen=True, slots=True)
class Patient:
    """A case and the persona that the seed gives it."""

    case: Case
    persona: Persona
    specialty: str
    seed: int
    opening: str
    persona_sent: patient_pb2.Persona


class Patients:
    def __init__(self, target: str, limit_seconds: float, tls: TlsSettings | None = None) -> None:
        idempotent = {_SERVICE: ["ListCases", "GetCase", "StartConsultation", "Respond"]}
        self._channel = open_channel(target, idempotent=idempotent, tls=tls, peer=DEPENDENCY)
        self._stub = simulator_pb2_grpc.PatientSimulatorServiceStub(self._channel)
        self._limit = limit_seconds

    async def close(self) -> None:
        await self._channel.close(None)

    async def held_out(self, count: int, seed: int) -> list[Patient]:
        """`count` patients over the held-out cases in turn, each with a seed, so a persona, of its own."""
        request = simulator_pb2.ListCasesRequest(page_size=_PAGE, split=patient_pb2.CASE_SPLIT_HELD_OUT)
        summaries = sorted((await self._call("ListCases", request)).cases, key=lambda case: case.case_id)
        return [await self._patient(summaries[i % len(summaries)], seed + i) for i in range(count if summaries else 0)]

    async def interview(self, patient: Patient, candidate: Candidate, most_turns: int) -> Performance:
        turns = [Turn(Speaker.PATIENT, patient.opening)]
        ending = "turn_limit"
        for _ in range(most_turns):
            try:
                spoken = await candidate.answer((Turn(Speaker.SYSTEM, INSTRUCTIONS), *turns))
            except ServiceError as error:
                # The consultation has outgrown the candidate's context: what was said until then is judged.
                if error.reason != PROMPT_TOO_LONG or len(turns) == 1:
                    raise
                ending = "over_long"
                break
            turns.append(Turn(Speaker.DOCTOR, spoken.strip() or "…"))
            answer = await self._call(
                "Respond",
                simulator_pb2.RespondRequest(
                    case=patient_pb2.CaseReference(case_id=patient.case.case_id),
                    persona=patient.persona_sent,
                    seed=patient.seed,
                    dialogue=dialogue_pb2.Dialogue(
                        messages=[dialogue_pb2.Message(role=_ROLES[t.speaker], content=t.text) for t in turns]
                    ),
                    max_doctor_turns=most_turns,
                ),
            )
            turns.append(Turn(Speaker.PATIENT, answer.reply or "…"))
            if answer.ending:
                ending = simulator_pb2.Ending.Name(answer.ending).removeprefix("ENDING_").lower()
                break
        return Performance(turns=tuple((turn.speaker.value, turn.text) for turn in turns), ending=ending)

    async def _patient(self, summary: simulator_pb2.CaseSummary, seed: int) -> Patient:
        case = (await self._call("GetCase", simulator_pb2.GetCaseRequest(case_id=summary.case_id))).case
        reference = patient_pb2.CaseReference(case_id=summary.case_id)
        start = simulator_pb2.StartConsultationRequest(case=reference, seed=seed)
        started = await self._call("StartConsultation", start)
        return Patient(
            case=mapping.case_from_proto(patient_pb2.CaseReference(inline=case), CaseStore(None)),
            persona=mapping.persona_from_proto(started.persona),
            specialty=summary.specialty,
            seed=seed,
            opening=started.opening,
            persona_sent=started.persona,
        )

    async def _call(self, method: str, request: Any) -> Any:
        try:
            return await getattr(self._stub, method)(request, timeout=call_deadline(self._limit))
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
