"""Verdicts by a trained judge: a head on the frozen deployment's embeddings, its exemplars and P(Yes).

Invariant: as with the model's own verdicts, only a well-formed probability becomes met or not_met; what the model or
the embeddings do not answer is ungraded with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry import trace

from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.features import Embedder, see
from rubric_svc.judge.head import Head
from rubric_svc.judge.model import ModelJudge, ungraded
from rubric_svc.model import Criterion, Dialogue, Outcome, Scope, Verdict
from service_kit.errors import ServiceError

_tracer = trace.get_tracer(__name__)


@dataclass(frozen=True, slots=True)
class TrainedJudge:
    model: ModelJudge
    embedder: Embedder
    head: Head

    async def judge(self, criteria: Sequence[Criterion], dialogue: Dialogue, scope: Scope) -> list[Verdict]:
        with _tracer.start_as_current_span("rubric.judge.trained") as span:
            span.set_attribute("rubric.judge", self.head.manifest.name)
            until = time.monotonic() + self.model.limit_seconds
            asked = await self.model.judge(criteria, dialogue, scope)
            graded = [verdict for verdict in asked if verdict.outcome is not Outcome.UNGRADED]
            if not graded:
                return asked
            try:
                seen = await see(
                    [verdict.criterion for verdict in graded],
                    Evidence.of(dialogue, scope),
                    [verdict.probability for verdict in graded],
                    self.embedder,
                    until - time.monotonic(),
                )
            except ServiceError as error:
                span.set_attribute("rubric.ungraded.reason", error.reason)
                return [ungraded(criterion, error.reason) for criterion in criteria]
            given = {
                verdict.criterion.criterion_id: self._verdict(verdict, float(probability))
                for verdict, probability in zip(graded, self.head.judge(seen), strict=True)
            }
            return [given.get(verdict.criterion.criterion_id, verdict) for verdict in asked]

    def _verdict(self, asked: Verdict, probability: float) -> Verdict:
        threshold = self.head.manifest.threshold
        outcome = Outcome.MET if probability >= threshold else Outcome.NOT_MET
        explanation = (
            f"judge {self.head.manifest.name}: P(met) = {probability:.3f}, threshold {threshold:.2f}; "
            f"the model's P(Yes) = {asked.probability:.3f}"
        )
        return Verdict(asked.criterion, outcome, probability, explanation)
