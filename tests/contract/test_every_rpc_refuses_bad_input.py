"""Every RPC answers nonsense with a clear code that names what is wrong: never UNKNOWN, never a hang."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import protovalidate
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from anamnesis.gateway.v1 import consultation_pb2, evaluation_pb2, training_pb2
from anamnesis.inference.v1 import inference_pb2
from anamnesis.rubric.v1 import evaluation_pb2 as rubric_evaluation_pb2
from anamnesis.rubric.v1 import rubric_pb2
from anamnesis.simulator.v1 import simulator_pb2
from anamnesis.trainer.v1 import trainer_pb2

DEADLINE_SECONDS = 20.0
# gRPC's name for the trailer that carries a google.rpc.Status.
DETAILS_KEY = "grpc-status-details-bin"
SERVED_BY = {
    "simulator": [simulator_pb2],
    "rubric": [rubric_pb2, rubric_evaluation_pb2],
    "inference-policy": [inference_pb2],
    "inference-frozen": [inference_pb2],
    "trainer": [trainer_pb2],
    "gateway": [consultation_pb2, evaluation_pb2, training_pb2],
}


@dataclass(frozen=True)
class Rpc:
    process: str
    method: MethodDescriptor

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def __str__(self) -> str:
        return f"{self.process}{self.path}"


def every_rpc() -> Iterator[Rpc]:
    for process, modules in SERVED_BY.items():
        for module in modules:
            for service in module.DESCRIPTOR.services_by_name.values():
                for method in service.methods:
                    yield Rpc(process, method)


def refused_when_empty(rpc: Rpc) -> bool:
    return bool(protovalidate.collect_violations(GetMessageClass(rpc.method.input_type)()))


async def call_with_bytes(target: str, rpc: Rpc, payload: bytes) -> grpc.aio.AioRpcError | None:
    """Send these very bytes as the request; the error that comes back, or None."""
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        kind = ("stream" if rpc.method.client_streaming else "unary") + (
            "_stream" if rpc.method.server_streaming else "_unary"
        )
        multicallable: Any = getattr(channel, kind)(
            rpc.path, request_serializer=lambda raw: raw, response_deserializer=lambda raw: raw
        )
        request: Any = iter([payload]) if rpc.method.client_streaming else payload
        call = multicallable(request, timeout=DEADLINE_SECONDS)
        try:
            if rpc.method.server_streaming:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            return error
    return None


def status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    # Pairs, whatever the stubs say.
    metadata: Any = error.trailing_metadata()
    for key, value in metadata or ():
        if key == DETAILS_KEY:
            return status_pb2.Status.FromString(value)
    return None


def violated_fields(error: grpc.aio.AioRpcError) -> list[str]:
    status = status_of(error)
    fields: list[str] = []
    for detail in status.details if status else ():
        bad_request = error_details_pb2.BadRequest()
        if detail.Unpack(bad_request):
            fields += [violation.field for violation in bad_request.field_violations]
    return fields


@pytest.mark.engine
@pytest.mark.parametrize("rpc", every_rpc(), ids=str)
async def test_bytes_that_are_no_message_are_an_invalid_argument(stack: Any, rpc: Rpc) -> None:
    error = await call_with_bytes(stack.targets[rpc.process], rpc, b"\xff\xff\xff\xff")
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()


@pytest.mark.engine
@pytest.mark.parametrize("rpc", [rpc for rpc in every_rpc() if refused_when_empty(rpc)], ids=str)
async def test_a_message_without_its_required_fields_names_them(stack: Any, rpc: Rpc) -> None:
    error = await call_with_bytes(stack.targets[rpc.process], rpc, b"")
    assert error is not None
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()
    assert any(violated_fields(error)), "the refusal names no field"


@pytest.mark.engine
@pytest.mark.parametrize("rpc", every_rpc(), ids=str)
async def test_an_oversized_message_is_resource_exhausted(stack: Any, rpc: Rpc) -> None:
    # An unknown length-delimited field (number 1000) of 70 MiB: more than any service takes.
    size = 70 << 20
    header = b"\xc2\x3e" + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
    error = await call_with_bytes(stack.targets[rpc.process], rpc, header + bytes(size))
    assert error is not None
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error.details()


UNKNOWN_IDS: list[tuple[str, Any, str, Any]] = [
    ("simulator", simulator_pb2, "GetCase", simulator_pb2.GetCaseRequest(case_id="no-such-case")),
    ("trainer", trainer_pb2, "GetRun", trainer_pb2.GetRunRequest(run_id="no-such-run")),
    ("trainer", trainer_pb2, "WatchRun", trainer_pb2.WatchRunRequest(run_id="no-such-run")),
    ("trainer", trainer_pb2, "PauseRun", trainer_pb2.PauseRunRequest(run_id="no-such-run")),
    ("trainer", trainer_pb2, "ResumeRun", trainer_pb2.ResumeRunRequest(run_id="no-such-run")),
    ("trainer", trainer_pb2, "CancelRun", trainer_pb2.CancelRunRequest(run_id="no-such-run")),
    ("gateway", training_pb2, "GetRun", training_pb2.GetRunRequest(run_id="no-such-run")),
    ("gateway", training_pb2, "WatchRun", training_pb2.WatchRunRequest(run_id="no-such-run")),
    ("gateway", training_pb2, "CancelRun", training_pb2.CancelRunRequest(run_id="no-such-run")),
]


@pytest.mark.engine
@pytest.mark.parametrize(("process", "module", "name", "request_message"), UNKNOWN_IDS)
async def test_an_unknown_id_is_not_found(
    stack: Any, process: str, module: Any, name: str, request_message: Any
) -> None:
    (service,) = module.DESCRIPTOR.services_by_name.values()
    rpc = Rpc(process, service.methods_by_name[name])
    error = await call_with_bytes(stack.targets[process], rpc, request_message.SerializeToString())
    assert error is not None
    assert error.code() is grpc.StatusCode.NOT_FOUND, error.details()
    assert "no-such" in (error.details() or "")
