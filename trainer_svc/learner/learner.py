"""What is trained, whatever the loss: its weights, its optimizer and its generators, to be kept, restored and served.

Invariant: a state that was restored goes on exactly as the one that was kept, bit for bit on one thread. Of a model
that is sharded every rank puts the whole together after each step, so that rank 0 can keep and serve it at any time.
"""

import random
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch.distributed.tensor import DTensor, distribute_tensor


@dataclass(frozen=True)
class EngineState:
    """All that a resumed engine needs: adapter weights, optimizer moments, counts and generators."""

    tensors: dict[str, torch.Tensor]
    scalars: dict[str, Any]


class Learner:
    """A transformers Trainer (`trainer`) and what a checkpoint keeps of it."""

    trainer: Any

    def __init__(self) -> None:
        self._pending: EngineState | None = None
        self._gathered: tuple[EngineState, dict[str, torch.Tensor]] | None = None

    def gather(self) -> None:
        """To be called on every rank after each step."""
        if any(isinstance(parameter, DTensor) for parameter in self.trainer.model.parameters()):
            self._gathered = self._state(), self._merged_weights()

    def adapter(self) -> dict[str, torch.Tensor]:
        """The trained weights: the adapter's, or all of them."""
        return {name: p.detach() for name, p in self.trainer.model.named_parameters() if p.requires_grad}

    def state(self) -> EngineState:
        return self._gathered[0] if self._gathered else self._state()

    def _state(self) -> EngineState:
        tensors = {f"adapter/{name}": _whole(tensor).clone() for name, tensor in self.adapter().items()}
        steps: dict[str, float] = {}
        optimizer = self.trainer.optimizer
        if optimizer is not None:
            names = {id(p): name for name, p in self.trainer.model.named_parameters()}
            for parameter, moments in _plain(optimizer).state.items():
                name = names[id(parameter)]
                steps[name] = float(moments["step"])
                tensors[f"optimizer/exp_avg/{name}"] = _whole(moments["exp_avg"]).clone()
                tensors[f"optimizer/exp_avg_sq/{name}"] = _whole(moments["exp_avg_sq"]).clone()
        tensors["rng/torch"] = torch.get_rng_state()
        version, internal, gauss = random.getstate()
        kind, keys, position, has_gauss, cached = numpy.random.get_state(legacy=True)
        assert not isinstance(keys, str)
        scalars = {
            "optimizer_steps": steps,
            "python_rng": [version, list(internal), gauss],
            "numpy_rng": [kind, keys.tolist(), position, has_gauss, cached],
        }
        return EngineState(tensors, scalars)

    def restore(self, state: EngineState) -> None:
        """Weights at once; optimizer and generators when training begins, since TRL creates and seeds them then.

        A state from before the first step has no optimizer yet, and TRL seeds the generators of a first step itself.
        """
        with torch.no_grad():
            for name, parameter in self.adapter().items():
                parameter.copy_(state.tensors[f"adapter/{name}"])
        self._pending = state if state.scalars["optimizer_steps"] else None

    def restore_pending(self) -> None:
        state, self._pending = self._pending, None
        if state is None:
            return
        steps: dict[str, float] = state.scalars["optimizer_steps"]
        parameters = dict(self.trainer.model.named_parameters())
        optimizer = _plain(self.trainer.optimizer)
        for name, step in steps.items():
            optimizer.state[parameters[name]] = {
                "step": torch.tensor(step),
                "exp_avg": _laid_out_like(parameters[name], state.tensors[f"optimizer/exp_avg/{name}"]),
                "exp_avg_sq": _laid_out_like(parameters[name], state.tensors[f"optimizer/exp_avg_sq/{name}"]),
            }
        torch.set_rng_state(state.tensors["rng/torch"])
        version, internal, gauss = state.scalars["python_rng"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, position, has_gauss, cached = state.scalars["numpy_rng"]
        numpy.random.set_state((kind, numpy.array(keys, dtype=numpy.uint32), position, has_gauss, cached))

    def merged_weights(self, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
        """Base plus adapter, under the base model's own names; bfloat16 is what is served."""
        return self._gathered[1] if self._gathered else self._merged_weights(dtype)

    def _merged_weights(self, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
        merged: dict[str, torch.Tensor] = {}
        model = self.trainer.model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        with torch.no_grad():
            adapted = {name: module for name, module in base.named_modules() if hasattr(module, "lora_A")}
            for name, parameter in base.named_parameters():
                if ".lora_" in name:
                    continue
                owner = name.removesuffix(".base_layer.weight")
                if owner in adapted and owner != name:
                    parameter = parameter + adapted[owner].get_delta_weight("default")
                merged[name.replace(".base_layer.", ".")] = _whole(parameter).to(dtype).contiguous()
        return merged


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor put together from all ranks, which must all ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _laid_out_like(parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    if isinstance(parameter, DTensor):
        return distribute_tensor(tensor.to(parameter.device), parameter.device_mesh, parameter.placements)
    return tensor.to(parameter.device, copy=True)


def _plain(optimizer: Any) -> torch.optim.Optimizer:
    """Without accelerate's wrapping."""
    return getattr(optimizer, "optimizer", optimizer)  # type: ignore[no-any-return]
