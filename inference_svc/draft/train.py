"""Trains the head: Muon for its matrices, AdamW for the rest, cosine to zero, a checkpoint every few minutes.

Invariant: a checkpoint (safetensors and a JSON beside it, replaced at once) has all that the next step depends on, so a
stopped run goes on as if it had not stopped.
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference_svc.draft.batches import collate, order
from inference_svc.draft.features import TargetSequence
from inference_svc.draft.head import Eagle3Head
from inference_svc.draft.objective import TargetEnds, objective


@dataclass(frozen=True)
class Plan:
    epochs: int = 6
    batch: int = 12
    # Steps of the training-time test.
    steps: int = 3
    matrix_rate: float = 0.02
    other_rate: float = 1e-3
    warm_up: int = 30
    seed: int = 0
    checkpoint_seconds: float = 60.0


@dataclass(frozen=True)
class Progress:
    step: int
    steps: int
    loss: float
    agreement: list[float]


class Trainer:
    def __init__(
        self, head: Eagle3Head, sequences: Sequence[TargetSequence], ends: TargetEnds, plan: Plan, folder: Path
    ) -> None:
        # The weights move in float32; passes run on a bfloat16 copy, twice as fast where the processor computes it.
        self.head = head
        self._working = copy.deepcopy(head).to(torch.bfloat16)
        self._sequences = sequences
        self._ends = ends
        self._plan = plan
        self._folder = folder
        self._prompt_lengths = [one.prompt_length for one in sequences]
        self._per_epoch = math.ceil(len(sequences) / plan.batch)
        self.steps = plan.epochs * self._per_epoch
        self.step = 0
        # Of all starts together.
        self.seconds = 0.0
        named = dict(head.named_parameters())
        matrices = [tensor for name, tensor in named.items() if tensor.ndim == 2 and name != "lm_head.weight"]
        others = [tensor for name, tensor in named.items() if tensor.ndim != 2 or name == "lm_head.weight"]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=plan.matrix_rate, weight_decay=0.0, momentum=0.95),
            torch.optim.AdamW(others, lr=plan.other_rate, betas=(0.9, 0.95), weight_decay=0.0),
        ]
        self._rates = [plan.matrix_rate, plan.other_rate]

    def run(self, report: Callable[[Progress], None], clock: Callable[[], float] = time.monotonic) -> None:
        """To the plan's end, from the checkpoint if there is one."""
        self.resume()
        saved = began = clock()
        before = self.seconds
        while self.step < self.steps:
            report(self._advance())
            self.seconds = before + clock() - began
            if clock() - saved >= self._plan.checkpoint_seconds:
                self.save()
                saved = clock()
        self.save()

    def _advance(self) -> Progress:
        epoch, place = divmod(self.step, self._per_epoch)
        chosen = order(self._prompt_lengths, self._plan.batch, self._plan.seed, epoch)[place]
        for optimizer, rate in zip(self._optimizers, self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * rate_factor(self.step, self.steps, self._plan.warm_up)
        batch = collate([self._sequences[one] for one in chosen])
        pairs = list(zip(self.head.parameters(), self._working.parameters(), strict=True))
        with torch.no_grad():
            for weight, copied in pairs:
                copied.copy_(weight)
                copied.grad = None
        outcome = objective(self._working, batch, self._ends, self._plan.steps)
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        for weight, copied in pairs:
            weight.grad = None if copied.grad is None else copied.grad.float()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
        self.step += 1
        return Progress(self.step, self.steps, outcome.loss.item(), outcome.agreement)

    def save(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"head.{name}": tensor.detach().contiguous() for name, tensor in self.head.state_dict().items()}
        for number, optimizer in enumerate(self._optimizers):
            for place, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    tensors[f"optimizer.{number}.{place}.{key}"] = torch.as_tensor(value).clone()
        partial = self._folder / ".checkpoint.partial"
        # One file, so weights and step are never of different moments.
        save_file(
            tensors, partial, metadata={"step": str(self.step), "seconds": str(self.seconds), "plan": self._identity()}
        )
        os.replace(partial, self._folder / "checkpoint.safetensors")

    def resume(self) -> bool:
        """Goes on from the checkpoint. One of another plan or data is refused: delete it or choose another folder."""
        file = self._folder / "checkpoint.safetensors"
        if not file.is_file():
            return False
        from safetensors import safe_open

        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata()
        if metadata["plan"] != self._identity():
            raise OtherPlan(f"{file} is of another plan or of other data; remove it or name another folder")
        tensors = load_file(file)
        self.head.load_state_dict(
            {name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")}
        )
        for number, optimizer in enumerate(self._optimizers):
            prefix = f"optimizer.{number}."
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                if name.startswith(prefix):
                    place, key = name.removeprefix(prefix).split(".", 1)
                    states.setdefault(int(place), {})[key] = tensor
            whole: dict[str, Any] = optimizer.state_dict()
            optimizer.load_state_dict(whole | {"state": states})
        self.step = int(metadata["step"])
        self.seconds = float(metadata["seconds"])
        return True

    def _identity(self) -> str:
        return json.dumps(
            asdict(self._plan) | {"sequences": len(self._sequences), "shape": asdict(self.head.shape)}, sort_keys=True
        )


class OtherPlan(Exception):
    """A checkpoint that does not belong to this run."""


def rate_factor(step: int, steps: int, warm_up: int) -> float:
    """Linear to 1 over the warm-up, then half a cosine to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
