"""The improved GRPO of the report, and what it is compared with, on plain tensors.

    J = E[ 1/G Σ_i 1/l_max Σ_t M_it · min(w·A_i, clip(r, 1-ε_low, 1+ε_high)·A_i) ],   A_i = R_i - mean(R)

with r = π_θ/π_sampler for the sampled token and w = min(r, C) its truncated importance weight. No KL term, clip-higher
(ε_high > ε_low), the token sum over the constant l_max and not |o_i|, no division by the standard deviation.
The sampler's own log-probs are the old ones: r covers staleness and the sampler/trainer mismatch at once. M is 0 on
what is too far off-policy: a token whose r lies outside [1/b, b], a whole sequence whose mean KL(sampler ‖ trainer)
is above κ.

Plain GRPO (arXiv 2402.03300) divides A by std(R), clips alike on both sides, has 1/|o_i| in place of 1/l_max, and
subtracts β·KL(π_θ ‖ π_ref).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# Keeps the division finite where rewards hardly differ.
STD_FLOOR = 1e-4


@dataclass(frozen=True)
class Options:
    epsilon_low: float
    epsilon_high: float
    # C
    truncation: float
    l_max: int
    per_token_mean: bool = False
    # β
    beta: float = 0.0
    # b and κ; None masks nothing.
    ratio_bound: float | None = None
    sequence_kl_bound: float | None = None


@dataclass(frozen=True)
class Terms:
    """Sums over the trained tokens, so that micro-batches add up to exact means; loss alone carries gradients."""

    loss: Tensor
    clipped: float
    truncated: float
    masked: float
    # Of the importance weights: of π_θ/π_sampler as it is, and of min(π_θ/π_sampler, C).
    weight: float
    truncated_weight: float
    kl: float
    reference_kl: float
    tokens: float


def advantages(rewards: Tensor, divide_by_std: bool = False) -> Tensor:
    """A_i = R_i - mean(R) over the group, for plain GRPO over std(R); rewards is (G,)."""
    A = rewards - rewards.mean()
    return A / (rewards.std() + STD_FLOOR) if divide_by_std else A


def length_bonus(rewards: Tensor, lengths: Tensor, quantile: float, threshold: float) -> Tensor:
    """R_len = 4/√|o_i| if P > threshold and R_i >= P, else 0, with P = quantile(R, q); all (G,)."""
    p = torch.quantile(rewards, quantile)
    earned = (rewards >= p) & (p > threshold)
    return torch.where(earned, 4.0 / lengths.clamp(min=1).to(rewards.dtype).sqrt(), torch.zeros_like(rewards))


def improved_grpo(
    logp: Tensor,
    sampler_logp: Tensor,
    advantage: Tensor,
    share: Tensor,
    mask: Tensor,
    options: Options,
    reference_logp: Tensor | None = None,
) -> Terms:
    """-J of some rows, of one group or of several.

    logp, sampler_logp, reference_logp, mask: (N, T); mask is 1 on trained tokens. advantage, share: (N,); a row's share
    is 1/G of its group, over the groups of the step where their mean is wanted.
    """
    A = advantage.unsqueeze(1)
    r = torch.exp(torch.where(mask.bool(), logp - sampler_logp, 0.0))
    # KL(sampler ‖ trainer) from the sampler's samples: E[r - 1 - log r], never negative.
    kl = (r - 1 - r.log()).detach() * mask
    M = mask * _close_enough(r.detach(), kl, mask, options)
    w = r.clamp(max=options.truncation)
    clipped = r.clamp(1 - options.epsilon_low, 1 + options.epsilon_high)
    J = torch.minimum(w * A, clipped * A)
    reference_kl = torch.zeros_like(J)
    if reference_logp is not None:  # KL(π_θ ‖ π_ref), Schulman's k3
        d = torch.where(mask.bool(), reference_logp - logp, 0.0)
        reference_kl = d.exp() - 1 - d
        J = J - options.beta * reference_kl
    per_row = (J * M).sum(1)
    divisor = mask.sum(1).clamp(min=1) if options.per_token_mean else float(options.l_max)
    loss = -(share * per_row / divisor).sum()

    with torch.no_grad():
        outside = ((r < 1 - options.epsilon_low) & (A < 0)) | ((r > 1 + options.epsilon_high) & (A > 0))
        return Terms(
            loss=loss,
            clipped=float((outside * M).sum()),
            truncated=float(((r > options.truncation) * M).sum()),
            masked=float((mask - M).sum()),
            weight=float((r * mask).sum()),
            truncated_weight=float((w * mask).sum()),
            kl=float(kl.sum()),
            reference_kl=float((reference_kl * mask).sum()),
            tokens=float(mask.sum()),
        )


def _close_enough(r: Tensor, kl: Tensor, mask: Tensor, options: Options) -> Tensor:
    """M: 1 where a token is not too far off-policy to learn from."""
    kept = torch.ones_like(mask)
    if options.ratio_bound is not None:
        kept = kept * ((r <= options.ratio_bound) & (r >= 1 / options.ratio_bound))
    if options.sequence_kl_bound is not None:
        mean = kl.sum(1) / mask.sum(1).clamp(min=1)
        kept = kept * (mean <= options.sequence_kl_bound).unsqueeze(1)
    return kept
