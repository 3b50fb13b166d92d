"""Chat completions over the policy: OpenAI's request to a GenerateRequest, the token stream back to completion objects.

The messages go to the model as they come. Unlike AskDoctor no instructions are put in front: a benchmark that
speaks this protocol must see the model it names and nothing else.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2
from gateway.backends import Backends
from gateway.doctor import consultation_request, raise_if_aborted
from gateway.rest.errors import from_service_error, model_not_found
from gateway.rest.schema import ChatRequest
from service_kit.errors import ServiceError, Unavailable

_ROLES = {
    "system": dialogue_pb2.ROLE_SYSTEM,
    "developer": dialogue_pb2.ROLE_SYSTEM,
    "user": dialogue_pb2.ROLE_USER,
    "assistant": dialogue_pb2.ROLE_ASSISTANT,
}
_FINISH = {inference_pb2.FINISH_REASON_STOP: "stop", inference_pb2.FINISH_REASON_LENGTH: "length"}

Generated = AsyncGenerator[inference_pb2.GenerateResponse, None]


def generate_request(request: ChatRequest, default_max_tokens: int) -> inference_pb2.GenerateRequest:
    sampling = rollout_pb2.Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=request.max_completion_tokens or request.max_tokens or default_max_tokens,
        stop=request.stop or [],
    )
    messages = [dialogue_pb2.Message(role=_ROLES[message.role], content=message.text) for message in request.messages]
    seed = None if request.seed is None else request.seed % 2**64  # OpenAI's seeds are signed
    return consultation_request(messages, sampling, seed, request.model)


@dataclass
class ChatAnswer:
    """One answer under way. `begin` waits for its first words, so that a refusal still has its own HTTP status."""

    request: ChatRequest
    first: inference_pb2.GenerateResponse
    generated: Generated
    identifier: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))
    fingerprint: str | None = None
    finished: inference_pb2.GenerateResponse.Finished | None = None

    @classmethod
    async def begin(cls, backends: Backends, request: ChatRequest) -> ChatAnswer:
        generated = backends.generate(generate_request(request, backends.settings.default_max_tokens))
        try:
            first = await anext(generated)
            while first.HasField("started"):  # the engine may still refuse: it has read the prompt, no more
                first = await anext(generated)
        except ServiceError as error:
            if error.code.name == "NOT_FOUND":
                raise model_not_found(request.model) from error
            raise
        except StopAsyncIteration as error:
            raise Unavailable("inference-policy", "the answer ended before it began") from error
        return cls(request, first, generated)

    async def texts(self) -> AsyncGenerator[str, None]:
        async with aclosing(self.generated) as rest:
            event: inference_pb2.GenerateResponse | None = self.first
            while event is not None:
                if event.HasField("delta"):
                    self.fingerprint = fingerprint(event.delta.policy_version)
                    yield event.delta.text
                elif event.HasField("finished"):
                    raise_if_aborted(event.finished)
                    self.finished = event.finished
                event = await anext(rest, None)
        if self.finished is None:
            raise Unavailable("inference-policy", "the answer broke off")

    async def whole(self) -> dict[str, Any]:
        async with aclosing(self.texts()) as texts:
            text = "".join([piece async for piece in texts])
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason(), "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage()}

    async def events(self) -> AsyncGenerator[str, None]:
        """Server-sent events. Once the status is out an error can only be an event; the client raises on it."""
        try:
            yield self._chunk({"role": "assistant", "content": ""}, None)
            async with aclosing(self.texts()) as texts:
                async for text in texts:
                    if text:
                        yield self._chunk({"content": text}, None)
            yield self._chunk({}, self._finish_reason())
            if self._include_usage:
                yield sse({**self._head("chat.completion.chunk"), "choices": [], "usage": self._usage()})
            yield "data: [DONE]\n\n"
        except ServiceError as error:
            yield sse(from_service_error(error).body)

    @property
    def _include_usage(self) -> bool:
        return self.request.stream_options is not None and self.request.stream_options.include_usage

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        usage = {"usage": None} if self._include_usage else {}
        return sse({**self._head("chat.completion.chunk"), "choices": [choice], **usage})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.identifier,
            "object": kind,
            "created": self.created,
            "model": self.request.model,
            "system_fingerprint": self.fingerprint,
        }

    def _finish_reason(self) -> str:
        assert self.finished is not None  # texts() ended without raising
        return _FINISH.get(self.finished.finish_reason, "stop")

    def _usage(self) -> dict[str, Any]:
        assert self.finished is not None
        prompt, completion = self.finished.prompt_tokens, self.finished.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.finished.cached_prompt_tokens},
        }


def fingerprint(version: rollout_pb2.PolicyVersion) -> str:
    """Which weights answered: the base model, or a run's incarnation and step."""
    return f"{version.run_id}.{version.incarnation}.{version.step}" if version.run_id else "base"


def sse(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"
