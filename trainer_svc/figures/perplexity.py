"""Perplexity of texts under the model that is trained: e to the mean negative log-likelihood a token."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

# Rows of one forward pass.
BATCH = 4


def perplexities(model: Any, texts: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, float]:
    """By name. Each text is rows of token ids, at least two a row; a row's first token is given, not predicted."""
    was_training = model.training
    model.eval()
    try:
        return {name: perplexity(model, rows) for name, rows in texts.items() if rows}
    finally:
        model.train(was_training)


def perplexity(model: Any, rows: Sequence[Sequence[int]]) -> float:
    total, tokens = 0.0, 0
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        longest = max(len(row) for row in batch)
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in batch])
        real = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch])
        with torch.inference_mode():
            logits = model(input_ids=ids.to(model.device), attention_mask=real.to(model.device)).logits
        targets = ids[:, 1:].masked_fill(real[:, 1:] == 0, -100).to(logits.device)
        loss = torch.nn.functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
        )
        total += float(loss)
        tokens += int(real[:, 1:].sum())
    return math.exp(total / tokens)
