"""The objective against a slow reading of the formula, token by token."""

import math

import torch

from trainer_svc.learner.objective import Clip, advantages, improved_grpo, length_bonus

CLIP = Clip(epsilon_low=0.2, epsilon_high=0.28, truncation=2.0, l_max=7)


def slow(logp: list[list[float]], sampler: list[list[float]], rewards: list[float], clip: Clip) -> float:
    mean = sum(rewards) / len(rewards)
    total = 0.0
    for lp, sp, reward in zip(logp, sampler, rewards, strict=True):
        a = reward - mean
        for new, old in zip(lp, sp, strict=True):
            r = math.exp(new - old)
            low_high = min(max(r, 1 - clip.epsilon_low), 1 + clip.epsilon_high)
            total += min(min(r, clip.truncation) * a, low_high * a) / clip.l_max
    return -total / len(rewards)


def ragged() -> tuple[list[list[float]], list[list[float]], list[float]]:
    generator = torch.Generator().manual_seed(3)
    logp, sampler = [], []
    for length in (1, 5, 7, 3):
        logp.append((-torch.rand(length, generator=generator) * 3).tolist())
        sampler.append((-torch.rand(length, generator=generator) * 3).tolist())
    return logp, sampler, [0.1, 0.9, -0.3, 0.4]


def padded(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def test_loss_is_the_formula_and_padding_does_not_count() -> None:
    logp, sampler, rewards = ragged()
    mask = padded([[1.0] * len(row) for row in logp])
    terms = improved_grpo(padded(logp), padded(sampler), advantages(torch.tensor(rewards)), mask, CLIP)
    assert math.isclose(float(terms.loss), slow(logp, sampler, rewards, CLIP), rel_tol=1e-5)
    assert terms.tokens == 16
    assert terms.kl >= 0


def test_junk_under_the_mask_changes_nothing() -> None:
    logp, sampler, rewards = ragged()
    mask = padded([[1.0] * len(row) for row in logp])
    dirty = torch.where(mask.bool(), padded(logp), 500.0)
    clean = improved_grpo(padded(logp), padded(sampler), advantages(torch.tensor(rewards)), mask, CLIP)
    assert improved_grpo(dirty, padded(sampler), advantages(torch.tensor(rewards)), mask, CLIP).loss == clean.loss


def test_advantage_is_the_distance_to_the_group_mean_without_division() -> None:
    assert torch.allclose(advantages(torch.tensor([1.0, 3.0, 8.0])), torch.tensor([-3.0, -1.0, 4.0]))


def test_a_token_counts_the_same_in_a_short_and_in_a_long_answer() -> None:
    logp = torch.zeros(2, 4, requires_grad=True)
    mask = torch.tensor([[1.0, 0, 0, 0], [1.0, 1, 1, 1]])
    torch.autograd.backward(improved_grpo(logp, torch.zeros(2, 4), torch.tensor([1.0, 1.0]), mask, CLIP).loss)
    assert logp.grad is not None
    assert torch.allclose(logp.grad, -mask / (2 * CLIP.l_max))


def test_higher_clip_leaves_more_room_upwards_than_downwards() -> None:
    ratio = torch.tensor([[1.25, 1.3, 0.79, 0.81]])
    sampler = torch.zeros(1, 4)
    good = ratio.log().requires_grad_()
    torch.autograd.backward(improved_grpo(good, sampler, torch.tensor([1.0]), torch.ones(1, 4), CLIP).loss)
    assert good.grad is not None
    assert (good.grad != 0).tolist() == [[True, False, True, True]]
    bad = ratio.log().requires_grad_()
    terms = improved_grpo(bad, sampler, torch.tensor([-1.0]), torch.ones(1, 4), CLIP)
    torch.autograd.backward(terms.loss)
    assert bad.grad is not None
    assert (bad.grad != 0).tolist() == [[True, True, False, True]]
    assert terms.clipped == 1


def test_importance_weight_of_a_bad_token_is_truncated() -> None:
    logp = torch.tensor([[5.0]], requires_grad=True)
    terms = improved_grpo(logp, torch.zeros(1, 1), torch.tensor([-1.0]), torch.ones(1, 1), CLIP)
    assert math.isclose(float(terms.loss), CLIP.truncation / CLIP.l_max, rel_tol=1e-6)
    assert terms.truncated == 1


def test_length_bonus_goes_to_the_upper_rewards_and_prefers_short_answers() -> None:
    rewards = torch.tensor([0.0, 0.5, 0.5, 1.0])
    lengths = torch.tensor([4, 16, 4, 100])
    bonus = length_bonus(rewards, lengths, quantile=0.2, threshold=0.1)
    p = float(torch.quantile(rewards, 0.2))
    assert p > 0.1
    assert torch.allclose(bonus, torch.tensor([0.0, 1.0, 2.0, 0.4]))
    assert length_bonus(rewards, lengths, quantile=0.2, threshold=0.9).sum() == 0
