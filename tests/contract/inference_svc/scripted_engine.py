"""The inference server around an engine that does as it is told, with the real tokenizer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1 import inference_pb2_grpc
from inference_svc.engine.engine import Engine
from inference_svc.engine.requests import Finish, PauseMode, Rank, Sampling, Step
from inference_svc.server import SERVICE, InferenceServicer
from inference_svc.service import TextService
from inference_svc.settings import Deployment, InferenceSettings
from inference_svc.telemetry.measures import Measures
from inference_svc.tokens import PromptAssembler
from inference_svc.weights.store import WeightStore
from inference_svc.weights.updater import WeightUpdater
from inference_svc.weights.versions import Run, Version
from service_kit.errors import Unavailable
from service_kit.grpc.channel import open_channel
from service_kit.grpc.server import GrpcServer

MODEL = Path(__file__).parents[3] / ".anamnesis" / "models" / "smollm2-135m-instruct"


class ScriptedEngine(Engine):
    """Yields one token a step, waiting at each step until it may go on."""

    def __init__(self, settings: InferenceSettings) -> None:
        super().__init__(settings)
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.dies = False
        self.asked: list[tuple[list[int], Sampling, Rank]] = []
        self.given_up = 0

    @property
    def dead(self) -> bool:
        return self.dies

    async def generate(self, prompt: Sequence[int], sampling: Sampling, rank: Rank) -> AsyncGenerator[Step, None]:
        self.asked.append((list(prompt), sampling, rank))
        ended = False
        try:
            for index in range(sampling.max_tokens):
                await self.go_on.wait()
                if self.dies:
                    raise Unavailable("engine", "the engine has died")
                last = index == sampling.max_tokens - 1
                runs = [Run(self.version, sampling.max_tokens)] if last else []
                yield Step(f"w{index} ", [100 + index], [-0.5], Finish.LENGTH if last else None, runs)
            ended = True
        finally:
            self.given_up += not ended

    async def complete(self, prompt: Sequence[int], sampling: Sampling, rank: Rank) -> Step:
        steps = [step async for step in self.generate(prompt, sampling, rank)]
        ids, logprobs = [i for step in steps for i in step.token_ids], [p for step in steps for p in step.logprobs]
        return replace(steps[-1], text="", token_ids=ids, logprobs=logprobs)

    async def next_token_logprobs(self, prompt: Sequence[int], tokens: Sequence[int], rank: Rank) -> list[float]:
        await self.go_on.wait()
        return [-float(1 + index) for index in range(len(tokens))]

    async def text_logprob(self, prompt: Sequence[int], text: Sequence[int], rank: Rank) -> float:
        return -float(len(text))

    async def switch(self, directory: Path, version: Version, mode: PauseMode, previous: Path) -> int:
        self.version = version
        return 2


class Served:
    def __init__(self, channel: grpc.aio.Channel, engine: ScriptedEngine, settings: InferenceSettings) -> None:
        self.stub = inference_pb2_grpc.InferenceServiceStub(channel)
        self.engine = engine
        self.settings = settings


@asynccontextmanager
async def served(settings: InferenceSettings) -> AsyncIterator[Served]:
    engine = ScriptedEngine(settings)
    servicer = InferenceServicer(settings)
    measures = Measures(settings.deployment, engine.gauges)
    assembler = PromptAssembler.load(MODEL)
    servicer.text = TextService(engine, assembler, settings.served_model(), settings.max_unfinished, measures)
    if settings.deployment is Deployment.POLICY:
        store = WeightStore(settings.weight_store(), MODEL, MODEL.name, settings.merged_weights())
        servicer.updater = WeightUpdater(engine, store, MODEL, measures.updated)

    def register(server: grpc.aio.Server) -> list[str]:
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
        return [SERVICE]

    server = GrpcServer(settings, "inference", register)
    port = await server.start()
    await server.ready()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield Served(channel, engine, settings)
    finally:
        engine.go_on.set()
        await server.drain(1.0)


def prompt(text: str = "Hello", *, so_far: Sequence[int] = ()) -> pb.Prompt:
    message = dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=text)
    return pb.Prompt(token_ids_so_far=so_far, new_messages=[message])


def generate(text: str = "Hello", tokens: int = 3, **fields: object) -> pb.GenerateRequest:
    request = pb.GenerateRequest(prompt=prompt(text), sampling=rollout_pb2.Sampling(temperature=1.0, max_tokens=tokens))
    request.MergeFrom(pb.GenerateRequest(**fields))  # type: ignore[arg-type]
    return request
