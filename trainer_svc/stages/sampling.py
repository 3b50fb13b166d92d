"""The policy's answers to tasks, as rollout requests of purpose `sample`, scored like any other."""

from collections.abc import Sequence

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from trainer_svc.flow.groups import member
from trainer_svc.flow.requests import SAMPLE
from trainer_svc.run import Run
from trainer_svc.stages.selection import Answer


def sample(run: Run, asked: Sequence[int], end: int) -> dict[int, list[Answer]]:
    """Of the training tasks `asked`, by their index; one whose requests all failed has none. `end` ends an answer."""
    entries = [entry for index in asked for entry in run.plan.entries(SAMPLE, index)]
    answers: dict[int, list[Answer]] = {index: [] for index in asked}
    for entry, trajectory in run.collect("sampling", entries, (rollout_pb2.TERMINAL_STATE_COMPLETED,)):
        answers[entry.group_index].append(_answer(trajectory, end))
    return answers


def _answer(trajectory: rollout_pb2.Trajectory, end: int) -> Answer:
    tokens = member(trajectory)
    said = [m.content for m in trajectory.dialogue.messages if m.role == dialogue_pb2.ROLE_ASSISTANT]
    return Answer(
        text=said[-1],
        token_ids=tokens.token_ids,
        given=tokens.sampled[0],
        reward=trajectory.reward,
        finished=tokens.token_ids[-1] == end,
    )
