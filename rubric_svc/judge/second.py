"""A second opinion on verdicts, to see when a policy learns its judge's habits: how far two judges disagree.

    disagreement = sum(|points| where the two verdicts differ) / sum(|points| that both have graded)

Invariant: a second verdict never comes from the judge that gave the first, and it is measured beside the score, never
part of it. What only one of the two has graded is in neither sum; without any there is no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opentelemetry import metrics

from rubric_svc.judge.panel import Judge
from rubric_svc.model import Dialogue, Outcome, Scope, Verdict

_opinions = metrics.get_meter(__name__).create_counter(
    "anamnesis.rubric.second_opinions", "{verdict}", "Second verdicts: agreed, disagreed or ungraded, by first check"
)


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """`another_model`: the judge's model is not the one behind the first verdicts, so it may answer all criteria.

    Otherwise it answers those that a matcher judged, and no others: with itself a judge always agrees.
    """

    judge: Judge
    another_model: bool

    async def disagreement(self, verdicts: Sequence[Verdict], dialogue: Dialogue, scope: Scope) -> float | None:
        first = [
            verdict
            for verdict in verdicts
            if verdict.outcome is not Outcome.UNGRADED and (self.another_model or verdict.criterion.check.matcher)
        ]
        if not first:
            return None
        second = await self.judge.judge([verdict.criterion for verdict in first], dialogue, scope)
        both = [pair for pair in zip(first, second, strict=True) if pair[1].outcome is not Outcome.UNGRADED]
        for one, other in zip(first, second, strict=True):
            check = "verifiable" if one.criterion.check.matcher else "model"
            _opinions.add(1, {"opinion": _opinion(one, other), "check": check})
        total = sum(abs(one.criterion.points) for one, _ in both)
        differing = sum(abs(one.criterion.points) for one, other in both if one.outcome is not other.outcome)
        return differing / total if total else None


def _opinion(one: Verdict, other: Verdict) -> str:
    if other.outcome is Outcome.UNGRADED:
        return "ungraded"
    return "agreed" if one.outcome is other.outcome else "disagreed"
