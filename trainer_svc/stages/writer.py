"""The frozen model's answers to prompts, a batch a call."""

import asyncio
from collections.abc import Sequence
from typing import Self

import grpc

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from trainer_svc.seeds import derive

DEPENDENCY = "inference-frozen"
# Of one batch.
CALL_SECONDS = 600.0
CUT_OFF = "cut_off"


class Writer:
    """Owns a loop and a channel; use it as a context."""

    def __init__(self, target: str, max_tokens: int, seed: int) -> None:
        self._target = target
        self._sampling = rollout_pb2.Sampling(temperature=0.7, max_tokens=max_tokens)
        self._seed = seed
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.close()

    def write(self, prompts: Sequence[str]) -> list[tuple[str, str]]:
        """(text, "") or ("", reason) for each. Raises ServiceError when the model cannot be reached."""
        return self._runner.run(self._write(prompts))

    async def _write(self, prompts: Sequence[str]) -> list[tuple[str, str]]:
        idempotent = {"anamnesis.inference.v1.InferenceService": ["GenerateBatch"]}
        async with open_channel(self._target, idempotent=idempotent, peer=DEPENDENCY) as channel:
            stub = inference_pb2_grpc.InferenceServiceStub(channel)
            request = inference_pb2.GenerateBatchRequest(requests=[self._request(prompt) for prompt in prompts])
            try:
                response = await stub.GenerateBatch(request, timeout=call_deadline(CALL_SECONDS))
            except grpc.aio.AioRpcError as error:
                raise service_error(error, DEPENDENCY) from error
        return [_outcome(completion) for completion in response.completions]

    def _request(self, prompt: str) -> inference_pb2.GenerateRequest:
        said = dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=prompt)
        return inference_pb2.GenerateRequest(
            prompt=inference_pb2.Prompt(new_messages=[said]),
            sampling=self._sampling,
            seed=derive(self._seed, "write", prompt),
            priority=inference_pb2.PRIORITY_ROLLOUT,
        )


def _outcome(completion: inference_pb2.Completion) -> tuple[str, str]:
    if completion.error_reason:
        return "", completion.error_reason.lower()
    if completion.finish_reason != inference_pb2.FINISH_REASON_STOP:
        return "", CUT_OFF
    return completion.text, ""
