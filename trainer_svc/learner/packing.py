"""Log-probs of a group whose rows begin alike, with the common prefix computed once.

The rows of a group share their prompt. They are laid out as one sequence [prefix, rest of row 1, rest of row 2, …] in
which each rest sees the prefix and itself: the numbers and the gradients of padded rows, without repeating the prompt
and without padding. Only trained positions reach the language-model head.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """One forward pass: input_ids and position_ids (1, S), visible (S, S), and for each row where its tokens stand."""

    input_ids: Tensor
    position_ids: Tensor
    visible: Tensor
    places: list[Tensor]


def shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    length = 0
    for column in zip(*rows, strict=False):  # up to the shortest row
        if any(token != column[0] for token in column):
            break
        length += 1
    return length


def pack(rows: Sequence[Sequence[int]]) -> Packed:
    prefix = shared_prefix(rows)
    ids, positions, owners = list(rows[0][:prefix]), list(range(prefix)), [-1] * prefix
    places = []
    for number, row in enumerate(rows):
        rest = len(row) - prefix
        places.append(torch.cat([torch.arange(prefix), torch.arange(len(ids), len(ids) + rest)]))
        ids += row[prefix:]
        positions += range(prefix, len(row))
        owners += [number] * rest
    owner = torch.tensor(owners)
    same = (owner.unsqueeze(1) == owner.unsqueeze(0)) | (owner.unsqueeze(0) == -1)
    return Packed(torch.tensor([ids]), torch.tensor([positions]), same.tril(), places)


def split_to_fit(rows: Sequence[Sequence[int]], most_tokens: int) -> list[range]:
    """Consecutive rows whose packed length fits; a row that is longer than the limit goes alone."""
    if not rows:
        return []
    prefix = shared_prefix(rows)
    parts, start, used = [], 0, prefix
    for number, row in enumerate(rows):
        if number > start and used + len(row) - prefix > most_tokens:
            parts.append(range(start, number))
            start, used = number, prefix
        used += len(row) - prefix
    return [*parts, range(start, len(rows))]


def packed_logprobs(
    model: Any, rows: Sequence[Sequence[int]], trained: Sequence[Sequence[int]], temperature: float
) -> tuple[list[Tensor], list[Tensor]]:
    """For each row the log-probs (with gradients) and entropies of its tokens at the indices in `trained` (all > 0)."""
    packed = pack(rows)
    before = [torch.tensor(at, dtype=torch.long) - 1 for at in trained]
    predictors = torch.cat([place[at] for place, at in zip(packed.places, before, strict=True)])
    targets = torch.tensor([row[index] for row, at in zip(rows, trained, strict=True) for index in at])
    device = next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    hidden = torch.zeros(packed.visible.shape, dtype=dtype).masked_fill(~packed.visible, torch.finfo(dtype).min)
    logits = model(
        input_ids=packed.input_ids.to(device),
        attention_mask=hidden[None, None].to(device),
        position_ids=packed.position_ids.to(device),
        logits_to_keep=predictors.to(device),
        use_cache=False,
    ).logits[0]
    logits = logits.float() / temperature
    normalizer = torch.logsumexp(logits, dim=-1)
    logp = logits.gather(1, targets.to(device).unsqueeze(1)).squeeze(1) - normalizer
    with torch.no_grad():  # H = log Z - E[logit]
        probabilities = torch.exp(logits - normalizer.unsqueeze(1))
        entropy = normalizer - (probabilities * logits).sum(-1)
    counts = [len(at) for at in trained]
    return list(logp.split(counts)), list(entropy.split(counts))
