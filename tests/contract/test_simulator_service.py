"""PatientSimulatorService over gRPC, with no inference behind it: it answers all the same; errors name the field."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc
from service_kit.grpc.channel import open_channel
from service_kit.grpc.server import GrpcServer
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.language import FrozenLanguageModel
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.server import SERVICE, PatientSimulator
from simulator_svc.settings import SimulatorSettings

NOBODY_LISTENS = "127.0.0.1:9"
ANXIOUS = patient_pb2.Persona(
    personality=patient_pb2.PERSONALITY_ENFP, emotional_state=patient_pb2.EMOTIONAL_STATE_ANXIOUS
)
STEMI = patient_pb2.CaseReference(case_id="inferior-stemi")


@pytest.fixture(scope="module")
async def simulator() -> AsyncIterator[simulator_pb2_grpc.PatientSimulatorServiceStub]:
    inference = open_channel(NOBODY_LISTENS)
    language = FrozenLanguageModel(
        inference_pb2_grpc.InferenceServiceStub(inference), inference_pb2.PRIORITY_CONSULTATION, 2.0
    )

    def register(server: grpc.aio.Server) -> Sequence[str]:
        patient = Patient(language, PatientSettings(draft_share=10))
        simulator_pb2_grpc.add_PatientSimulatorServiceServicer_to_server(
            PatientSimulator(CaseLibrary.load(), patient), server
        )
        return [SERVICE]

    server = GrpcServer(SimulatorSettings(grpc_port=0), "simulator", register)
    port = await server.start()
    await server.ready()
    channel = open_channel(f"127.0.0.1:{port}")
    yield simulator_pb2_grpc.PatientSimulatorServiceStub(channel)
    await channel.close(None)
    await inference.close(None)
    await server.drain(1)


def doctor(*turns: str) -> dialogue_pb2.Dialogue:
    return dialogue_pb2.Dialogue(
        messages=[dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=turn) for turn in turns]
    )


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    """Code, reason and violated fields."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    status = rpc_status.from_call(raised.value)  # type: ignore[arg-type]
    reason, fields = "", []
    for detail in status.details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        if detail.Unpack(bad):
            fields = [violation.field for violation in bad.field_violations]
    return raised.value.code(), reason, fields


async def test_lists_every_case_page_by_page(simulator: simulator_pb2_grpc.PatientSimulatorServiceStub) -> None:
    whole = await simulator.ListCases(pb.ListCasesRequest(), timeout=5)
    assert not whole.next_page_token
    paged: list[pb.CaseSummary] = []
    token = ""
    while True:
        page = await simulator.ListCases(pb.ListCasesRequest(page_size=7, page_token=token), timeout=5)
        assert len(page.cases) <= 7
        paged += page.cases
        token = page.next_page_token
        if not token:
            break
    assert paged == list(whole.cases)
    held_out = await simulator.ListCases(pb.ListCasesRequest(split=patient_pb2.CASE_SPLIT_HELD_OUT), timeout=5)
    assert len(held_out.cases) == len(whole.cases) // 3


async def test_gives_a_case_whole(simulator: simulator_pb2_grpc.PatientSimulatorServiceStub) -> None:
    case = (await simulator.GetCase(pb.GetCaseRequest(case_id="gout-toe"), timeout=5)).case
    assert case.diagnosis_names[0] == "gout" and len(case.facts) > 20


async def test_samples_a_persona_from_the_seed(simulator: simulator_pb2_grpc.PatientSimulatorServiceStub) -> None:
    request = pb.StartConsultationRequest(case=STEMI, seed=5)
    first, second = (
        await simulator.StartConsultation(request, timeout=5),
        await simulator.StartConsultation(request, timeout=5),
    )
    assert first == second
    assert first.persona.personality and "chest" in first.opening
    assert set(first.disclosed.stated_fact_ids) <= set(first.disclosed.allowed_fact_ids)


async def test_answers_without_inference_in_plain_statements(
    simulator: simulator_pb2_grpc.PatientSimulatorServiceStub,
) -> None:
    request = pb.RespondRequest(case=STEMI, persona=ANXIOUS, seed=1, dialogue=doctor("When did it start?"))
    response = await simulator.Respond(request, timeout=10)
    assert "two hours ago" in response.reply
    assert response.disclosed.source == pb.REPLY_SOURCE_PLAIN_STATEMENT
    assert list(response.disclosed.stated_fact_ids) == ["onset"]
    assert response.ending == pb.ENDING_UNSPECIFIED


