"""EvaluationService's RPCs: protobuf in, the registry at work, protobuf out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from anamnesis.rubric.v1 import evaluation_pb2, evaluation_pb2_grpc
from rubric_svc.evaluate.benchmarks import HEALTHBENCH, OSCE
from rubric_svc.evaluate.registry import Evaluations, Spec, State, Status
from rubric_svc.evaluate.scores import OVERALL

Context = grpc.aio.ServicerContext[Any, Any]
_BENCHMARKS = {evaluation_pb2.BENCHMARK_HEALTHBENCH: HEALTHBENCH, evaluation_pb2.BENCHMARK_OSCE: OSCE}
_STATES = {
    State.RUNNING: evaluation_pb2.EVALUATION_STATE_RUNNING,
    State.SUCCEEDED: evaluation_pb2.EVALUATION_STATE_SUCCEEDED,
    State.FAILED: evaluation_pb2.EVALUATION_STATE_FAILED,
}


class EvaluationServicer(evaluation_pb2_grpc.EvaluationServiceServicer):
    def __init__(self, registry: Evaluations) -> None:
        self.registry = registry

    async def StartEvaluation(
        self, request: evaluation_pb2.StartEvaluationRequest, context: Context
    ) -> evaluation_pb2.StartEvaluationResponse:
        spec = request.spec
        started = await self.registry.start(Spec(_BENCHMARKS[spec.benchmark], spec.candidate, spec.limit, spec.seed))
        return evaluation_pb2.StartEvaluationResponse(evaluation=_evaluation(started))

    async def GetEvaluation(
        self, request: evaluation_pb2.GetEvaluationRequest, context: Context
    ) -> evaluation_pb2.GetEvaluationResponse:
        status = self.registry.get(request.evaluation_id)
        return evaluation_pb2.GetEvaluationResponse(evaluation=_evaluation(status))

    async def WatchEvaluation(
        self, request: evaluation_pb2.WatchEvaluationRequest, context: Context
    ) -> AsyncIterator[evaluation_pb2.WatchEvaluationResponse]:
        async with aclosing(self.registry.watch(request.evaluation_id)) as statuses:
            async for status in statuses:
                yield evaluation_pb2.WatchEvaluationResponse(evaluation=_evaluation(status))


def _evaluation(status: Status) -> evaluation_pb2.Evaluation:
    benchmark = next(number for number, name in _BENCHMARKS.items() if name == status.spec.benchmark)
    started = Timestamp()
    started.FromNanoseconds(round(status.started_at * 1e9))
    overall = next(((value, error) for name, value, error, _ in status.means if name == OVERALL), (None, None))
    return evaluation_pb2.Evaluation(
        evaluation_id=status.evaluation_id,
        spec=evaluation_pb2.EvaluationSpec(
            benchmark=benchmark, candidate=status.spec.candidate, limit=status.spec.limit, seed=status.spec.seed
        ),
        state=_STATES[status.state],
        done=status.done,
        total=status.total,
        score=overall[0],
        standard_error=overall[1],
        started_at=started,
        error=status.error,
        means=[
            evaluation_pb2.EvaluationMean(name=name, value=value, standard_error=error, count=count)
            for name, value, error, count in status.means
        ],
        unplayed=status.unplayed,
        ungraded=status.ungraded,
    )
