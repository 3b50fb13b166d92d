"""The services behind the gateway. Every call out has a deadline, and a callee's error comes back as our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import grpc
from grpc import aio

from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.rubric.v1 import evaluation_pb2_grpc
from anamnesis.simulator.v1 import simulator_pb2_grpc
from anamnesis.trainer.v1 import trainer_pb2_grpc
from gateway.settings import GatewaySettings
from service_kit.errors import STREAM_INTERRUPTED, Code, ServiceError
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.grpc.interruption import ASK_AGAIN

Request = TypeVar("Request")
Response = TypeVar("Response")

TRAINER, SIMULATOR, RUBRIC, INFERENCE = "trainer", "simulator", "rubric", "inference-policy"

# Asking these twice changes nothing, so the channel may ask again when a replica is gone; a stream, before its first
# response. The first service of each is the one whose health is watched.
_IDEMPOTENT = {
    TRAINER: {"anamnesis.trainer.v1.TrainerService": ["GetRun", "ListRuns", "WatchRun"]},
    SIMULATOR: {"anamnesis.simulator.v1.PatientSimulatorService": ["ListCases", "StartConsultation", "Respond"]},
    RUBRIC: {"anamnesis.rubric.v1.EvaluationService": ["GetEvaluation", "WatchEvaluation"]},
    INFERENCE: {"anamnesis.inference.v1.InferenceService": ["ListModels", "Generate"]},
}


class Backends:
    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        targets = {
            TRAINER: settings.trainer_target,
            SIMULATOR: settings.simulator_target,
            RUBRIC: settings.rubric_target,
            INFERENCE: settings.inference_policy_target,
        }
        self._channels = {
            name: open_channel(
                target,
                idempotent=_IDEMPOTENT[name],
                tls=settings.tls,
                peer=name,
                health_of=next(iter(_IDEMPOTENT[name])),
            )
            for name, target in targets.items()
        }
        self.trainer = trainer_pb2_grpc.TrainerServiceStub(self._channels[TRAINER])
        self.simulator = simulator_pb2_grpc.PatientSimulatorServiceStub(self._channels[SIMULATOR])
        self.evaluation = evaluation_pb2_grpc.EvaluationServiceStub(self._channels[RUBRIC])
        self.inference = inference_pb2_grpc.InferenceServiceStub(self._channels[INFERENCE])

    async def close(self) -> None:
        await asyncio.gather(*(channel.close(None) for channel in self._channels.values()))

    def generate(self, request: inference_pb2.GenerateRequest) -> AsyncGenerator[inference_pb2.GenerateResponse, None]:
        """The policy's answer as it is sampled. Leaving the iteration early cancels the generation."""
        return answers(self.inference.Generate, request, self.settings.generate_seconds, INFERENCE)

    async def models(self) -> list[inference_pb2.Model]:
        request = inference_pb2.ListModelsRequest()
        response = await answer(self.inference.ListModels, request, self.settings.call_seconds, INFERENCE)
        return list(response.models)


async def answer(
    method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request, limit: float, dependency: str
) -> Response:
    try:
        return await method(request, timeout=call_deadline(limit))
    except grpc.aio.AioRpcError as error:
        raise service_error(error, dependency) from error


async def answers(
    method: aio.UnaryStreamMultiCallable[Request, Any], request: Request, limit: float, dependency: str
) -> AsyncGenerator[Any, None]:
    """The stream's responses. One that is cut after its first response raises STREAM_INTERRUPTED."""
    call = method(request, timeout=call_deadline(limit))
    count = 0
    try:
        async for response in call:
            count += 1
            yield response
    except grpc.aio.AioRpcError as error:
        ours = service_error(error, dependency)
        if count and ours.code is Code.UNAVAILABLE:
            raise interrupted(ours, count) from error
        raise ours from error
    finally:
        call.cancel()  # no effect on a call that ended by itself


def interrupted(error: ServiceError, count: int) -> ServiceError:
    """What cut the stream, and that `count` responses were handed on before."""
    metadata = error.metadata | {"responses": str(count), "resume": ASK_AGAIN}
    return ServiceError(
        Code.UNAVAILABLE, STREAM_INTERRUPTED, error.message, metadata=metadata, retry_after=error.retry_after
    )
