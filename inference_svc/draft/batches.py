"""Batches of the target's answers, and the losses' places in them.

Invariant: the order depends on seed and epoch alone, so a resumed run sees what an uninterrupted one would have seen.
Sequences whose prompts are of like length come together, because a batch drafts from its shortest prompt on.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from inference_svc.draft.features import TargetSequence


@dataclass(frozen=True)
class Batch:
    # int64 [B, T]; bf16 [B, T, 3H] and [B, T, H]. Padding on the right.
    tokens: Tensor
    features: Tensor
    last: Tensor
    # bool [B, T]: tokens of an answer.
    answered: Tensor

    @property
    def start(self) -> int:
        """The first slot a chain can start at: the last token of the shortest prompt."""
        return max(0, int(self.answered.any(0).int().argmax()) - 1)


def collate(sequences: Sequence[TargetSequence]) -> Batch:
    tokens = pad_sequence([one.tokens for one in sequences], batch_first=True)
    lengths = torch.tensor([len(one.tokens) for one in sequences])
    prompts = torch.tensor([one.prompt_length for one in sequences])
    places = torch.arange(tokens.shape[1])
    return Batch(
        tokens,
        pad_sequence([one.features for one in sequences], batch_first=True),
        pad_sequence([one.last for one in sequences], batch_first=True),
        (places >= prompts[:, None]) & (places < lengths[:, None]),
    )


def order(prompt_lengths: Sequence[int], batch: int, seed: int, epoch: int) -> list[list[int]]:
    """The epoch's batches, as places in the data."""
    chance = random.Random(f"{seed}/{epoch}")
    places = list(range(len(prompt_lengths)))
    chance.shuffle(places)
    # sort() is stable: equals stay shuffled, so each epoch has other neighbours.
    places.sort(key=lambda place: prompt_lengths[place] // 4)
    batches = [places[start : start + batch] for start in range(0, len(places), batch)]
    chance.shuffle(batches)
    return batches
