"""One dialogue scored: find or generate the rubric, judge, add up, and measure beside it what else is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rubric_svc import score as definition
from rubric_svc.coherence import coherence
from rubric_svc.generate.generator import generate
from rubric_svc.generate.templates import Templates
from rubric_svc.judge.features import Embedder
from rubric_svc.judge.model import Chooser
from rubric_svc.judge.panel import Panel
from rubric_svc.judge.second import SecondOpinion
from rubric_svc.model import Case, Dialogue, Persona, Rubric, Scope, Score, Speaker
from rubric_svc.rubric_score import Expert, score_rubric
from service_kit.errors import InvalidArgument, ServiceError


@dataclass(frozen=True, slots=True)
class Job:
    dialogue: Dialogue
    source: Rubric | Case | Expert
    persona: Persona
    scope: Scope
    seed: int
    measure_coherence: bool
    second_opinion: bool = False


@dataclass(frozen=True, slots=True)
class Scored:
    score: Score
    rubric: Rubric
    coherence: float | None
    disagreement: float | None


@dataclass(frozen=True, slots=True)
class Scorer:
    panel: Panel
    second: SecondOpinion
    chooser: Chooser
    templates: Templates
    model_criteria: dict[Scope, int]
    void_share: float
    coherence_seconds: float
    embedder: Embedder
    agreement_seconds: float

    def rubric(self, case: Case, persona: Persona, so_far: Dialogue, scope: Scope, seed: int) -> Rubric:
        return generate(case, persona, so_far, scope, seed, self.templates, model_criteria=self.model_criteria[scope])

    async def score(self, job: Job) -> Scored:
        last = last_doctor_turn(job.dialogue)
        # What was said after the doctor's last turn is nothing the doctor could have known.
        dialogue = job.dialogue[: last + 1] if job.scope is Scope.LAST_DOCTOR_TURN else job.dialogue
        match job.source:
            case Case():
                rubric = self.rubric(job.source, job.persona, dialogue[:last], job.scope, job.seed)
            case Expert():
                rubric = job.source.rubric
            case Rubric():
                rubric = job.source
        (score, disagreement), natural = await asyncio.gather(
            self._judged(rubric, dialogue, job), self._coherence(dialogue, job)
        )
        return Scored(score, rubric, natural, disagreement)

    async def _judged(self, rubric: Rubric, dialogue: Dialogue, job: Job) -> tuple[Score, float | None]:
        """And how far a second judge disagrees, where one is asked; an expert's rubric is compared, not judged by."""
        if isinstance(job.source, Expert):
            written = dialogue[last_doctor_turn(dialogue)].text
            return await score_rubric(written, rubric, self.embedder, self.agreement_seconds), None
        verdicts = await self.panel.judge(rubric, dialogue, job.scope)
        score = definition.score(verdicts, void_share=self.void_share)
        if not job.second_opinion:
            return score, None
        return score, await self.second.disagreement(verdicts, dialogue, job.scope)

    async def _coherence(self, dialogue: Dialogue, job: Job) -> float | None:
        if not job.measure_coherence:
            return None
        return await coherence(dialogue, job.scope, self.chooser, self.coherence_seconds)

    async def score_all(
        self, jobs: Sequence[Job | ServiceError], concurrency: int
    ) -> AsyncIterator[tuple[int, Scored | ServiceError]]:
        """As they are ready, at most `concurrency` at a time; one that fails does not fail its neighbours."""
        waiting = iter(enumerate(jobs))
        running: set[asyncio.Task[tuple[int, Scored | ServiceError]]] = set()
        try:
            while True:
                while len(running) < concurrency and (following := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self._outcome(*following)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _outcome(self, index: int, job: Job | ServiceError) -> tuple[int, Scored | ServiceError]:
        if isinstance(job, ServiceError):
            return index, job
        try:
            return index, await self.score(job)
        except ServiceError as error:
            return index, error


def last_doctor_turn(dialogue: Dialogue) -> int:
    """Its index. Raises InvalidArgument where the doctor has not spoken."""
    spoken = [index for index, turn in enumerate(dialogue) if turn.speaker is Speaker.DOCTOR]
    if not spoken:
        raise InvalidArgument("dialogue", "has no doctor turn (role ASSISTANT) to judge", "NO_DOCTOR_TURN")
    return spoken[-1]
