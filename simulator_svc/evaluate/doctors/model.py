"""The model as the doctor: the policy deployment. Its turns carry no label, so what needs one is not scored on them."""

from __future__ import annotations

from collections.abc import Sequence

import grpc

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from service_kit.errors import Unavailable
from service_kit.grpc.channel import call_deadline, service_error
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.evaluate.doctors.base import Question

DEPENDENCY = "inference-policy"
_ROLES = {Speaker.DOCTOR: dialogue_pb2.ROLE_ASSISTANT, Speaker.PATIENT: dialogue_pb2.ROLE_USER}


class ModelDoctor:
    def __init__(
        self,
        stub: inference_pb2_grpc.InferenceServiceStub,
        instructions: str,
        seed: int,
        *,
        turns: int,
        max_tokens: int = 96,
        temperature: float = 0.7,
        seconds: float = 60.0,
    ) -> None:
        self._stub = stub
        self._instructions = instructions
        self._seed = seed
        self._turns = turns
        self._sampling = rollout_pb2.Sampling(temperature=temperature, top_p=0.95, max_tokens=max_tokens)
        self._seconds = seconds
        self._spoken = 0

    async def speak(self, dialogue: Sequence[Turn]) -> Question | None:
        if self._spoken == self._turns:
            return None
        messages = [dialogue_pb2.Message(role=dialogue_pb2.ROLE_SYSTEM, content=self._instructions)]
        messages += [dialogue_pb2.Message(role=_ROLES[turn.speaker], content=turn.text) for turn in dialogue]
        request = inference_pb2.GenerateRequest(
            prompt=inference_pb2.Prompt(new_messages=messages),
            sampling=self._sampling,
            seed=self._seed + self._spoken,
            priority=inference_pb2.PRIORITY_ROLLOUT,
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
        self._spoken += 1
        return Question(completion.text.strip() or "...", may_state=None, about="model")
