"""PatientSimulatorService: protobuf in, the patient's plain Python, protobuf out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.errors import InvalidArgument
from simulator_svc import mapping
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.patient import Patient
from simulator_svc.personas.model import Persona
from simulator_svc.personas.sample import sample_persona

SERVICE = pb.DESCRIPTOR.services_by_name["PatientSimulatorService"].full_name
_PAGE = 100


class PatientSimulator(simulator_pb2_grpc.PatientSimulatorServiceServicer):
    def __init__(self, library: CaseLibrary, patient: Patient) -> None:
        self._library = library
        self._patient = patient

    async def ListCases(self, request: pb.ListCasesRequest, context: Any) -> pb.ListCasesResponse:
        cases = self._library.list(mapping.split_from_proto(request.split), request.specialty)
        begin = _after(cases, request.page_token)
        page = cases[begin : begin + (request.page_size or _PAGE)]
        more = begin + len(page) < len(cases)
        return pb.ListCasesResponse(
            cases=[_summary(case) for case in page], next_page_token=page[-1].case_id if more else ""
        )

    async def GetCase(self, request: pb.GetCaseRequest, context: Any) -> pb.GetCaseResponse:
        return pb.GetCaseResponse(case=mapping.case_to_proto(self._library.get(request.case_id)))

    async def StartConsultation(
        self, request: pb.StartConsultationRequest, context: Any
    ) -> pb.StartConsultationResponse:
        case, persona = self._begin(request)
        turn = self._patient.open(case, persona, request.seed)
        return pb.StartConsultationResponse(
            opening=turn.text,
            persona=mapping.persona_to_proto(persona),
            case_id=case.case_id,
            disclosed=mapping.disclosed_to_proto(turn),
        )

    async def Respond(self, request: pb.RespondRequest, context: Any) -> pb.RespondResponse:
        turn = await self._patient.respond(
            mapping.resolve_case(request.case, self._library),
            mapping.persona_from_proto(request.persona),
            request.seed,
            mapping.dialogue_from_proto(request.dialogue),
            request.max_doctor_turns or None,
        )
        return pb.RespondResponse(
            reply=turn.text, ending=mapping.ending_to_proto(turn.ending), disclosed=mapping.disclosed_to_proto(turn)
        )

    async def Consult(
        self, request_iterator: AsyncIterator[pb.ConsultRequest], context: Any
    ) -> AsyncIterator[pb.ConsultResponse]:
        """The dialogue lives as long as the stream; it ends with the consultation or when the caller stops."""
        first = await anext(aiter(request_iterator), None)
        if first is None:
            return
        if first.WhichOneof("event") != "start":
            raise InvalidArgument("start", "a consultation begins with start, then doctor turns follow")
        case, persona = self._begin(first.start)
        turn = self._patient.open(case, persona, first.start.seed)
        yield pb.ConsultResponse(
            patient_turn=turn.text,
            disclosed=mapping.disclosed_to_proto(turn),
            persona=mapping.persona_to_proto(persona),
        )
        dialogue = [Turn(Speaker.PATIENT, turn.text)]
        async for request in request_iterator:
            if request.WhichOneof("event") != "doctor_turn":
                raise InvalidArgument("start", "this consultation has begun; open another stream for another one")
            dialogue.append(Turn(Speaker.DOCTOR, request.doctor_turn))
            turn = await self._patient.respond(case, persona, first.start.seed, dialogue, None)
            dialogue.append(Turn(Speaker.PATIENT, turn.text))
            yield pb.ConsultResponse(
                patient_turn=turn.text,
                ending=mapping.ending_to_proto(turn.ending),
                disclosed=mapping.disclosed_to_proto(turn),
            )
            if turn.ending:
                return

    def _begin(self, request: pb.StartConsultationRequest) -> tuple[Case, Persona]:
        case = mapping.resolve_case(request.case, self._library)
        given = request.HasField("persona")
        if given:
            return case, mapping.persona_from_proto(request.persona)
        return case, sample_persona(request.seed, case.age_years, case.words_per_turn)


def _after(cases: list[Case], page_token: str) -> int:
    """A token is the last id of the page before, so that a page stays the same when another replica serves it."""
    if not page_token:
        return 0
    for index, case in enumerate(cases):
        if case.case_id == page_token:
            return index + 1
    raise InvalidArgument("page_token", "is not from a list with this split and specialty")


def _summary(case: Case) -> pb.CaseSummary:
    return pb.CaseSummary(
        case_id=case.case_id,
        title=case.title,
        specialty=case.specialty,
        age_years=case.age_years,
        sex=mapping.sex_to_proto(case.sex),
        split=mapping.split_to_proto(case.split),
        fact_count=len(case.facts),
    )
