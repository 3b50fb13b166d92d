"""Every criterion of a rubric to the judge that it names, verdicts back in the rubric's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from opentelemetry import metrics

from rubric_svc.judge import verifiable
from rubric_svc.judge.address import without_address
from rubric_svc.judge.evidence import Evidence
from rubric_svc.model import Criterion, Dialogue, Outcome, Rubric, Scope, Speaker, Verdict

_meter = metrics.get_meter(__name__)
_verdicts = _meter.create_counter("anamnesis.rubric.verdicts", "{verdict}", "Verdicts by outcome and check")
_ungraded = _meter.create_counter("anamnesis.rubric.ungraded", "{criterion}", "Criteria that got no verdict, by reason")

_LEFT_OUT = " (left out: words that speak to the judge)"


class Judge(Protocol):
    """Answers what words alone do not show; each criterion gets a verdict, ungraded where there is none."""

    async def judge(self, criteria: Sequence[Criterion], dialogue: Dialogue, scope: Scope) -> list[Verdict]: ...


@dataclass(frozen=True, slots=True)
class Panel:
    model: Judge

    async def judge(self, rubric: Rubric, dialogue: Dialogue, scope: Scope) -> list[Verdict]:
        """Raises WrongTerms for a rubric with a matcher or terms that do not exist."""
        matched = [criterion for criterion in rubric.criteria if criterion.check.matcher]
        asked = [criterion for criterion in rubric.criteria if not criterion.check.matcher]
        found = verifiable.judge(matched, Evidence.of(dialogue, scope)) if matched else []
        found += await self.model.judge(asked, dialogue, scope) if asked else []
        _count(found)
        if any(without_address(turn.text, doctor=turn.speaker is Speaker.DOCTOR) != turn.text for turn in dialogue):
            found = [replace(verdict, explanation=verdict.explanation + _LEFT_OUT) for verdict in found]
        by_id = {verdict.criterion.criterion_id: verdict for verdict in found}
        return [by_id[criterion.criterion_id] for criterion in rubric.criteria]


def _count(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        check = "verifiable" if verdict.criterion.check.matcher else "model"
        _verdicts.add(1, {"outcome": verdict.outcome.name.lower(), "check": check})
        if verdict.outcome is Outcome.UNGRADED:
            _ungraded.add(1, {"reason": verdict.explanation.removeprefix("ungraded: ")})
