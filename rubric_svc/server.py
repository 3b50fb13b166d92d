"""The rubric service's RPCs: protobuf in, plain Python at work, protobuf out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc

from anamnesis.rubric.v1 import evaluation_pb2, evaluation_pb2_grpc, rubric_pb2, rubric_pb2_grpc
from rubric_svc import agreement, mapping
from rubric_svc.case_store import CaseStore
from rubric_svc.evaluate.server import EvaluationServicer
from rubric_svc.generate.pipeline import Generation
from rubric_svc.model import Dimension, Outcome, Scope
from rubric_svc.scoring import Job, Scored, Scorer
from service_kit.errors import InvalidArgument, ServiceError

SERVICES = (
    rubric_pb2.DESCRIPTOR.services_by_name["RubricService"].full_name,
    evaluation_pb2.DESCRIPTOR.services_by_name["EvaluationService"].full_name,
)
Context = grpc.aio.ServicerContext[Any, Any]


class RubricServicer(rubric_pb2_grpc.RubricServiceServicer):
    def __init__(self, scorer: Scorer, generation: Generation, store: CaseStore, concurrency: int) -> None:
        self._scorer = scorer
        self._generation = generation
        self._store = store
        self._concurrency = concurrency

    async def GenerateRubric(
        self, request: rubric_pb2.GenerateRubricRequest, context: Context
    ) -> rubric_pb2.GenerateRubricResponse:
        found = await self._generation.rubric(
            mapping.source_from_proto(request, self._store),
            mapping.persona_from_proto(request.persona),
            mapping.dialogue_from_proto(request.so_far),
            Scope(request.scope),
            request.seed,
            use_model=request.use_model,
        )
        return rubric_pb2.GenerateRubricResponse(
            rubric=mapping.rubric_to_proto(found.rubric),
            similarity=found.similarity,
            written_reason=found.written_reason,
        )

    async def ScoreDialogue(
        self, request: rubric_pb2.ScoreDialogueRequest, context: Context
    ) -> rubric_pb2.ScoreDialogueResponse:
        return _response(await self._scorer.score(self._job(request)))

    async def ScoreDialogues(
        self, request: rubric_pb2.ScoreDialoguesRequest, context: Context
    ) -> AsyncIterator[rubric_pb2.ScoreDialoguesResponse]:
        jobs = [self._job_or_error(item) for item in request.requests]
        async for index, outcome in self._scorer.score_all(jobs, self._concurrency):
            if isinstance(outcome, ServiceError):
                yield rubric_pb2.ScoreDialoguesResponse(
                    index=index, error_reason=outcome.reason, error_message=outcome.message
                )
            else:
                yield rubric_pb2.ScoreDialoguesResponse(index=index, response=_response(outcome))

    async def MeasureAgreement(
        self, request: rubric_pb2.MeasureAgreementRequest, context: Context
    ) -> rubric_pb2.MeasureAgreementResponse:
        pairs = []
        for index, verdict in enumerate(request.verdicts):
            for name in ("predicted", "label"):
                if not getattr(verdict, name):
                    raise InvalidArgument(f"verdicts[{index}].{name}", "is unspecified")
            pairs.append(
                agreement.Pair(Outcome(verdict.predicted), Outcome(verdict.label), Dimension(verdict.dimension))
            )
        overall, dimensions = agreement.measure_by_dimension(pairs, seed=request.seed)
        rubrics = [
            mapping.rubric_agreement_to_proto(pair.pair_id, await self._generation.agreement(*rubrics))
            for pair, rubrics in mapping.rubric_pairs_from_proto(request.rubrics)
        ]
        return rubric_pb2.MeasureAgreementResponse(
            overall=mapping.agreement_to_proto(overall),
            dimensions=[mapping.agreement_to_proto(measured) for measured in dimensions],
            rubrics=rubrics,
        )

    def _job_or_error(self, request: rubric_pb2.ScoreDialogueRequest) -> Job | ServiceError:
        try:
            return self._job(request)
        except ServiceError as error:
            return error

    def _job(self, request: rubric_pb2.ScoreDialogueRequest) -> Job:
        return Job(
            dialogue=mapping.dialogue_from_proto(request.dialogue),
            source=mapping.judged_by(request, self._store),
            persona=mapping.persona_from_proto(request.persona),
            scope=Scope(request.scope),
            seed=request.seed,
            measure_coherence=request.measure_coherence,
            second_opinion=request.second_opinion,
        )


def register(server: grpc.aio.Server, rubrics: RubricServicer, evaluations: EvaluationServicer) -> Sequence[str]:
    rubric_pb2_grpc.add_RubricServiceServicer_to_server(rubrics, server)
    evaluation_pb2_grpc.add_EvaluationServiceServicer_to_server(evaluations, server)
    return SERVICES


def _response(scored: Scored) -> rubric_pb2.ScoreDialogueResponse:
    response = rubric_pb2.ScoreDialogueResponse(
        score=mapping.score_to_proto(scored.score), rubric=mapping.rubric_to_proto(scored.rubric)
    )
    if scored.coherence is not None:
        response.coherence = scored.coherence
    if scored.disagreement is not None:
        response.disagreement = scored.disagreement
    return response
