"""The objective against a slow reading of the formula, token by token, for every option and every way of batching."""

import math
from dataclasses import replace
from itertools import chain

import pytest
import torch

from trainer_svc.learner.objective import STD_FLOOR, Options, advantages, improved_grpo, length_bonus

IMPROVED = Options(epsilon_low=0.2, epsilon_high=0.28, truncation=2.0, l_max=7)
PLAIN = replace(IMPROVED, epsilon_high=0.2, per_token_mean=True, beta=0.04)
Ragged = list[list[float]]


def slow(logp: Ragged, sampler: Ragged, reference: Ragged, advantage: list[float], o: Options) -> float:
    total = 0.0
    for lp, sp, ref, a in zip(logp, sampler, reference, advantage, strict=True):
        ratios = [math.exp(new - old) for new, old in zip(lp, sp, strict=True)]
        if o.sequence_kl_bound is not None:
            kl = sum(r - 1 - math.log(r) for r in ratios) / len(ratios)
            if kl > o.sequence_kl_bound:
                continue
        row = 0.0
        for r, new, old_policy in zip(ratios, lp, ref, strict=True):
            if o.ratio_bound is not None and not 1 / o.ratio_bound <= r <= o.ratio_bound:
                continue
            low_high = min(max(r, 1 - o.epsilon_low), 1 + o.epsilon_high)
            row += min(min(r, o.truncation) * a, low_high * a)
            row -= o.beta * (math.exp(old_policy - new) - 1 - (old_policy - new))
        total += row / (len(lp) if o.per_token_mean else o.l_max)
    return -total / len(logp)


def ragged(seed: int = 3, lengths: tuple[int, ...] = (1, 5, 7, 3)) -> tuple[Ragged, Ragged, Ragged]:
    generator = torch.Generator().manual_seed(seed)
    logp, sampler, reference = (
        [(-torch.rand(length, generator=generator) * 1.5).tolist() for length in lengths] for _ in range(3)
    )
    return logp, sampler, reference


def padded(rows: Ragged) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def mask_of(rows: Ragged) -> torch.Tensor:
    return padded([[1.0] * len(row) for row in rows])


REWARDS = [0.1, 0.9, -0.3, 0.4]
QUARTER = torch.full((4,), 0.25)
OPTIONS = {
    "improved": IMPROVED,
    "plain": PLAIN,
    "symmetric_clip": replace(IMPROVED, epsilon_high=0.2),
    "another_l_max": replace(IMPROVED, l_max=100),
    "hard_truncation": replace(IMPROVED, truncation=1.0),
    "per_token_mean": replace(IMPROVED, per_token_mean=True),
    "kl_to_reference": replace(IMPROVED, beta=0.3),
    "token_mask": replace(IMPROVED, ratio_bound=1.5),
    "sequence_mask": replace(IMPROVED, sequence_kl_bound=0.15),
    "everything": replace(PLAIN, truncation=1.5, ratio_bound=2.5, sequence_kl_bound=0.3),
}


@pytest.mark.parametrize("o", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("divide_by_std", [False, True], ids=["mean_only", "over_std"])
def test_loss_is_the_formula_and_padding_does_not_count(o: Options, divide_by_std: bool) -> None:
    logp, sampler, reference = ragged()
    advantage = advantages(torch.tensor(REWARDS), divide_by_std)
    terms = improved_grpo(
        padded(logp), padded(sampler), advantage, QUARTER, mask_of(logp), o, padded(reference) if o.beta else None
    )
    assert math.isclose(float(terms.loss), slow(logp, sampler, reference, advantage.tolist(), o), rel_tol=1e-5)
    assert terms.tokens == 16
    pairs = zip(chain.from_iterable(logp), chain.from_iterable(sampler), strict=True)
    ratios = [math.exp(new - old) for new, old in pairs]
    assert math.isclose(terms.weight, sum(ratios), rel_tol=1e-5)
    assert math.isclose(terms.truncated_weight, sum(min(r, o.truncation) for r in ratios), rel_tol=1e-5)
    assert terms.kl >= 0
    assert terms.reference_kl >= 0


@pytest.mark.parametrize("o", OPTIONS.values(), ids=OPTIONS.keys())
def test_rows_of_several_groups_in_parts_add_up_to_the_mean_over_groups(o: Options) -> None:
    groups = [(*ragged(1, (2, 6, 4)), [1.0, 0.0, 0.5]), (*ragged(2, (3, 1)), [0.2, 0.9])]
    expected = 0.0
    rows: list[tuple[list[float], list[float], list[float], float, float]] = []
    for logp, sampler, reference, rewards in groups:
        advantage = advantages(torch.tensor(rewards)).tolist()
        expected += slow(logp, sampler, reference, advantage, o) / len(groups)
        share = 1 / (len(rewards) * len(groups))
        rows += [(*row, share) for row in zip(logp, sampler, reference, advantage, strict=True)]

    def part(some: list[tuple[list[float], list[float], list[float], float, float]]) -> float:
        logp, sampler, reference, advantage, share = zip(*some, strict=True)
        return float(
            improved_grpo(
                padded(list(logp)), padded(list(sampler)), torch.tensor(advantage), torch.tensor(share),
                mask_of(list(logp)), o, padded(list(reference)) if o.beta else None,
            ).loss
        )  # fmt: skip

    assert math.isclose(part(rows), expected, rel_tol=1e-5)
    assert math.isclose(part(rows[:2]) + part(rows[2:4]) + part(rows[4:]), expected, rel_tol=1e-5)


def test_junk_under_the_mask_changes_nothing() -> None:
    logp, sampler, reference = ragged()
    mask = mask_of(logp)
    A = advantages(torch.tensor(REWARDS))
    dirty = torch.where(mask.bool(), padded(logp), 500.0)
    for o in OPTIONS.values():
        clean = improved_grpo(padded(logp), padded(sampler), A, QUARTER, mask, o, padded(reference))
        assert improved_grpo(dirty, padded(sampler), A, QUARTER, mask, o, padded(reference)) == clean


def test_advantage_is_the_distance_to_the_group_mean_without_division() -> None:
    rewards = torch.tensor([1.0, 3.0, 8.0])
    assert torch.allclose(advantages(rewards), torch.tensor([-3.0, -1.0, 4.0]))
    assert torch.allclose(advantages(rewards, True) * (rewards.std() + STD_FLOOR), torch.tensor([-3.0, -1.0, 4.0]))


def test_a_token_counts_the_same_in_a_short_and_in_a_long_answer_unless_lengths_divide() -> None:
    mask = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 1, 1]])
    for o, weight in ((IMPROVED, 1 / IMPROVED.l_max), (PLAIN, 1 / mask.sum(1, keepdim=True))):
        logp = torch.zeros(2, 4, requires_grad=True)
        half = torch.tensor([0.5, 0.5])
        torch.autograd.backward(improved_grpo(logp, torch.zeros(2, 4), torch.ones(2), half, mask, o).loss)
        assert logp.grad is not None
        assert torch.allclose(logp.grad, -mask / 2 * weight)


