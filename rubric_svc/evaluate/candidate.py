"""The model under evaluation: any OpenAI-compatible endpoint, or an inference service of ours.

Invariant: an answer is the model's whole text, or ServiceError says why there is none; nothing waits without a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import grpc
import openai
from openai.types.chat import ChatCompletionMessageParam

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from rubric_svc.model import Dialogue, Speaker, Turn
from service_kit.errors import Code, DeadlineExceeded, InvalidArgument, ServiceError, Unavailable
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.tls import TlsSettings

DEPENDENCY = "candidate"
_RETRIES = 3
# inference_svc's reason for a dialogue that its model cannot take; OpenAI's code for the same.
PROMPT_TOO_LONG = "PROMPT_TOO_LONG"
_CONTEXT_EXCEEDED = "context_length_exceeded"


@dataclass(frozen=True, slots=True)
class Sampling:
    """Greedy by default, so that a run can be repeated."""

    max_tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0
    seconds: float = 300.0


class Candidate(Protocol):
    @property
    def name(self) -> str: ...

    async def answer(self, dialogue: Dialogue) -> str: ...

    async def close(self) -> None: ...


class OpenAICandidate:
    def __init__(self, base_url: str, model: str, api_key: str, sampling: Sampling) -> None:
        self.name = model
        self._sampling = sampling
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key, timeout=sampling.seconds, max_retries=_RETRIES
        )

    async def answer(self, dialogue: Dialogue) -> str:
        sampling = self._sampling
        try:
            completion = await self._client.chat.completions.create(
                model=self.name,
                messages=[_message(turn) for turn in dialogue],
                max_tokens=sampling.max_tokens,
                temperature=sampling.temperature,
                seed=sampling.seed,
            )
        except openai.APITimeoutError as error:
            raise DeadlineExceeded("CANDIDATE_DEADLINE_EXCEEDED", "the candidate did not answer in time") from error
        except openai.APIConnectionError as error:
            raise Unavailable(DEPENDENCY, "cannot be reached") from error
        except openai.APIStatusError as error:
            reason = PROMPT_TOO_LONG if error.code == _CONTEXT_EXCEEDED else "CANDIDATE_REFUSED"
            raise ServiceError(
                Code.FAILED_PRECONDITION, reason, f"the candidate answered {error.status_code}"
            ) from error
        return completion.choices[0].message.content or ""

    async def close(self) -> None:
        await self._client.close()


class InferenceCandidate:
    """An inference service, for example the policy deployment."""

    def __init__(self, target: str, sampling: Sampling, tls: TlsSettings | None = None) -> None:
        self.name = target
        self._sampling = sampling
        idempotent = {"anamnesis.inference.v1.InferenceService": ["GenerateBatch"]}
        self._channel = open_channel(target, idempotent=idempotent, tls=tls, peer="inference-policy")
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def answer(self, dialogue: Dialogue) -> str:
        sampling = self._sampling
        request = inference_pb2.GenerateRequest(
            prompt=inference_pb2.Prompt(
                new_messages=[dialogue_pb2.Message(role=_ROLES[turn.speaker], content=turn.text) for turn in dialogue]
            ),
            sampling=rollout_pb2.Sampling(max_tokens=sampling.max_tokens, temperature=sampling.temperature),
            seed=sampling.seed,
            priority=inference_pb2.PRIORITY_ROLLOUT,
        )
        try:
            response = await self._stub.GenerateBatch(
                inference_pb2.GenerateBatchRequest(requests=[request]), timeout=call_deadline(sampling.seconds)
            )
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
        completion = response.completions[0]
        if completion.error_reason:
            raise ServiceError(Code.FAILED_PRECONDITION, completion.error_reason, completion.error_message)
        return str(completion.text)

    async def close(self) -> None:
        await self._channel.close(None)


def open_candidate(
    address: str, model: str, api_key: str, sampling: Sampling, *, tls: TlsSettings | None = None
) -> Candidate:
    """`http(s)://host/v1` with a model's name, or `grpc://host:port`. Raises InvalidArgument."""
    parts = urlsplit(address)
    if parts.scheme == "grpc" and parts.netloc:
        return InferenceCandidate(parts.netloc, sampling, tls)
    if parts.scheme in ("http", "https") and parts.netloc:
        if not model:
            raise InvalidArgument("model", "an OpenAI-compatible candidate needs the name of its model")
        return OpenAICandidate(address, model, api_key, sampling)
    raise InvalidArgument("candidate", f"{address!r} is neither http(s)://host/v1 nor grpc://host:port")


_ROLES = {
    Speaker.SYSTEM: dialogue_pb2.ROLE_SYSTEM,
    Speaker.PATIENT: dialogue_pb2.ROLE_USER,
    Speaker.DOCTOR: dialogue_pb2.ROLE_ASSISTANT,
}


def _message(turn: Turn) -> ChatCompletionMessageParam:
    if turn.speaker is Speaker.SYSTEM:
        return {"role": "system", "content": turn.text}
    if turn.speaker is Speaker.PATIENT:
        return {"role": "user", "content": turn.text}
    return {"role": "assistant", "content": turn.text}