async def test_plays_an_inline_case(simulator: simulator_pb2_grpc.PatientSimulatorServiceStub) -> None:
    case = (await simulator.GetCase(pb.GetCaseRequest(case_id="gout-toe"), timeout=5)).case
    case.case_id = "mine"
    request = pb.RespondRequest(
        case=patient_pb2.CaseReference(inline=case), persona=ANXIOUS, dialogue=doctor("Where is it?")
    )
    assert "big toe" in (await simulator.Respond(request, timeout=10)).reply


async def test_consults_in_one_stream_until_the_end(simulator: simulator_pb2_grpc.PatientSimulatorServiceStub) -> None:
    turns = ["When did it start?", "You have a heart attack. I will admit you to hospital.", "Are you still there?"]

    async def requests() -> AsyncIterator[pb.ConsultRequest]:
        yield pb.ConsultRequest(start=pb.StartConsultationRequest(case=STEMI, seed=3))
        for turn in turns:
            yield pb.ConsultRequest(doctor_turn=turn)

    responses = [response async for response in simulator.Consult(requests(), timeout=20)]
    assert len(responses) == 3
    assert responses[0].persona.personality and not responses[1].HasField("persona")
    assert responses[-1].ending == pb.ENDING_DIAGNOSIS_AND_PLAN


async def test_unknown_ids_are_not_found(simulator: simulator_pb2_grpc.PatientSimulatorServiceStub) -> None:
    unknown = patient_pb2.CaseReference(case_id="nobody")
    calls = [
        simulator.GetCase(pb.GetCaseRequest(case_id="nobody"), timeout=5),
        simulator.StartConsultation(pb.StartConsultationRequest(case=unknown), timeout=5),
        simulator.Respond(pb.RespondRequest(case=unknown, persona=ANXIOUS, dialogue=doctor("Hello?")), timeout=5),
    ]
    for call in calls:
        assert (await refusal(call))[0] is grpc.StatusCode.NOT_FOUND


async def test_wrong_arguments_are_refused_by_field(simulator: simulator_pb2_grpc.PatientSimulatorServiceStub) -> None:
    ends_with_patient = doctor("Hello?")
    ends_with_patient.messages.add(role=dialogue_pb2.ROLE_USER, content="Hello.")
    twice = (await simulator.GetCase(pb.GetCaseRequest(case_id="gout-toe"), timeout=5)).case
    twice.facts[1].fact_id = twice.facts[0].fact_id
    wrong = [
        (
            simulator.Respond(pb.RespondRequest(case=STEMI, persona=ANXIOUS, dialogue=ends_with_patient), timeout=5),
            "dialogue",
        ),
        (simulator.Respond(pb.RespondRequest(case=STEMI, persona=ANXIOUS, dialogue=doctor()), timeout=5), "dialogue"),
        (simulator.Respond(pb.RespondRequest(case=STEMI, dialogue=doctor("Hello?")), timeout=5), "persona"),
        (simulator.ListCases(pb.ListCasesRequest(page_token="nonsense"), timeout=5), "page_token"),
        (simulator.ListCases(pb.ListCasesRequest(page_size=5000), timeout=5), "page_size"),
        (
            simulator.StartConsultation(
                pb.StartConsultationRequest(case=patient_pb2.CaseReference(inline=twice)), timeout=5
            ),
            "case.inline.facts",
        ),
    ]
    for call, field in wrong:
        code, _, fields = await refusal(call)
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


@pytest.mark.parametrize(
    "second", [pb.ConsultRequest(start=pb.StartConsultationRequest(case=STEMI)), pb.ConsultRequest()]
)
async def test_a_stream_out_of_order_is_refused(
    simulator: simulator_pb2_grpc.PatientSimulatorServiceStub, second: pb.ConsultRequest
) -> None:
    async def requests(*events: pb.ConsultRequest) -> AsyncIterator[pb.ConsultRequest]:
        for event in events:
            yield event

    async def all_of(*events: pb.ConsultRequest) -> list[pb.ConsultResponse]:
        return [response async for response in simulator.Consult(requests(*events), timeout=5)]

    begin = pb.ConsultRequest(start=pb.StartConsultationRequest(case=STEMI))
    assert (await refusal(all_of(begin, second)))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refusal(all_of(pb.ConsultRequest(doctor_turn="Hello?"))))[0] is grpc.StatusCode.INVALID_ARGUMENT
