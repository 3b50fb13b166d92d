"""Inference and rubric servers that fail on command. For fault injection only: engines are tested through the stack."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from anamnesis.common.v1.rollout_pb2 import PolicyVersion, VersionRun
from anamnesis.common.v1.rubric_pb2 import Score
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.rubric.v1 import rubric_pb2, rubric_pb2_grpc

LINES = (
    "When did the pain begin?",
    "Does anything make it better or worse?",
    "Do you take any medicines at home?",
    "Has anyone in your family had heart trouble?",
    "Do you smoke or drink?",
)


# Begins each sampled turn, so that a prompt shows how many there were.
FIRST_TOKEN = 5000


@dataclass
class Faults:
    """Each call takes the next fault, if there is one: a status to answer with, or a word that the servicer knows."""

    queue: deque[grpc.StatusCode | str] = field(default_factory=deque)
    always: grpc.StatusCode | str | None = None
    delay: float = 0.0
    calls: int = 0
    now: int = 0
    most_at_once: int = 0

    @asynccontextmanager
    async def around(self, context: Any) -> AsyncIterator[str]:
        self.calls += 1
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        try:
            await asyncio.sleep(self.delay)
            fault = self.queue.popleft() if self.queue else self.always
            if isinstance(fault, grpc.StatusCode):
                await context.abort(fault, "injected")
            yield fault if isinstance(fault, str) else ""
        finally:
            self.now -= 1


class FaultyInference(inference_pb2_grpc.InferenceServiceServicer):
    """A prompt token is a message's length; what is sampled is a function of prompt and seed."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    async def GenerateBatch(self, request: inference_pb2.GenerateBatchRequest, context: Any) -> Any:
        async with self.faults.around(context) as fault:
            return inference_pb2.GenerateBatchResponse(completions=[_complete(r, fault) for r in request.requests])

    async def ListModels(self, request: inference_pb2.ListModelsRequest, context: Any) -> Any:
        return inference_pb2.ListModelsResponse(models=[inference_pb2.Model(max_context_tokens=2048)])


def _complete(request: inference_pb2.GenerateRequest, fault: str) -> inference_pb2.Completion:
    prompt = [*request.prompt.token_ids_so_far, *(1000 + len(m.content) for m in request.prompt.new_messages)]
    turn = sum(token == FIRST_TOKEN for token in request.prompt.token_ids_so_far)
    line = LINES[turn % len(LINES)]
    sampled = [FIRST_TOKEN, *((request.seed + len(word)) % 997 for word in line.split())]
    finish = inference_pb2.FINISH_REASON_STOP
    if fault == "aborted":
        sampled, finish = sampled[:1], inference_pb2.FINISH_REASON_ABORTED
    if fault == "another past":
        prompt = [7, *prompt]
    return inference_pb2.Completion(
        text=line,
        prompt_token_ids=prompt,
        token_ids=sampled,
        logprobs=[-0.5] * len(sampled),
        version_runs=[VersionRun(policy_version=PolicyVersion(run_id="run", step=1), token_count=len(sampled))],
        finish_reason=finish,
    )


class FaultyRubric(rubric_pb2_grpc.RubricServiceServicer):
    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    async def ScoreDialogue(self, request: rubric_pb2.ScoreDialogueRequest, context: Any) -> Any:
        async with self.faults.around(context) as fault:
            doctor = sum(len(m.content) for m in request.dialogue.messages if m.role == 3)
            return rubric_pb2.ScoreDialogueResponse(score=Score(value=doctor / 1000, void=fault == "void"))


@dataclass
class FaultyServers:
    target: str
    inference: Faults
    rubric: Faults


@asynccontextmanager
async def faulty_servers() -> AsyncIterator[FaultyServers]:
    inference, rubric = Faults(), Faults()
    server = grpc.aio.server()
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(
        FaultyInference(inference),  # type: ignore[abstract]
        server,
    )
    rubric_pb2_grpc.add_RubricServiceServicer_to_server(
        FaultyRubric(rubric),  # type: ignore[abstract]
        server,
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield FaultyServers(f"127.0.0.1:{port}", inference, rubric)
    finally:
        await server.stop(None)
