"""The frozen deployment as a Chooser: one Choose call a chunk, with the judge's priority and a deadline."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from anamnesis.common.v1 import dialogue_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from rubric_svc.judge.model import Choice, Failed, Question
from rubric_svc.model import Speaker
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.tls import TlsSettings

DEPENDENCY = "inference-frozen"
# The contract's largest ChooseRequest.
_CHUNK = 256
_ROLES = {
    Speaker.SYSTEM: dialogue_pb2.ROLE_SYSTEM,
    Speaker.PATIENT: dialogue_pb2.ROLE_USER,
    Speaker.DOCTOR: dialogue_pb2.ROLE_ASSISTANT,
}


class FrozenModel:
    def __init__(self, target: str, tls: TlsSettings | None = None) -> None:
        idempotent = {"anamnesis.inference.v1.InferenceService": ["Choose"]}
        self._channel = open_channel(target, idempotent=idempotent, tls=tls, peer=DEPENDENCY)
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def choose(self, questions: Sequence[Question], limit_seconds: float) -> list[list[Choice] | Failed]:
        answers: list[list[Choice] | Failed] = []
        for start in range(0, len(questions), _CHUNK):
            request = inference_pb2.ChooseRequest(
                items=[_item(question) for question in questions[start : start + _CHUNK]],
                priority=inference_pb2.PRIORITY_JUDGE,
            )
            try:
                response = await self._stub.Choose(request, timeout=call_deadline(limit_seconds))
            except grpc.aio.AioRpcError as error:
                raise service_error(error, DEPENDENCY) from error
            answers += [_answer(result) for result in response.results]
        return answers

    async def close(self) -> None:
        await self._channel.close(None)


def _item(question: Question) -> inference_pb2.ChooseItem:
    messages = [dialogue_pb2.Message(role=_ROLES[turn.speaker], content=turn.text) for turn in question.messages]
    return inference_pb2.ChooseItem(prompt=inference_pb2.Prompt(new_messages=messages), choices=question.choices)


def _answer(result: inference_pb2.ChooseResult) -> list[Choice] | Failed:
    if result.error_reason:
        return Failed(result.error_reason)
    return [Choice(score.choice, score.probability, score.logprob, score.token_count) for score in result.scores]
