"""Short ways to write what the tests ask of a running inference service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1 import inference_pb2_grpc

SECONDS = 120.0
USER = dialogue_pb2.ROLE_USER


def message(text: str) -> dialogue_pb2.Message:
    return dialogue_pb2.Message(role=USER, content=text)


def generation(
    text: str,
    tokens: int,
    *,
    seed: int | None = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    so_far: Sequence[int] = (),
    constraint: pb.Constraint | None = None,
    priority: int = pb.PRIORITY_ROLLOUT,
) -> pb.GenerateRequest:
    return pb.GenerateRequest(
        prompt=pb.Prompt(token_ids_so_far=so_far, new_messages=[message(text)]),
        sampling=rollout_pb2.Sampling(temperature=temperature, max_tokens=tokens, top_k=top_k),
        seed=seed,
        constraint=constraint,
        priority=priority,  # type: ignore[arg-type]
    )


@dataclass
class Answer:
    """A stream, gathered."""

    prompt: list[int] = field(default_factory=list)
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finished: pb.GenerateResponse.Finished = field(default_factory=pb.GenerateResponse.Finished)

    def take(self, event: pb.GenerateResponse) -> None:
        match event.WhichOneof("event"):
            case "started":
                self.prompt = list(event.started.prompt_token_ids)
            case "delta":
                self.text += event.delta.text
                self.token_ids += event.delta.token_ids
                self.logprobs += event.delta.logprobs
            case "finished":
                self.finished = event.finished


async def answer(stub: inference_pb2_grpc.InferenceServiceStub, request: pb.GenerateRequest) -> Answer:
    gathered = Answer()
    async for event in stub.Generate(request, timeout=SECONDS):
        gathered.take(event)
    return gathered


async def batch(
    stub: inference_pb2_grpc.InferenceServiceStub, requests: Sequence[pb.GenerateRequest]
) -> list[pb.Completion]:
    response = await stub.GenerateBatch(pb.GenerateBatchRequest(requests=requests), timeout=SECONDS)
    return list(response.completions)