def grown(ratio: torch.Tensor, advantage: float, o: Options) -> list[bool]:
    """Which tokens of one row have a gradient."""
    logp = ratio.log().requires_grad_()
    ones = torch.ones_like(ratio)
    terms = improved_grpo(logp, torch.zeros_like(ratio), torch.tensor([advantage]), torch.ones(1), ones, o)
    torch.autograd.backward(terms.loss)
    assert logp.grad is not None
    return (logp.grad[0] != 0).tolist()


def test_higher_clip_leaves_more_room_upwards_than_downwards() -> None:
    ratio = torch.tensor([[1.25, 1.3, 0.79, 0.81]])
    assert grown(ratio, 1.0, IMPROVED) == [True, False, True, True]
    assert grown(ratio, -1.0, IMPROVED) == [True, True, False, True]
    assert grown(ratio, 1.0, OPTIONS["symmetric_clip"]) == [False, False, True, True]


def test_tokens_far_off_policy_and_sequences_far_off_policy_teach_nothing() -> None:
    ratio = torch.tensor([[0.2, 1.0, 1.1, 6.0]])
    assert grown(ratio, -1.0, replace(IMPROVED, truncation=100, epsilon_low=0.9)) == [True] * 4
    masked = replace(IMPROVED, truncation=100, epsilon_low=0.9, ratio_bound=4.0)
    assert grown(ratio, -1.0, masked) == [False, True, True, False]
    assert grown(ratio, -1.0, replace(masked, ratio_bound=None, sequence_kl_bound=0.5)) == [False] * 4
    ones = torch.ones_like(ratio)
    terms = improved_grpo(ratio.log(), torch.zeros(1, 4), torch.ones(1), torch.ones(1), ones, masked)
    assert (terms.masked, terms.tokens) == (2, 4)
    # What is masked is part of how far off-policy the step's tokens are.
    assert math.isclose(terms.weight, 8.3, rel_tol=1e-6)


def test_importance_weight_of_a_bad_token_is_truncated() -> None:
    logp = torch.tensor([[5.0]], requires_grad=True)
    one = torch.ones(1, 1)
    terms = improved_grpo(logp, torch.zeros(1, 1), torch.tensor([-1.0]), torch.ones(1), one, IMPROVED)
    assert math.isclose(float(terms.loss.detach()), IMPROVED.truncation / IMPROVED.l_max, rel_tol=1e-6)
    assert terms.truncated == 1
    assert math.isclose(terms.weight, math.exp(5), rel_tol=1e-6) and terms.truncated_weight == IMPROVED.truncation


def test_length_bonus_goes_to_the_upper_rewards_and_prefers_short_answers() -> None:
    rewards = torch.tensor([0.0, 0.5, 0.5, 1.0])
    lengths = torch.tensor([4, 16, 4, 100])
    bonus = length_bonus(rewards, lengths, quantile=0.2, threshold=0.1)
    p = float(torch.quantile(rewards, 0.2))
    assert p > 0.1
    assert torch.allclose(bonus, torch.tensor([0.0, 1.0, 2.0, 0.4]))
    # At the quantile of 0.8, P is 0.7: one answer alone is above.
    assert torch.allclose(length_bonus(rewards, lengths, 0.8, 0.1), torch.tensor([0.0, 0.0, 0.0, 0.4]))
    assert length_bonus(rewards, lengths, quantile=0.2, threshold=0.9).sum() == 0
