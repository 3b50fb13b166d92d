"""Perplexity of texts under the model that is trained: e to the mean negative log-likelihood a token."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

# Rows of one forward pass.
BATCH = 4
_IGNORED = -100


@dataclass(frozen=True)
class Probe:
    """A row of token ids, the first `given` of which (at least one) are given, not predicted."""

    token_ids: Sequence[int]
    given: int = 1


def perplexities(model: Any, texts: Mapping[str, Sequence[Probe]]) -> dict[str, float]:
    """By name. Every row has a token to predict."""
    was_training = model.training
    model.eval()
    try:
        return {name: perplexity(model, rows) for name, rows in texts.items() if rows}
    finally:
        model.train(was_training)


def perplexity(model: Any, rows: Sequence[Probe]) -> float:
    total, tokens = 0.0, 0
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        longest = max(len(row.token_ids) for row in batch)
        gaps = [longest - len(row.token_ids) for row in batch]
        ids = torch.tensor([[*row.token_ids, *[0] * gap] for row, gap in zip(batch, gaps, strict=True)])
        real = torch.tensor([[1] * (longest - gap) + [0] * gap for gap in gaps])
        asked = torch.tensor(
            [
                [0] * row.given + [1] * (longest - gap - row.given) + [0] * gap
                for row, gap in zip(batch, gaps, strict=True)
            ]
        )
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), attention_mask=real.to(model.device)).logits
        targets = ids[:, 1:].masked_fill(asked[:, 1:] == 0, _IGNORED).to(logits.device)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=_IGNORED, reduction="sum"
        )
        total += float(loss)
        tokens += int(asked[:, 1:].sum())
    return math.exp(total / tokens)
