"""Whatever a caller sends and whatever a handler does, the answer is a clear code: never UNKNOWN, never a hang."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.inference.v1 import inference_pb2
from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc as services
from service_kit.errors import Code, InvalidArgument, ServiceError
from service_kit.grpc.channel import open_channel, service_error
from service_kit.grpc.interceptors import validate
from service_kit.grpc.server import GrpcServer
from service_kit.settings import ServiceSettings
from tests.contract.service_kit_probe import SERVICE, Probe, register

LIMIT_BYTES = 64 * 1024
LIMIT_CALLS = 3


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def target(probe: Probe) -> AsyncIterator[str]:
    settings = ServiceSettings(max_message_bytes=LIMIT_BYTES, max_concurrent_calls=LIMIT_CALLS)
    server = GrpcServer(settings, "probe", register(probe))
    port = await server.start()
    await server.ready()
    yield f"127.0.0.1:{port}"
    await server.drain(1)


@pytest.fixture
async def channel(target: str) -> AsyncIterator[grpc.aio.Channel]:
    async with open_channel(target) as opened:
        yield opened


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Any:
    return services.PatientSimulatorServiceStub(channel)


async def refused(call: Any) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    told = service_error(error.value, "probe")
    # service_error words some codes anew: the code is compared as it was received.
    told.code = Code(error.value.code().value[0])
    return told


async def get(stub: Any, case_id: str, timeout: float = 5.0) -> Any:
    return await stub.GetCase(pb.GetCaseRequest(case_id=case_id), timeout=timeout)


async def test_a_good_request_is_answered(stub: Any) -> None:
    assert (await get(stub, "c1")).case.case_id == "c1"


async def test_a_bad_field_is_named(stub: Any) -> None:
    error = await refused(get(stub, ""))
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "CONTRACT_VIOLATION")
    assert [violation.field for violation in error.violations] == ["case_id"]
    assert "case_id" in error.message


async def test_every_bad_field_is_named_by_its_path(stub: Any) -> None:
    request = pb.RespondRequest(
        case=patient_pb2.CaseReference(case_id="c"),
        persona=patient_pb2.Persona(),
        dialogue=dialogue_pb2.Dialogue(messages=[dialogue_pb2.Message()]),
        max_doctor_turns=1000,
    )
    error = await refused(stub.Respond(request, timeout=5))
    fields = [violation.field for violation in error.violations]
    assert "max_doctor_turns" in fields
    assert any(field.startswith("dialogue.messages[0].") for field in fields)


def test_repeated_fields_have_their_index_in_the_path() -> None:
    item = inference_pb2.ChooseItem(prompt=inference_pb2.Prompt(token_ids_so_far=[1]), choices=["yes", ""])
    with pytest.raises(InvalidArgument) as error:
        validate(inference_pb2.ChooseRequest(items=[item]))
    assert error.value.violations[0].field == "items[0].choices[1]"


def test_a_rule_on_a_whole_message_names_that_message() -> None:
    request = inference_pb2.ChooseRequest(
        items=[inference_pb2.ChooseItem(prompt=inference_pb2.Prompt(), choices=["yes"])]
    )
    with pytest.raises(InvalidArgument) as error:
        validate(request)
    assert error.value.violations[0].field == "items[0].prompt"


async def test_each_message_of_a_stream_is_checked(stub: Any) -> None:
    call = stub.Consult(timeout=5)
    await call.write(pb.ConsultRequest(doctor_turn="hello"))
    assert (await call.read()).patient_turn == "hello"
    await call.write(pb.ConsultRequest(doctor_turn=""))
    error = await refused(call)
    assert error.code is Code.INVALID_ARGUMENT
    assert error.violations[0].field == "doctor_turn"


@pytest.mark.parametrize("method", ["GetCase", "Consult"])
async def test_bytes_that_are_no_message_are_the_callers_fault(channel: Any, method: str) -> None:
    path = f"/{SERVICE}/{method}"
    if method == "Consult":
        call: Any = channel.stream_stream(path)(iter([b"\xff\xff\xff"]), timeout=5)
    else:
        call = channel.unary_unary(path)(b"\xff\xff\xff", timeout=5)
    error = await refused(call)
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "UNDECODABLE_REQUEST")


async def test_an_oversized_request_is_refused_by_size(stub: Any) -> None:
    error = await refused(get(stub, "x" * (LIMIT_BYTES + 1)))
    assert error.code is Code.RESOURCE_EXHAUSTED


async def test_a_bug_is_internal_and_tells_only_an_id(stub: Any, caplog: pytest.LogCaptureFixture) -> None:
    error = await refused(get(stub, "bug:secret"))
    assert error.code is Code.INTERNAL
    assert "secret" not in error.message
    record = next(record for record in caplog.records if record.exc_info)
    assert record.__dict__["error_id"] in error.message
    assert "boo secret" in str(record.exc_info)


async def test_what_a_library_has_not_built_is_a_bug_and_no_missing_rpc(stub: Any) -> None:
    error = await refused(get(stub, "library:x"))
    assert error.code is Code.INTERNAL


async def test_a_bug_in_a_stream_is_internal_too(stub: Any) -> None:
    error = await refused(stub.Consult(iter([pb.ConsultRequest(doctor_turn="boom")]), timeout=5))
    assert error.code is Code.INTERNAL


async def test_what_is_not_built_says_so(channel: Any, stub: Any) -> None:
    request = pb.StartConsultationRequest(case=patient_pb2.CaseReference(case_id="c"))
    assert (await refused(stub.StartConsultation(request, timeout=5))).code is Code.UNIMPLEMENTED
    nowhere = channel.unary_unary(f"/{SERVICE}/Nonsense")
    assert (await refused(nowhere(b"", timeout=5))).code is Code.UNIMPLEMENTED


async def test_an_unknown_id_is_not_found(stub: Any) -> None:
    error = await refused(get(stub, "missing:c9"))
    assert (error.code, error.reason, error.metadata["case"]) == (Code.NOT_FOUND, "CASE_NOT_FOUND", "c9")


async def test_retry_info_comes_with_a_full_queue(stub: Any) -> None:
    error = await refused(get(stub, "busy:1.5"))
    assert (error.code, error.reason, error.retry_after) == (Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", 1.5)


async def test_a_handlers_own_timeout_is_a_deadline(stub: Any) -> None:
    assert (await refused(get(stub, "timeout"))).code is Code.DEADLINE_EXCEEDED


async def test_more_calls_than_the_limit_are_refused_and_health_still_answers(
    channel: grpc.aio.Channel, stub: Any, probe: Probe
) -> None:
    busy = [asyncio.ensure_future(get(stub, "sleep:30", timeout=20)) for _ in range(LIMIT_CALLS)]
    while len(probe.calls) < LIMIT_CALLS:
        await asyncio.sleep(0.01)
    error = await refused(get(stub, "c1"))
    assert (error.code, error.reason) == (Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS")
    assert error.retry_after
    health: Any = health_pb2_grpc.HealthStub(channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)).status == 1
    for call in busy:
        call.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    await asyncio.wait_for(probe.cancelled.wait(), 5)
    # The places are free again.
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            await get(stub, "c1")
            return
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.05)
    raise AssertionError("cancelled calls keep their places")


async def test_a_caller_that_goes_away_cancels_the_handler(stub: Any, probe: Probe) -> None:
    error = await refused(get(stub, "sleep:30", timeout=0.2))
    assert error.code is Code.DEADLINE_EXCEEDED
    await asyncio.wait_for(probe.cancelled.wait(), 5)


async def test_an_answer_about_a_thousand_wrong_fields_still_arrives(stub: Any) -> None:
    messages = [dialogue_pb2.Message() for _ in range(500)]
    request = pb.RespondRequest(dialogue=dialogue_pb2.Dialogue(messages=messages))
    error = await refused(stub.Respond(request, timeout=5))
    assert error.code is Code.INVALID_ARGUMENT
    assert error.violations
