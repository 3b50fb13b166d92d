"""An evaluation: every item is answered by the candidate and judged, some at a time, and can be taken up again.

Invariant: what is in the journal is never asked of the candidate again; an item with ungraded criteria is judged again
when the evaluation is taken up, so that a judge that was away leaves no trace once it is back. A candidate that does
not answer an item leaves it undone, counted by its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rubric_svc.evaluate.candidate import Candidate
from rubric_svc.evaluate.healthbench import HealthBenchItem
from rubric_svc.evaluate.journal import Answered, Journal
from rubric_svc.evaluate.scores import Example, example
from rubric_svc.model import Dialogue, Rubric, Scope, Speaker, Turn, Verdict
from service_kit.errors import ServiceError


class Judge(Protocol):
    async def judge(self, rubric: Rubric, dialogue: Dialogue, scope: Scope) -> list[Verdict]: ...


# Told how many items are done, of how many.
Progress = Callable[[int, int], None]


@dataclass
class Evaluation:
    items: Sequence[HealthBenchItem]
    candidate: Candidate
    judge: Judge
    journal: Journal
    concurrency: int
    progress: Progress
    unanswered: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Returns when every item was tried."""
        waiting = iter(self.items)
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self.concurrency, len(self.items))):
                workers.create_task(self._work(waiting))

    def examples(self, *, void_share: float, length_adjusted: bool) -> list[Example]:
        """Of the items that are done, in the order of the items."""
        return [
            example(
                item,
                answered.of(item.rubric.criteria),
                void_share=void_share,
                answer_characters=len(answered.answer) if length_adjusted else None,
            )
            for item in self.items
            if (answered := self.journal.done.get(item.prompt_id))
        ]

    async def _work(self, waiting: Iterator[HealthBenchItem]) -> None:
        for item in waiting:
            before = self.journal.done.get(item.prompt_id)
            if before is None or not before.graded:
                await self._item(item, before)
            self.progress(len(self.journal.done), len(self.items))

    async def _item(self, item: HealthBenchItem, before: Answered | None) -> None:
        try:
            answer = before.answer if before else await self.candidate.answer(item.prompt)
        except ServiceError as error:
            self.unanswered[error.reason] += 1
            return
        dialogue = (*item.prompt, Turn(Speaker.DOCTOR, answer))
        verdicts = await self.judge.judge(item.rubric, dialogue, Scope.LAST_DOCTOR_TURN)
        found = tuple((verdict.outcome, verdict.probability, verdict.explanation) for verdict in verdicts)
        self.journal.write(Answered(item.prompt_id, answer, found, {}))
