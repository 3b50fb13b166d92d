"""Log-probs of the rows of several groups in one pass: no padding, no prompt twice, and nobody sees another group.

The rows of a group share their prompt. A group is laid out as one block [prefix, rest of row 1, rest of row 2, …] in
which each rest sees the prefix and itself, and a pass holds the blocks of several groups: the numbers and the
gradients of padded rows. Attention is computed block by block and rest by rest, so that it costs what is seen and not
the square of the pass; that is why a shared prefix never costs more than its repetition. Only trained positions reach
the language-model head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

ATTENTION = "sdpa_in_blocks"

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Block:
    """One group's place in a pass: `prefix` tokens from `start` on, then its rests, one after the other."""

    start: int
    prefix: int
    # (rest, prefix + rest) each, true where a rest's token may look.
    visible: list[Tensor]


@dataclass(frozen=True)
class Packed:
    """One forward pass: input_ids and position_ids (1, S), and for each row of each group where its tokens stand."""

    input_ids: Tensor
    position_ids: Tensor
    blocks: list[Block]
    places: list[Tensor]


def shared_prefix(rows: Rows) -> int:
    length = 0
    for column in zip(*rows, strict=False):  # up to the shortest row
        if any(token != column[0] for token in column):
            break
        length += 1
    return length


def pack(groups: Sequence[Rows]) -> Packed:
    ids: list[int] = []
    positions: list[int] = []
    blocks, places = [], []
    for rows in groups:
        prefix, start, visible = shared_prefix(rows), len(ids), []
        ids += rows[0][:prefix]
        positions += range(prefix)
        for row in rows:
            rest = len(row) - prefix
            places.append(torch.cat([torch.arange(start, start + prefix), torch.arange(len(ids), len(ids) + rest)]))
            visible.append(torch.ones(rest, len(row), dtype=torch.bool).tril(prefix))
            ids += row[prefix:]
            positions += range(prefix, len(row))
        blocks.append(Block(start, prefix, visible))
    return Packed(torch.tensor([ids]), torch.tensor([positions]), blocks, places)


def attend_in_blocks(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    blocks: Sequence[Block] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed pass, query (1, H, S, D), answered as (1, S, H, D); without blocks it is plain SDPA."""
    if blocks is None:
        answer, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return answer, None
    repeats = query.size(1) // key.size(1)
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    parts = []
    for block in blocks:
        at = block.start + block.prefix
        head = slice(block.start, at)
        before = key[:, :, head], value[:, :, head]
        if block.prefix:
            parts.append(scaled_dot_product_attention(query[:, :, head], *before, is_causal=True, scale=scaling))
        for visible in block.visible:
            if visible.size(0) == 0:
                continue
            rest = slice(at, at + visible.size(0))
            keys = torch.cat([before[0], key[:, :, rest]], dim=2)
            values = torch.cat([before[1], value[:, :, rest]], dim=2)
            parts.append(scaled_dot_product_attention(query[:, :, rest], keys, values, visible, scale=scaling))
            at = rest.stop
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attend_in_blocks)
ALL_MASK_ATTENTION_FUNCTIONS.register(ATTENTION, sdpa_mask)


def take_packed_passes(model: PreTrainedModel) -> None:
    """From now on the model answers packed passes; all else it does as with SDPA."""
    model.config._attn_implementation = ATTENTION


def packed_logprobs(
    model: Any, groups: Sequence[Rows], trained: Sequence[Sequence[int]], temperature: float
) -> tuple[list[Tensor], list[Tensor]]:
    """For each row of each group the log-probs (with gradients) and entropies at its indices in `trained` (all > 0).

    `trained` goes through the rows of the first group, then of the second, as the answer does. The model must take
    packed passes.
    """
    packed = pack(groups)
    rows = [row for group in groups for row in group]
    before = [torch.tensor(at, dtype=torch.long) - 1 for at in trained]
    predictors = torch.cat([place[at] for place, at in zip(packed.places, before, strict=True)])
    targets = torch.tensor([row[index] for row, at in zip(rows, trained, strict=True) for index in at])
    device = next(model.parameters()).device
    blocks = [Block(b.start, b.prefix, [visible.to(device) for visible in b.visible]) for b in packed.blocks]
    logits = model(
        input_ids=packed.input_ids.to(device),
        # Four dimensions are taken as they are: no (S, S) mask is made, and this one is not read.
        attention_mask=torch.zeros(1, 1, 1, 1, device=device),
        position_ids=packed.position_ids.to(device),
        logits_to_keep=predictors.to(device),
        use_cache=False,
        blocks=blocks,
    ).logits[0]
    logits = logits.float() / temperature
    normalizer = torch.logsumexp(logits, dim=-1)
    logp = logits.gather(1, targets.to(device).unsqueeze(1)).squeeze(1) - normalizer
    counts = [len(at) for at in trained]
    with torch.no_grad():  # H = log Z - E[logit], a few hundred positions at a time: each is a whole vocabulary
        parts = zip(torch.split(logits, 256), torch.split(normalizer, 256), strict=True)
        entropy = torch.cat([z - ((x - z.unsqueeze(1)).exp_() * x).sum(-1) for x, z in parts])
    return list(torch.split(logp, counts)), list(torch.split(entropy, counts))
