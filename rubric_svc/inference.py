"""The frozen deployment as a Chooser: questions that share a prefix go together to the replica that holds it.

Invariant: each question is answered, failed by name, or the call raises within its limit. A replica that is away is
left for the next one of the prefix's ranking; choosing changes nothing, so asking twice is harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from rubric_svc.judge.model import Choice, Failed, Question
from rubric_svc.model import Speaker
from service_kit.errors import Aborted, Unavailable
from service_kit.grpc.affine import AffineReplicas, Send
from service_kit.grpc.channel import open_channel
from service_kit.tls import TlsSettings

DEPENDENCY = "inference-frozen"
# The contract's largest ChooseRequest.
_CHUNK = 256
# Embeddings of one request; the contract takes up to 1024, but they wait for each other.
_EMBEDDED = 128
_ROLES = {
    Speaker.SYSTEM: dialogue_pb2.ROLE_SYSTEM,
    Speaker.PATIENT: dialogue_pb2.ROLE_USER,
    Speaker.DOCTOR: dialogue_pb2.ROLE_ASSISTANT,
}


class FrozenModel:
    def __init__(self, target: str, tls: TlsSettings | None = None, *, overload: int = 12) -> None:
        """`overload`: the questions that the replica of a prefix may have in flight beyond the least loaded one."""
        idempotent = {"anamnesis.inference.v1.InferenceService": ["Choose", "Embed", "GenerateBatch"]}
        self._replicas = AffineReplicas(
            target,
            lambda address: open_channel(address, idempotent=idempotent, tls=tls, peer=DEPENDENCY),
            dependency=DEPENDENCY,
            overload=overload,
        )

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
            response = await self._replicas.call(texts[start], _embedding(request), until - time.monotonic())
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
        batch = inference_pb2.GenerateBatchRequest(requests=[request])
        response = await self._replicas.call(
            prompt,
            lambda channel, seconds: inference_pb2_grpc.InferenceServiceStub(channel).GenerateBatch(
                batch, timeout=seconds
            ),
            limit_seconds,
        )
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
        response = await self._replicas.call(
            prefix,
            lambda channel, seconds: inference_pb2_grpc.InferenceServiceStub(channel).Choose(request, timeout=seconds),
            limit,
            items=len(questions),
        )
        if len(response.results) != len(questions):
            return [Failed("WRONG_ANSWER_COUNT")] * len(questions)
        return [_answer(result) for result in response.results]


def _embedding(request: inference_pb2.EmbedRequest) -> Send[inference_pb2.EmbedResponse]:
    return lambda channel, seconds: inference_pb2_grpc.InferenceServiceStub(channel).Embed(request, timeout=seconds)


def _item(question: Question) -> inference_pb2.ChooseItem:
    messages = [dialogue_pb2.Message(role=_ROLES[turn.speaker], content=turn.text) for turn in question.messages]
    return inference_pb2.ChooseItem(prompt=inference_pb2.Prompt(new_messages=messages), choices=question.choices)


def _answer(result: inference_pb2.ChooseResult) -> list[Choice] | Failed:
    if result.error_reason:
        return Failed(result.error_reason)
    return [Choice(score.choice, score.probability, score.logprob, score.token_count) for score in result.scores]
