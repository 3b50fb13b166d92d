"""What the pinned vLLM gets wrong on a CPU, put right in each of its processes (entry point vllm.general_plugins).

vLLM 0.32 hands a request's temperature to its drafted tokens through a kernel that, on a CPU, writes into a copy: the
drafted tokens' logits are then divided by whatever stood in memory, and sampling with speculation follows another
distribution. Invariant: nothing but a CPU's engine is touched.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def repair() -> None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.v1.sample import rejection_sampler

        rejection_sampler.expand_batch_to_tokens = of_each_token


def of_each_token(
    values: "torch.Tensor", ends: "torch.Tensor", tokens: int, replace_from: float = 0, replace_to: float = 0
) -> "torch.Tensor":
    """[requests] -> [tokens], where request i has the tokens before ends[i]; replace_from becomes replace_to."""
    import torch

    counts = torch.diff(ends, prepend=ends.new_zeros(1))
    spread = torch.repeat_interleave(values, counts, output_size=tokens)
    return spread if replace_from == replace_to else spread.masked_fill(spread == replace_from, replace_to)
