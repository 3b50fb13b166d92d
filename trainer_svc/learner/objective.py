"""The improved GRPO of the report, on plain tensors.

    J = E[ 1/G Σ_i 1/l_max Σ_t min(w·A_i, clip(r, 1-ε_low, 1+ε_high)·A_i) ],   A_i = R_i - mean(R)

with r = π_θ/π_sampler for the sampled token and w = min(r, C) its truncated importance weight. No KL term, clip-higher
(ε_high > ε_low), the token sum over the constant l_max and not |o_i|, no division by the standard deviation.
The sampler's own log-probs are the old ones: r covers staleness and the sampler/trainer mismatch at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Clip:
    epsilon_low: float
    epsilon_high: float
    # C
    truncation: float
    l_max: int


@dataclass(frozen=True)
class Terms:
    """Sums over the trained tokens, so that micro-batches add up to exact means; loss alone carries gradients."""

    loss: Tensor
    clipped: float
    truncated: float
    kl: float
    tokens: float


def advantages(rewards: Tensor) -> Tensor:
    """A_i = R_i - mean(R) over the group; rewards is (G,)."""
    return rewards - rewards.mean()


def length_bonus(rewards: Tensor, lengths: Tensor, quantile: float, threshold: float) -> Tensor:
    """R_len = 4/√|o_i| if P > threshold and R_i >= P, else 0, with P = quantile(R, q); all (G,)."""
    p = torch.quantile(rewards, quantile)
    earned = (rewards >= p) & (p > threshold)
    return torch.where(earned, 4.0 / lengths.clamp(min=1).to(rewards.dtype).sqrt(), torch.zeros_like(rewards))


def improved_grpo(logp: Tensor, sampler_logp: Tensor, advantage: Tensor, mask: Tensor, clip: Clip) -> Terms:
    """-J of one group. logp, sampler_logp, mask: (G, T); mask is 1 on trained tokens; advantage: (G,)."""
    A = advantage.unsqueeze(1)
    r = torch.exp(torch.where(mask.bool(), logp - sampler_logp, 0.0))
    w = r.clamp(max=clip.truncation)
    clipped = r.clamp(1 - clip.epsilon_low, 1 + clip.epsilon_high)
    J = torch.minimum(w * A, clipped * A)
    loss = -(J * mask).sum() / (mask.size(0) * clip.l_max)

    with torch.no_grad():
        outside = ((r < 1 - clip.epsilon_low) & (A < 0)) | ((r > 1 + clip.epsilon_high) & (A > 0))
        # KL(sampler ‖ trainer) from the sampler's samples: E[r - 1 - log r], never negative.
        kl = (r - 1 - r.log()) * mask
        return Terms(
            loss=loss,
            clipped=float((outside * mask).sum()),
            truncated=float(((r > clip.truncation) * mask).sum()),
            kl=float(kl.sum()),
            tokens=float(mask.sum()),
        )
