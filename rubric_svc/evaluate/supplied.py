"""Verdicts from a file in place of a judge: JSONL of {"prompt_id", "criterion_index", "verdict"}.

Invariant: every line finds its criterion or is refused with its place; a criterion without a line is ungraded, never
not_met. criterion_index counts the item's rubric from 0; verdict is met, not_met, ungraded, true or false.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from rubric_svc.evaluate.healthbench import HealthBenchItem
from rubric_svc.judge.model import ungraded
from rubric_svc.model import Criterion, Outcome, Verdict

_OUTCOMES: dict[object, Outcome] = {
    "met": Outcome.MET,
    "not_met": Outcome.NOT_MET,
    "ungraded": Outcome.UNGRADED,
    True: Outcome.MET,
    False: Outcome.NOT_MET,
}


class WrongVerdict(ValueError):
    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")


class SuppliedVerdicts:
    def __init__(self, outcomes: Mapping[tuple[str, int], Outcome]) -> None:
        self._outcomes = outcomes

    @classmethod
    def read(cls, path: Path, items: Iterable[HealthBenchItem]) -> SuppliedVerdicts:
        """Raises WrongVerdict for the first line that is no verdict on one of the items, or contradicts another."""
        sizes = {item.prompt_id: len(item.rubric.criteria) for item in items}
        outcomes: dict[tuple[str, int], Outcome] = {}
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                where = f"{path.name}:{number}"
                place, outcome = _parse(line, where, sizes)
                if outcomes.setdefault(place, outcome) is not outcome:
                    raise WrongVerdict(where, "contradicts an earlier line on the same criterion")
        return cls(outcomes)

    def of(self, item: HealthBenchItem) -> list[Verdict]:
        """In the rubric's order."""
        return [self._verdict(item, index, criterion) for index, criterion in enumerate(item.rubric.criteria)]

    def _verdict(self, item: HealthBenchItem, index: int, criterion: Criterion) -> Verdict:
        outcome = self._outcomes.get((item.prompt_id, index))
        if outcome is None:
            return ungraded(criterion, "NOT_SUPPLIED")
        if outcome is Outcome.UNGRADED:
            return ungraded(criterion, "SUPPLIED_AS_UNGRADED")
        return Verdict(criterion, outcome, float(outcome is Outcome.MET), "supplied")


def _parse(line: str, where: str, sizes: Mapping[str, int]) -> tuple[tuple[str, int], Outcome]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise WrongVerdict(where, f"is not JSON: {error.msg}") from error
    if not isinstance(row, dict):
        raise WrongVerdict(where, "is not an object")
    prompt_id, index, verdict = (row.get(name) for name in ("prompt_id", "criterion_index", "verdict"))
    if not isinstance(prompt_id, str) or prompt_id not in sizes:
        raise WrongVerdict(where, f"prompt_id: {prompt_id!r} is none of the items")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < sizes[prompt_id]:
        raise WrongVerdict(where, f"criterion_index: must be a whole number from 0 to {sizes[prompt_id] - 1}")
    if not isinstance(verdict, str | bool) or verdict not in _OUTCOMES:
        raise WrongVerdict(where, f"verdict: {verdict!r} is none of met, not_met, ungraded, true, false")
    return (prompt_id, index), _OUTCOMES[verdict]
