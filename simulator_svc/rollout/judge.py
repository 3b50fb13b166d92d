"""The score of an episode, from rubric_svc. Invariant: a void score never becomes a reward."""

from __future__ import annotations

import grpc

from anamnesis.rubric.v1.rubric_pb2 import ScoreDialogueRequest, ScoreDialogueResponse
from anamnesis.rubric.v1.rubric_pb2_grpc import RubricServiceStub
from service_kit.grpc.channel import call_deadline, service_error
from simulator_svc.rollout.patience import Patience

DEPENDENCY = "rubric"


class Judge:
    def __init__(self, stub: RubricServiceStub, *, deadline: float, patience: Patience) -> None:
        self._stub = stub
        self._deadline = deadline
        self._patience = patience

    async def score(self, request: ScoreDialogueRequest) -> ScoreDialogueResponse:
        """Raises ServiceError once patience is over."""
        return await self._patience.attempt(lambda: self._score(request))

    async def _score(self, request: ScoreDialogueRequest) -> ScoreDialogueResponse:
        try:
            return await self._stub.ScoreDialogue(request, timeout=call_deadline(self._deadline))
        except grpc.aio.AioRpcError as error:
            raise service_error(error, DEPENDENCY) from error
