"""The groups of a step become rows with their advantages, and rows become micro-batches under a budget of tokens.

Each row has its share of the step's mean, so the sum over micro-batches is the objective, however the rows are cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from trainer_svc.config import RunConfig
from trainer_svc.learner.objective import advantages, length_bonus
from trainer_svc.learner.packing import shared_prefix


@dataclass(frozen=True)
class Sample:
    """One completed trajectory: trained has the indices of the tokens to train on, logprobs the sampler's of these."""

    token_ids: list[int]
    trained: list[int]
    logprobs: list[float]
    reward: float


@dataclass(frozen=True)
class Group:
    samples: list[Sample]


@dataclass(frozen=True)
class Row:
    sample: Sample
    advantage: float
    bonus: float
    # 1/G of its group, over the number of groups.
    share: float


# Rows of one group stand together: they share their prompt.
MicroBatch = list[list[Row]]

# What a rank computes when the others have one micro-batch more: everything, with no weight.
NOTHING = [[Row(Sample([0, 0], [1], [0.0], 0.0), 0.0, 0.0, 0.0)]]


def rows_of(groups: Sequence[Group], config: RunConfig) -> list[list[Row]]:
    objective, rows = config.objective, []
    for group in groups:
        samples = group.samples
        rewards = torch.tensor([sample.reward for sample in samples])
        bonus = torch.zeros_like(rewards)
        if objective.length_bonus:
            lengths = torch.tensor([len(sample.trained) for sample in samples])
            bonus = length_bonus(rewards, lengths, objective.length_quantile, objective.length_threshold)
        advantage = advantages(rewards + bonus, objective.divide_by_std)
        share = 1 / (len(samples) * len(groups))
        rows.append(
            [Row(*row, share) for row in zip(samples, advantage.tolist(), bonus.tolist(), strict=True)],
        )
    return rows


def micro_batches(groups: Sequence[list[Row]], budget: int) -> list[MicroBatch]:
    """Whole groups while they fit, parts of groups where one alone is too large; a row above the budget goes alone.

    A trained token counts twice: its logits take as much memory as all of a token's activations.
    """
    batches: list[MicroBatch] = []
    left = 0
    for group in groups:
        for part, cost in _parts(group, budget):
            if cost > left:
                batches.append([])
                left = budget
            batches[-1].append(part)
            left -= cost
    return batches


def _parts(group: list[Row], budget: int) -> Iterator[tuple[list[Row], int]]:
    prefix = shared_prefix([row.sample.token_ids for row in group])
    part: list[Row] = []
    used = prefix
    for row in group:
        cost = len(row.sample.token_ids) - prefix + len(row.sample.trained)
        if part and used + cost > budget:
            yield part, used
            part, used = [], prefix
        part.append(row)
        used += cost
    yield part, used
