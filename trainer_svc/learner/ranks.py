"""The processes of one run: rank 0 talks to the world and tells the others what to train on.

Every rank does the same sequence of collective calls; what rank 0 hands over is JSON and safetensors, never a pickle.
With one process nothing here speaks to anybody.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load, save

from trainer_svc.learner.batches import Group, Sample


class Ranks:
    """Of the process group that accelerate has made, if it has made one."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.count = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share_groups(self, groups: Sequence[Group] | None) -> list[Group] | None:
        """Rank 0's groups on every rank; None says that there will be none any more."""
        said = self._broadcast(json.dumps(None if groups is None else [asdict(group) for group in groups]).encode())
        told = json.loads(said)
        return None if told is None else [Group([Sample(**sample) for sample in g["samples"]]) for g in told]

    def share_state(
        self, tensors: Mapping[str, torch.Tensor], scalars: Mapping[str, Any]
    ) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Rank 0's tensors and scalars on every rank."""
        whole = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        return load(self._broadcast(save(whole))), json.loads(self._broadcast(json.dumps(dict(scalars)).encode()))

    def share_word(self, word: str) -> str:
        return self._broadcast(word.encode()).decode()

    def sums(self, values: Sequence[float]) -> list[float]:
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self._device)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def _broadcast(self, data: bytes) -> bytes:
        if self.count == 1:
            return data
        size = torch.tensor([len(data)], device=self._device)
        dist.broadcast(size, src=0)
        content = torch.empty(int(size), dtype=torch.uint8, device=self._device)
        if self.leads:
            content.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(content, src=0)
        return content.cpu().numpy().tobytes()
