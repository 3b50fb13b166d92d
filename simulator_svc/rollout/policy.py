"""The doctor: the policy deployment of inference_svc.

Invariant: a turn is whole, or it is sampled again from its start. The turns of an episode, and the samples of a group,
go to the replica that computed what they share, as long as it is there and not overloaded.
"""

from __future__ import annotations

from collections.abc import Sequence

from anamnesis.common.v1.dialogue_pb2 import Message
from anamnesis.common.v1.rollout_pb2 import Sampling
from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from service_kit.errors import Aborted, Code, ServiceError
from service_kit.grpc.affine import AffineReplicas
from simulator_svc.rollout.patience import Patience
from simulator_svc.rollout.transcript import DoctorTurn

DEPENDENCY = "inference policy"

# The prompt passes the engine's context; the consultation grew too long.
PROMPT_TOO_LONG = "PROMPT_TOO_LONG"
# A completion has its outcome for itself, without a gRPC status: what its reason would have been sent as.
_CODES = {"DEPENDENCY_UNAVAILABLE": Code.UNAVAILABLE, "ENGINE_QUEUE_FULL": Code.RESOURCE_EXHAUSTED}


# A group's size: beyond it evenness is worth more than a prefix that is computed once.
OVERLOAD = 8


class Policy:
    def __init__(self, replicas: AffineReplicas, *, deadline: float, patience: Patience) -> None:
        self._replicas = replicas
        self._deadline = deadline
        self._patience = patience
        self._context_tokens: int | None = None

    async def context_tokens(self) -> int:
        """The longest sequence that the policy takes. Raises ServiceError."""
        if self._context_tokens is None:
            self._context_tokens = await self._patience.attempt(self._list_context_tokens)
        return self._context_tokens

    async def speak(
        self, so_far: Sequence[int], new: Sequence[Message], sampling: Sampling, seed: int, group: str
    ) -> DoctorTurn:
        """Sample the turn that follows the ids so far and the new messages. Turns of one `group` begin alike.

        Raises ServiceError."""
        # A batch of one: the engine batches across calls, and a unary answer is one message instead of one a token.
        request = pb.GenerateBatchRequest(
            requests=[
                pb.GenerateRequest(
                    prompt=pb.Prompt(token_ids_so_far=so_far, new_messages=new),
                    sampling=sampling,
                    seed=seed,
                    priority=pb.PRIORITY_ROLLOUT,
                )
            ]
        )
        return await self._patience.attempt(lambda: self._sample(request, group))

    async def _sample(self, request: pb.GenerateBatchRequest, group: str) -> DoctorTurn:
        response = await self._replicas.call(
            group,
            lambda channel, seconds: InferenceServiceStub(channel).GenerateBatch(request, timeout=seconds),
            self._deadline,
        )
        completion = response.completions[0]
        if completion.error_reason:
            code = _CODES.get(completion.error_reason, Code.INVALID_ARGUMENT)
            raise ServiceError(code, completion.error_reason, completion.error_message)
        if completion.finish_reason == pb.FINISH_REASON_ABORTED:
            raise Aborted("GENERATION_ABORTED", "a weight update cut the turn short")
        return DoctorTurn(
            text=completion.text.strip(),
            prompt_token_ids=completion.prompt_token_ids,
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            version_runs=completion.version_runs,
        )

    async def _list_context_tokens(self) -> int:
        response = await self._replicas.call(
            "",
            lambda channel, seconds: InferenceServiceStub(channel).ListModels(pb.ListModelsRequest(), timeout=seconds),
            30.0,
        )
        return min((model.max_context_tokens for model in response.models if model.max_context_tokens), default=0)
