"""A service on service_kit whose answers the caller chooses: `case_id` says what happens. Also runs as a process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from anamnesis.common.v1 import patient_pb2
from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc as services
from service_kit.errors import NotFound, ResourceExhausted
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.grpc.serving import run_service, serve
from service_kit.settings import ServiceSettings, load_settings

SERVICE = "anamnesis.simulator.v1.PatientSimulatorService"


class Probe(services.PatientSimulatorServiceServicer):
    """GetCase does as it is told, ListCases calls on, Consult echoes; the others are not built."""

    def __init__(self, onward: str = "") -> None:
        self.calls: list[str] = []
        self.cancelled = asyncio.Event()
        self.remaining: float | None = None
        self._onward = onward

    async def GetCase(self, request: pb.GetCaseRequest, context: Any) -> pb.GetCaseResponse:
        what, _, argument = request.case_id.partition(":")
        self.calls.append(what)
        self.remaining = context.time_remaining()
        act: Callable[[str], Awaitable[None]] = getattr(self, f"_{what}", self._nothing)
        await act(argument)
        return pb.GetCaseResponse(case=patient_pb2.PatientCase(case_id=request.case_id))

    async def ListCases(self, request: pb.ListCasesRequest, context: Any) -> pb.ListCasesResponse:
        """Asks the next service for the case that page_token names."""
        async with open_channel(self._onward) as channel:
            stub: Any = services.PatientSimulatorServiceStub(channel)
            try:
                await stub.GetCase(pb.GetCaseRequest(case_id=request.page_token), timeout=call_deadline(30))
            except grpc.aio.AioRpcError as error:
                raise service_error(error, "the next service") from error
        return pb.ListCasesResponse()

    async def Consult(
        self, requests: AsyncIterator[pb.ConsultRequest], context: Any
    ) -> AsyncIterator[pb.ConsultResponse]:
        async for request in requests:
            if request.doctor_turn == "boom":
                raise RuntimeError("in the middle of a stream")
            yield pb.ConsultResponse(patient_turn=request.doctor_turn)

    if TYPE_CHECKING:  # at run time the generated ones stand, as for any RPC that is not built yet

        async def StartConsultation(self, request: Any, context: Any) -> Any: ...
        async def Respond(self, request: Any, context: Any) -> Any: ...

    async def _nothing(self, argument: str) -> None: ...

    async def _sleep(self, argument: str) -> None:
        try:
            await asyncio.sleep(float(argument))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _bug(self, argument: str) -> None:
        raise ValueError(f"boo {argument}")

    async def _library(self, argument: str) -> None:
        raise NotImplementedError(argument)

    async def _missing(self, argument: str) -> None:
        raise NotFound("case", argument)

    async def _busy(self, argument: str) -> None:
        raise ResourceExhausted("QUEUE_FULL", "the queue is full", retry_after=float(argument))

    async def _timeout(self, argument: str) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(10)

    async def _flaky(self, argument: str) -> None:
        if self.calls.count("flaky") < int(argument):
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "not now", None
            )


class ProbeSettings(ServiceSettings):
    onward: str = ""
    prepare: str = ""


def register(probe: Probe) -> Callable[[grpc.aio.Server], list[str]]:
    def add(server: grpc.aio.Server) -> list[str]:
        services.add_PatientSimulatorServiceServicer_to_server(probe, server)
        return [SERVICE]

    return add


async def main(settings: ProbeSettings) -> None:
    async def prepare() -> None:
        if settings.prepare == "fails":
            raise RuntimeError("no weights there")
        if settings.prepare:
            await asyncio.sleep(float(settings.prepare))

    async def close() -> None:
        print("closed", file=sys.stderr)

    await serve(settings, "probe", register(Probe(settings.onward)), prepare=prepare, close=close)


if __name__ == "__main__":
    run_service(main(load_settings(ProbeSettings, "probe")))
