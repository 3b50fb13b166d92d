"""A whole gateway in this event loop, and behind it servers that misbehave on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import openai
import pytest

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from gateway.client import AnamnesisClient
from gateway.gateway import Gateway
from gateway.settings import GatewaySettings
from service_kit.errors import Unimplemented
from service_kit.grpc.server import GrpcServer
from service_kit.settings import ServiceSettings, read_settings

NOBODY = "127.0.0.1:9"  # the discard port: nothing listens

Register = Callable[[grpc.aio.Server], Sequence[str]]


@asynccontextmanager
async def serving(settings: ServiceSettings, name: str, register: Register) -> AsyncIterator[int]:
    server = GrpcServer(settings, name, register)
    port = await server.start()
    await server.ready()
    try:
        yield port
    finally:
        await server.drain(0.5)


@dataclass
class RunningGateway:
    target: str
    rest_url: str
    settings: GatewaySettings
    gateway: Gateway

    def client(self, api_key: str | None = None, **limits: float) -> AnamnesisClient:
        return AnamnesisClient(self.target, api_key, ca=None, **limits)

    def openai(self, api_key: str = "not-needed") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.rest_url}/v1", api_key=api_key, max_retries=0, timeout=20.0)


StartGateway = Callable[..., Awaitable[RunningGateway]]


@pytest.fixture
async def start_gateway(tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Starts gateways with the settings given; every service that is not named is dead."""
    async with AsyncExitStack() as stack:

        async def start(**chosen: Any) -> RunningGateway:
            dead = dict.fromkeys(
                ("trainer_target", "simulator_target", "rubric_target", "inference_policy_target"), NOBODY
            )
            settings = GatewaySettings(**{"grpc_port": 0, "rest_port": 0, "state_dir": tmp_path, **dead, **chosen})
            gateway = Gateway(settings)
            port = await stack.enter_async_context(serving(settings, "gateway", gateway.register))
            await gateway.prepare()
            stack.push_async_callback(gateway.close)
            stack.push_async_callback(gateway.drain)
            return RunningGateway(f"127.0.0.1:{port}", f"http://127.0.0.1:{gateway.rest.port}", settings, gateway)

        yield start


Answer = Callable[[inference_pb2.GenerateRequest], AsyncIterator[inference_pb2.GenerateResponse]]


@dataclass
class FaultyInference(inference_pb2_grpc.InferenceServiceServicer):
    """Answers Generate with `answer`, remembers what it was asked, and notices when it is given up on."""

    answer: Answer | None = None
    asked: list[inference_pb2.GenerateRequest] = field(default_factory=list)
    trace_ids: list[str] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    target: str = ""

    async def Generate(
        self, request: inference_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        self.asked.append(request)
        parents = [value for key, value in context.invocation_metadata() or () if key == "traceparent"]
        self.trace_ids += [str(parent).split("-")[1] for parent in parents]
        if self.answer is None:
            raise Unimplemented("Generate")
        try:
            async for response in self.answer(request):
                yield response
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    async def ListModels(
        self, request: inference_pb2.ListModelsRequest, context: Any
    ) -> inference_pb2.ListModelsResponse:
        model = inference_pb2.Model(model_id="doctor", max_context_tokens=8192, deployment="policy", updatable=True)
        return inference_pb2.ListModelsResponse(models=[model])

    def _unbuilt(self, request: Any, context: Any) -> Any:
        raise Unimplemented("this fake has no such method")

    GenerateBatch = Choose = Embed = UpdateWeights = GetStats = _unbuilt


@pytest.fixture
async def inference() -> AsyncIterator[FaultyInference]:
    fake = FaultyInference()

    def register(server: grpc.aio.Server) -> Sequence[str]:
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(fake, server)
        return ["anamnesis.inference.v1.InferenceService"]

    async with serving(read_settings(ServiceSettings, "fake"), "inference", register) as port:
        fake.target = f"127.0.0.1:{port}"
        yield fake


@dataclass
class BreakingTrainer(trainer_pb2_grpc.TrainerServiceServicer):
    """A run of `events` events whose watch breaks after each `events_a_stream`; to start one takes for ever."""

    events: int = 7
    events_a_stream: int = 3
    streams: int = 0
    target: str = ""

    async def WatchRun(
        self, request: trainer_pb2.WatchRunRequest, context: Any
    ) -> AsyncIterator[trainer_pb2.WatchRunResponse]:
        self.streams += 1
        first = request.after_sequence + 1
        for sequence in range(first, min(first + self.events_a_stream, self.events + 1)):
            event = trainer_pb2.RunEvent(sequence=sequence, notice=f"event {sequence}")
            yield trainer_pb2.WatchRunResponse(event=event)
        if first + self.events_a_stream <= self.events:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the trainer is restarting")

    async def StartRun(self, request: trainer_pb2.StartRunRequest, context: Any) -> trainer_pb2.StartRunResponse:
        await asyncio.sleep(3600)
        return trainer_pb2.StartRunResponse()

    async def GetRun(self, request: trainer_pb2.GetRunRequest, context: Any) -> trainer_pb2.GetRunResponse:
        run = trainer_pb2.Run(run_id=request.run_id, state=trainer_pb2.RUN_STATE_SUCCEEDED)
        return trainer_pb2.GetRunResponse(run=run)

    def _unbuilt(self, request: Any, context: Any) -> Any:
        raise Unimplemented("this fake has no such method")

    ListRuns = PauseRun = ResumeRun = CancelRun = ExportModel = _unbuilt


@pytest.fixture
async def breaking_trainer() -> AsyncIterator[BreakingTrainer]:
    fake = BreakingTrainer()

    def register(server: grpc.aio.Server) -> Sequence[str]:
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(fake, server)
        return ["anamnesis.trainer.v1.TrainerService"]

    async with serving(read_settings(ServiceSettings, "fake"), "trainer", register) as port:
        fake.target = f"127.0.0.1:{port}"
        yield fake


@pytest.fixture
async def silent_server() -> AsyncIterator[str]:
    """Takes connections and never says a word: a service that hangs."""
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda reader, writer: connections.append(writer), "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for connection in connections:
        connection.close()
