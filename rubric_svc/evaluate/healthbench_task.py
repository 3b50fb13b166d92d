"""A HealthBench item as a task: one answer, judged by the item's own rubric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rubric_svc.evaluate.candidate import Candidate
from rubric_svc.evaluate.healthbench import HealthBenchItem
from rubric_svc.evaluate.journal import Performance
from rubric_svc.evaluate.run import Question
from rubric_svc.evaluate.scores import Example, example
from rubric_svc.model import Dialogue, Scope, Speaker, Turn, Verdict


@dataclass(frozen=True, slots=True)
class HealthBenchTask:
    item: HealthBenchItem
    void_share: float
    length_adjusted: bool = False

    @property
    def task_id(self) -> str:
        return self.item.prompt_id

    @property
    def tags(self) -> tuple[str, ...]:
        return self.item.example_tags

    async def play(self, candidate: Candidate) -> Performance:
        return Performance(answer=await candidate.answer(self.item.prompt))

    def question(self, performance: Performance) -> Question:
        return Question(self.item.rubric, self.shown(performance), Scope.LAST_DOCTOR_TURN)

    def example(self, performance: Performance, verdicts: Sequence[Verdict]) -> Example:
        return example(
            self.item,
            verdicts,
            void_share=self.void_share,
            answer_characters=len(performance.answer) if self.length_adjusted else None,
        )

    def shown(self, performance: Performance) -> Dialogue:
        return (*self.item.prompt, Turn(Speaker.DOCTOR, performance.answer))
