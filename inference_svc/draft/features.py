"""The target's hidden states over its own answers, cached on disk.

Invariant: a shard holds the sequences of the same place in the responses file, is complete or absent, and is made once;
what the head trains on is what vLLM will hand it (layer L's entry is the hidden state that goes into layer L).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference_svc.draft.responses import Response

SHARD = 128
# Sequences of one forward pass.
BATCH = 8


@dataclass(frozen=True)
class TargetSequence:
    """One prompt and its answer, T tokens."""

    # int64 [T].
    tokens: Tensor
    prompt_length: int
    # bf16 [T, 3H]: the three layers' states; [T, H]: the last one, normed: what the target's own lm_head reads.
    features: Tensor
    last: Tensor


def auxiliary_layers(layers: int) -> tuple[int, int, int]:
    """An early, a middle and a late layer: vLLM's default and the paper's."""
    return 2, layers // 2, layers - 3


def cache_features(
    responses: Sequence[Response], target: Any, folder: Path, report: Callable[[int, int], None]
) -> list[Path]:
    """Makes the shards that are missing. `report` gets (sequences done, all)."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = auxiliary_layers(target.config.num_hidden_layers)
    shards = []
    for start in range(0, len(responses), SHARD):
        part = responses[start : start + SHARD]
        shard = folder / f"{start:06d}-{len(part)}.safetensors"
        if not shard.is_file():
            tensors = {}
            for place, tensor in _states(part, target, layers):
                tensors[f"{place}"] = tensor
            partial = shard.with_suffix(".partial")
            save_file(tensors, partial)
            os.replace(partial, shard)
        shards.append(shard)
        report(start + len(part), len(responses))
    return shards


def load_sequences(responses: Sequence[Response], shards: Sequence[Path]) -> list[TargetSequence]:
    remaining = iter(responses)
    sequences = []
    for shard in shards:
        tensors = load_file(shard)
        for place, response in enumerate(islice(remaining, len(tensors))):
            states = tensors[f"{place}"]
            hidden = states.shape[1] // 4
            tokens = torch.tensor(response.prompt_ids + response.token_ids)
            sequences.append(
                TargetSequence(tokens, len(response.prompt_ids), states[:, : 3 * hidden], states[:, 3 * hidden :])
            )
    return sequences


@torch.inference_mode()
def _states(part: Sequence[Response], target: Any, layers: tuple[int, ...]) -> Iterator[tuple[int, Tensor]]:
    order = sorted(range(len(part)), key=lambda place: len(part[place].prompt_ids) + len(part[place].token_ids))
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        rows = [torch.tensor(part[place].prompt_ids + part[place].token_ids) for place in places]
        # Padding stands on the right, and attention is causal: it changes nothing before it.
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        states = target.model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
        wanted = torch.cat([states[layer] for layer in layers] + [states[-1]], dim=-1).to(torch.bfloat16)
        for row, place in enumerate(places):
            yield place, wanted[row, : len(rows[row])].clone()
