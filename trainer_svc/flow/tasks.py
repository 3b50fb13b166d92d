"""Single-turn tasks: a prompt with what verifies its answer. Who is asked and who is held out is decided where they are
read; an answer is verified by the rubric service, which the task's criteria tell how, or which compares it with an
expert's rubric where it is to be a rubric itself.
"""

from dataclasses import dataclass
from typing import Literal

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2, rubric_pb2

Skill = Literal["knowledge", "reasoning", "instruction", "open"]


@dataclass(frozen=True)
class Task:
    task_id: str
    skill: Skill
    prompt: str
    criteria: tuple[rubric_pb2.Criterion, ...]
    # A good answer in words, where the source has one.
    reference: str = ""
    # In place of criteria: those that a rubric should have.
    expert: tuple[rubric_pb2.Criterion, ...] = ()

    def context(self) -> rollout_pb2.PromptContext:
        prompt = dialogue_pb2.Dialogue(messages=self.messages)
        rubric = rubric_pb2.Rubric(rubric_id=self.task_id, criteria=self.expert or self.criteria)
        if self.expert:
            return rollout_pb2.PromptContext(prompt=prompt, expert=rubric)
        return rollout_pb2.PromptContext(prompt=prompt, rubric=rubric)

    @property
    def messages(self) -> list[dialogue_pb2.Message]:
        return [dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=self.prompt)]


@dataclass(frozen=True)
class Ability:
    """A held-out task of a general ability, which the run must not cost: `name` groups them."""

    name: str
    task: Task


@dataclass(frozen=True)
class Tasks:
    train: tuple[Task, ...] = ()
    held_out: tuple[Task, ...] = ()
    abilities: tuple[Ability, ...] = ()
    # So many of `train`, the first ones, are what an SFT run left for RL.
    handed_on: int = 0


def verified_by(criterion_id: str, text: str, matcher: str, terms: list[str], points: int = 1) -> rubric_pb2.Criterion:
    check = rubric_pb2.CriterionCheck(verifiable=rubric_pb2.CriterionCheck.Verifiable(matcher=matcher, terms=terms))
    return rubric_pb2.Criterion(criterion_id=criterion_id, text=text, points=points, check=check)
