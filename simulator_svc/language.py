"""The patient's language model, behind one small interface: a fake in tests, the frozen deployment in service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import grpc

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.errors import Unavailable
from service_kit.grpc.channel import call_deadline, service_error

DEPENDENCY = "inference-frozen"
INFERENCE = "anamnesis.inference.v1.InferenceService"


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """`role` as chat templates name it. A last message of the assistant is the beginning of its answer."""

    role: str
    content: str


class LanguageModel(Protocol):
    """Raises ServiceError when the model does not answer in time; never waits without a bound."""

    async def complete(
        self,
        messages: Sequence[ModelMessage],
        *,
        max_tokens: int,
        seed: int,
        temperature: float,
        stop: Sequence[str],
        pattern: str = "",
    ) -> str:
        """`pattern`: a regular expression that the whole answer matches; empty leaves it free."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        """One vector of unit length a text, in their order."""
        ...


_ROLES = {
    "system": dialogue_pb2.ROLE_SYSTEM,
    "user": dialogue_pb2.ROLE_USER,
    "assistant": dialogue_pb2.ROLE_ASSISTANT,
}


class FrozenLanguageModel:
    """The frozen deployment. A consultation of a user goes before one of a rollout, which is why priority is given."""

    def __init__(
        self,
        stub: inference_pb2_grpc.InferenceServiceStub,
        priority: inference_pb2.Priority.ValueType,
        seconds: float,
        # An answer found by words alone is good; one that waits for embeddings is late.
        embed_seconds: float = 1.0,
    ) -> None:
        self._stub = stub
        self._priority = priority
        self._seconds = seconds
        self._embed_seconds = embed_seconds

    async def complete(
        self,
        messages: Sequence[ModelMessage],
        *,
        max_tokens: int,
        seed: int,
        temperature: float,
        stop: Sequence[str],
        pattern: str = "",
    ) -> str:
        request = inference_pb2.GenerateRequest(
            prompt=_prompt(messages),
            sampling=rollout_pb2.Sampling(max_tokens=max_tokens, temperature=temperature, stop=stop),
            seed=seed,
            priority=self._priority,
            constraint=inference_pb2.Constraint(regex=pattern) if pattern else None,
        )
        try:
            response = await self._stub.GenerateBatch(
                inference_pb2.GenerateBatchRequest(requests=[request]), timeout=call_deadline(self._seconds)
            )
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
        completion = response.completions[0]
        if completion.error_reason:
            raise Unavailable(DEPENDENCY, f"{completion.error_reason}: {completion.error_message}")
        return str(completion.text)

    async def embed(self, texts: Sequence[str]) -> list[Sequence[float]]:
        try:
            response = await self._stub.Embed(
                inference_pb2.EmbedRequest(texts=texts), timeout=call_deadline(self._embed_seconds)
            )
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
        return [embedding.values for embedding in response.embeddings]


def _prompt(messages: Sequence[ModelMessage]) -> inference_pb2.Prompt:
    beginning = messages[-1].content if messages[-1].role == "assistant" else ""
    new = messages[:-1] if beginning else messages
    return inference_pb2.Prompt(
        new_messages=[dialogue_pb2.Message(role=_ROLES[m.role], content=m.content) for m in new],
        answer_prefix=beginning,
    )
