"""Rows, their advantages and shares, and micro-batches under a budget."""

from collections.abc import Sequence

import pytest

from trainer_svc.config import resolve
from trainer_svc.learner.batches import Group, Row, Sample, micro_batches, rows_of


def group(prompt: int, answers: Sequence[int], rewards: Sequence[float] | None = None) -> Group:
    samples = []
    for number, length in enumerate(answers):
        reward = float(number) if rewards is None else rewards[number]
        trained = list(range(prompt, prompt + length))
        samples.append(Sample([0] * prompt + [number + 1] * length, trained, [-1.0] * length, reward))
    return Group(samples)


def cut(groups: Sequence[Group], budget: int) -> list[list[int]]:
    """How many rows of each group every micro-batch holds."""
    config = resolve("smoke", {})
    batches = micro_batches(rows_of(groups, config), budget)
    rows = [row for batch in batches for part in batch for row in part]
    assert [id(row.sample) for row in rows] == [id(sample) for group in groups for sample in group.samples]
    return [[len(part) for part in batch] for batch in batches]


def test_groups_go_together_while_they_fit() -> None:
    # 10 for the prompt and twice 5 for each answer: 30 a group.
    groups = [group(10, [5, 5])] * 5
    assert cut(groups, budget=60) == [[2, 2], [2, 2], [2]]
    assert cut(groups, budget=1000) == [[2] * 5]


def test_a_group_that_is_too_large_is_cut_and_pays_its_prompt_again() -> None:
    assert cut([group(10, [5, 5, 5, 40, 1])], budget=40) == [[3], [1], [1]]


def test_the_rest_of_a_cut_group_shares_its_micro_batch_with_the_next_group() -> None:
    assert cut([group(10, [5, 5, 5, 1]), group(4, [2, 2])], budget=40) == [[3], [1, 2]]


@pytest.mark.parametrize("overrides, expected", [
    ({}, [-1.0, 0.0, 1.0]),
    ({"objective.divide_by_std": "true"}, [-1.0, 0.0, 1.0]),
    ({"objective.length_bonus": "true"}, [-7 / 3, 2 / 3, 5 / 3]),
])  # fmt: skip
def test_the_advantage_is_the_distance_to_the_mean_of_reward_and_bonus(
    overrides: dict[str, str], expected: list[float]
) -> None:
    # The standard deviation is 1. The answers of 0.4 of the rewards' rank and above earn 4/√4 = 2.
    rows = rows_of([group(3, [4, 4, 4], [1.0, 2.0, 3.0])], resolve("smoke", overrides))[0]
    assert [row.advantage for row in rows] == pytest.approx(expected, abs=1e-3)


def test_shares_make_the_mean_of_the_groups_means() -> None:
    rows = rows_of([group(3, [1, 1]), group(3, [1, 1, 1, 1])], resolve("smoke", {}))
    assert [[row.share for row in group] for group in rows] == [[1 / 4] * 2, [1 / 8] * 4]


def test_every_row_keeps_its_sample_and_bonus() -> None:
    (rows,) = rows_of([group(3, [4, 16], [0.0, 1.0])], resolve("smoke", {"objective.length_bonus": "true"}))
    assert [(type(row), row.bonus) for row in rows] == [(Row, 0.0), (Row, 1.0)]
