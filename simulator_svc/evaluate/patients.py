"""The patient that is evaluated: behind its service, or in this process, where units can be switched off and timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc

from anamnesis.common.v1 import patient_pb2
from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import call_deadline, service_error
from simulator_svc import mapping
from simulator_svc.cases.model import Case
from simulator_svc.dialogue import Ending, ReplySource, Turn
from simulator_svc.patient import Patient, PatientTurn
from simulator_svc.personas.model import Persona

DEPENDENCY = "simulator"
# More than any script has, so that the limit ends no consultation before its closing turn.
MAX_DOCTOR_TURNS = 64


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    ending: Ending | None
    source: ReplySource
    rewrites: int
    seconds: float


class PatientUnderTest(Protocol):
    """Raises ServiceError, for a turn that it refuses too."""

    async def open(self, case: Case, persona: Persona, seed: int) -> Reply: ...

    async def respond(self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn]) -> Reply: ...


class ServedPatient:
    """PatientSimulatorService. Cases travel inline, so the service may never have seen them."""

    def __init__(self, stub: simulator_pb2_grpc.PatientSimulatorServiceStub, seconds: float = 120.0) -> None:
        self._stub = stub
        self._seconds = seconds

    async def open(self, case: Case, persona: Persona, seed: int) -> Reply:
        request = pb.StartConsultationRequest(case=_inline(case), persona=mapping.persona_to_proto(persona), seed=seed)
        began = time.perf_counter()
        try:
            response = await self._stub.StartConsultation(request, timeout=call_deadline(self._seconds))
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
        return _reply(response.opening, pb.ENDING_UNSPECIFIED, response.disclosed, began)

    async def respond(self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn]) -> Reply:
        request = pb.RespondRequest(
            case=_inline(case),
            persona=mapping.persona_to_proto(persona),
            seed=seed,
            dialogue=mapping.dialogue_to_proto(dialogue),
            max_doctor_turns=MAX_DOCTOR_TURNS,
        )
        began = time.perf_counter()
        try:
            response = await self._stub.Respond(request, timeout=call_deadline(self._seconds))
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
        return _reply(response.reply, response.ending, response.disclosed, began)


class LocalPatient:
    def __init__(self, patient: Patient) -> None:
        self._patient = patient

    async def open(self, case: Case, persona: Persona, seed: int) -> Reply:
        began = time.perf_counter()
        return _spoken(self._patient.open(case, persona, seed), began)

    async def respond(self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn]) -> Reply:
        began = time.perf_counter()
        return _spoken(await self._patient.respond(case, persona, seed, dialogue, MAX_DOCTOR_TURNS), began)


def _inline(case: Case) -> patient_pb2.CaseReference:
    return patient_pb2.CaseReference(inline=mapping.case_to_proto(case))


def _reply(text: str, ending: pb.Ending.ValueType, disclosed: pb.Disclosed, began: float) -> Reply:
    return Reply(
        text=text,
        ending=Ending[pb.Ending.Name(ending).removeprefix("ENDING_")] if ending else None,
        source=ReplySource[pb.ReplySource.Name(disclosed.source).removeprefix("REPLY_SOURCE_")],
        rewrites=disclosed.rewrites,
        seconds=time.perf_counter() - began,
    )


def _spoken(turn: PatientTurn, began: float) -> Reply:
    return Reply(turn.text, turn.ending, turn.source, turn.rewrites, time.perf_counter() - began)
