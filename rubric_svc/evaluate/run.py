"""An evaluation: every task is played by the candidate and judged, some at a time, and can be taken up again.

Invariant: what is in the journal is never asked of the candidate again; a task with ungraded criteria is judged again
when the evaluation is taken up, so that a judge that was away leaves no trace once it is back. A task that could not
be played is left undone, counted by its reason.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rubric_svc.evaluate.candidate import Candidate
from rubric_svc.evaluate.journal import Answered, Journal, Performance
from rubric_svc.evaluate.scores import Example
from rubric_svc.model import Dialogue, Rubric, Scope, Turn, Verdict
from service_kit.errors import ServiceError


class Judge(Protocol):
    async def judge(self, rubric: Rubric, dialogue: Dialogue, scope: Scope) -> list[Verdict]: ...


@dataclass(frozen=True, slots=True)
class Question:
    """What the judge is asked about a performance."""

    rubric: Rubric
    dialogue: Dialogue
    scope: Scope


class Task(Protocol):
    """One item of a benchmark."""

    @property
    def task_id(self) -> str: ...

    @property
    def tags(self) -> tuple[str, ...]: ...

    async def play(self, candidate: Candidate) -> Performance:
        """Raises ServiceError where there is nothing to judge."""

    def question(self, performance: Performance) -> Question: ...

    def example(self, performance: Performance, verdicts: Sequence[Verdict]) -> Example: ...

    def shown(self, performance: Performance) -> Dialogue:
        """The whole dialogue, for a reader."""


# Told how many tasks are done, of how many.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Reported:
    """One task with all that a reader may want to open."""

    task_id: str
    tags: tuple[str, ...]
    dialogue: tuple[Turn, ...]
    example: Example


@dataclass
class Evaluation:
    tasks: Sequence[Task]
    candidate: Candidate
    judge: Judge
    journal: Journal
    concurrency: int
    progress: Progress
    unplayed: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Returns when every task was tried."""
        waiting = iter(self.tasks)
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(self.concurrency, len(self.tasks))):
                workers.create_task(self._work(waiting))

    def reported(self) -> list[Reported]:
        """What is done, in the order of the tasks."""
        return [
            Reported(
                task.task_id,
                task.tags,
                task.shown(answered.performance),
                task.example(answered.performance, answered.of(task.question(answered.performance).rubric.criteria)),
            )
            for task in self.tasks
            if (answered := self.journal.done.get(task.task_id))
        ]

    async def _work(self, waiting: Iterator[Task]) -> None:
        for task in waiting:
            before = self.journal.done.get(task.task_id)
            if before is None or not before.graded:
                await self._task(task, before)
            self.progress(len(self.journal.done), len(self.tasks))

    async def _task(self, task: Task, before: Answered | None) -> None:
        try:
            performance = before.performance if before else await task.play(self.candidate)
        except ServiceError as error:
            self.unplayed[error.reason] += 1
            return
        asked = task.question(performance)
        verdicts = await self.judge.judge(asked.rubric, asked.dialogue, asked.scope)
        found = tuple((verdict.outcome, verdict.probability, verdict.explanation) for verdict in verdicts)
        self.journal.write(Answered(task.task_id, performance, found))
