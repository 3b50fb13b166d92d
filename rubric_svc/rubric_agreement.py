"""How far a generated rubric agrees with an expert's: the report's measure, and the reward made of it.

A generated criterion agrees where some criterion of the expert has the same dimension and sign, or the same intent
(likeness.py). Agreement is the share of the generated ones that agree, coverage the share of the expert's that some
generated one shares the intent of. Invariant: a rubric that repeats itself earns each of the expert's criteria once.
"""

from __future__ import annotations

from dataclasses import dataclass

from rubric_svc.judge.features import Embedder
from rubric_svc.likeness import likeness
from rubric_svc.model import Criterion, Rubric


@dataclass(frozen=True, slots=True)
class RubricAgreement:
    """Shares in [0, 1]. `measure` is what intent was judged by: embeddings or words."""

    generated: int
    expert: int
    agreement: float
    same_dimension: float
    same_intent: float
    coverage: float
    measure: str
    # Of each of the expert's criteria, the generated one that has its intent.
    matches: tuple[Criterion | None, ...] = ()

    @property
    def reward(self) -> float:
        """For training a generator: F1 of intent, precision by distinct expert criteria, so repetition lowers it."""
        if not self.generated:
            return 0.0
        precision = self.coverage * self.expert / self.generated
        total = min(1.0, precision) + self.coverage
        return 2 * min(1.0, precision) * self.coverage / total if total else 0.0


async def rubric_agreement(
    generated: Rubric, expert: Rubric, embedder: Embedder, limit_seconds: float
) -> RubricAgreement:
    texts = [criterion.text for criterion in (*generated.criteria, *expert.criteria)]
    alike = await likeness(texts, embedder, limit_seconds)
    n, m = len(generated.criteria), len(expert.criteria)
    intents = [
        [
            alike.alike(i, n + j) and (generated.criteria[i].points > 0) is (expert.criteria[j].points > 0)
            for j in range(m)
        ]
        for i in range(n)
    ]
    dimensions = [any(_same_dimension(one, other) for other in expert.criteria) for one in generated.criteria]
    intent = [any(row) for row in intents]
    return RubricAgreement(
        n,
        m,
        sum(a or b for a, b in zip(dimensions, intent, strict=True)) / n,
        sum(dimensions) / n,
        sum(intent) / n,
        sum(any(row[j] for row in intents) for j in range(m)) / m,
        alike.measure,
        tuple(
            next((one for one, row in zip(generated.criteria, intents, strict=True) if row[j]), None) for j in range(m)
        ),
    )


def _same_dimension(one: Criterion, other: Criterion) -> bool:
    return one.dimension is other.dimension and (one.points > 0) is (other.points > 0)
