"""The frozen deployment as a Chooser: questions that share a prefix go together to the replica that holds it.

Invariant: each question is answered, failed by name, or the call raises within its limit. A replica that is away is
left for the next one of the prefix's ranking; choosing changes nothing, so asking twice is harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import grpc

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from rubric_svc.affinity import Affinity
from rubric_svc.judge.model import Choice, Failed, Question
from rubric_svc.model import Speaker
from rubric_svc.replicas import Replicas
from service_kit.errors import Aborted, Unavailable
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.tls import TlsSettings

DEPENDENCY = "inference-frozen"
# The contract's largest ChooseRequest.
_CHUNK = 256
# Embeddings of one request; the contract takes up to 1024, but they wait for each other.
_EMBEDDED = 128
_REFRESH_SECONDS = 10.0
_REST_SECONDS = 10.0
_ROLES = {
    Speaker.SYSTEM: dialogue_pb2.ROLE_SYSTEM,
    Speaker.PATIENT: dialogue_pb2.ROLE_USER,
    Speaker.DOCTOR: dialogue_pb2.ROLE_ASSISTANT,
}


class FrozenModel:
    def __init__(self, target: str, tls: TlsSettings | None = None, *, overload: int = 64) -> None:
        """`overload`: the questions that the replica of a prefix may have in flight beyond the least loaded one."""
        idempotent = {"anamnesis.inference.v1.InferenceService": ["Choose", "Embed", "GenerateBatch"]}
        self._replicas = Replicas(
            target,
            lambda address: open_channel(address, idempotent=idempotent, tls=tls, peer=DEPENDENCY),
            refresh_seconds=_REFRESH_SECONDS,
            dependency=DEPENDENCY,
        )
        self._affinity = Affinity(overload=overload, rest_seconds=_REST_SECONDS, clock=time.monotonic)

    async def choose(self, questions: Sequence[Question], limit_seconds: float) -> list[list[Choice] | Failed]:
        together: dict[str, list[int]] = {}
        for index, question in enumerate(questions):
            together.setdefault(question.prefix, []).append(index)
        chunks = [
            (prefix, indices[start : start + _CHUNK])
            for prefix, indices in together.items()
            for start in range(0, len(indices), _CHUNK)
        ]
        asked = await asyncio.gather(
            *(self._ask(prefix, [questions[i] for i in indices], limit_seconds) for prefix, indices in chunks)
        )
        answers = {
            index: answer
            for (_, indices), found in zip(chunks, asked, strict=True)
            for index, answer in zip(indices, found, strict=True)
        }
        return [answers[index] for index in range(len(questions))]

    async def embed(self, texts: Sequence[str], limit_seconds: float) -> list[list[float]]:
        """Of unit length, in the order of the texts. Any replica does: nothing is kept of them."""
        until = time.monotonic() + limit_seconds
        vectors: list[list[float]] = []
        for start in range(0, len(texts), _EMBEDDED):
            request = inference_pb2.EmbedRequest(texts=texts[start : start + _EMBEDDED])
            addresses = await self._replicas.addresses()
            replica = self._affinity.home(texts[start], addresses)
            stub = inference_pb2_grpc.InferenceServiceStub(self._replicas.channel(replica))
            try:
                response = await stub.Embed(request, timeout=call_deadline(until - time.monotonic()))
            except grpc.aio.AioRpcError as error:
                raise service_error(error, DEPENDENCY) from error
            vectors += [list(embedding.values) for embedding in response.embeddings]
        if len(vectors) != len(texts):
            raise Unavailable(DEPENDENCY, "embeddings of another number of texts")
        return vectors

    async def write(self, prompt: str, schema: str, *, max_tokens: int, seed: int, limit_seconds: float) -> str:
        """What the model writes under a JSON schema, greedily."""
        request = inference_pb2.GenerateRequest(
            prompt=inference_pb2.Prompt(
                new_messages=[dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=prompt)]
            ),
            sampling=rollout_pb2.Sampling(temperature=0.0, top_p=1.0, max_tokens=max_tokens),
            seed=seed,
            priority=inference_pb2.PRIORITY_JUDGE,
            constraint=inference_pb2.Constraint(json_schema=schema),
        )
        replica = self._affinity.home(prompt, await self._replicas.addresses())
        stub = inference_pb2_grpc.InferenceServiceStub(self._replicas.channel(replica))
        try:
            response = await stub.GenerateBatch(
                inference_pb2.GenerateBatchRequest(requests=[request]), timeout=call_deadline(limit_seconds)
            )
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
        (completion,) = response.completions
        if completion.error_reason:
            raise Aborted(completion.error_reason, completion.error_message)
        return str(completion.text)

    async def close(self) -> None:
        await self._replicas.close()

    async def _ask(self, prefix: str, questions: Sequence[Question], limit: float) -> list[list[Choice] | Failed]:
        request = inference_pb2.ChooseRequest(
            items=[_item(question) for question in questions], priority=inference_pb2.PRIORITY_JUDGE
        )
        until = time.monotonic() + limit
        tried: list[str] = []
        while True:
            addresses = await self._replicas.addresses()
            replica = self._affinity.home(prefix, addresses, but=tried)
            try:
                with self._affinity.carrying(replica, len(questions)):
                    response = await self._choose(replica, request, until - time.monotonic())
            except Unavailable:
                self._affinity.failed(replica)
                tried.append(replica)
                if set(addresses) <= set(tried) or time.monotonic() >= until:
                    raise
                continue
            self._affinity.answered(replica)
            if len(response.results) != len(questions):
                return [Failed("WRONG_ANSWER_COUNT")] * len(questions)
            return [_answer(result) for result in response.results]

    async def _choose(
        self, replica: str, request: inference_pb2.ChooseRequest, seconds: float
    ) -> inference_pb2.ChooseResponse:
        stub = inference_pb2_grpc.InferenceServiceStub(self._replicas.channel(replica))
        try:
            return await stub.Choose(request, timeout=call_deadline(seconds))
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error


def _item(question: Question) -> inference_pb2.ChooseItem:
    messages = [dialogue_pb2.Message(role=_ROLES[turn.speaker], content=turn.text) for turn in question.messages]
    return inference_pb2.ChooseItem(prompt=inference_pb2.Prompt(new_messages=messages), choices=question.choices)


def _answer(result: inference_pb2.ChooseResult) -> list[Choice] | Failed:
    if result.error_reason:
        return Failed(result.error_reason)
    return [Choice(score.choice, score.probability, score.logprob, score.token_count) for score in result.scores]
