"""LoRA adapters, as PEFT writes them, merged into the base model's weights.

W' = W + s * B @ A with s = alpha / r, or alpha / sqrt(r) where the adapter is rank-stabilized (Hu et al., 2021;
Kalajdzievski, 2023). A merged model runs as fast as any other and keeps a compiled engine; adapters beside the base
would run at half the speed on a CPU, and without compilation.

Invariant: an adapter is merged only if it was made for this base, every pair of its matrices fits one of the base's,
and it asks for nothing that a merge would drop. It is known before a weight is read.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service_kit.errors import FailedPrecondition, ServiceError

ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
# Parts of an adapter that a merge into linear weights would leave out, and what they are without effect.
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "trainable_token_indices": (None, []),
    "lora_bias": (False, None),
}


@dataclass(frozen=True)
class Adapter:
    rank: int
    scale: float
    # The base's tensors that it changes.
    changed: tuple[str, ...]


def checked_adapter(
    directory: Path, shapes: Mapping[str, tuple[int, ...]], base: Mapping[str, tuple[int, ...]], base_names: set[str]
) -> Adapter:
    """`shapes` are those of the adapter's file, `base` those of the model's, `base_names` what the base is called.

    Raises FailedPrecondition ADAPTER_DOES_NOT_FIT.
    """
    config = _config(directory)
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise unfit(f"{ADAPTER_CONFIG} has no r and lora_alpha") from error
    if config.get("peft_type") != "LORA" or rank < 1:
        raise unfit(f"{ADAPTER_CONFIG} is of type {config.get('peft_type')} and rank {rank}, not of a LoRA adapter")
    made_for = Path(str(config.get("base_model_name_or_path") or "")).name
    if made_for not in base_names:
        raise unfit(f"it was made for {made_for or 'no base that it names'}, the base here is {min(base_names)}")
    for name, harmless in UNSUPPORTED.items():
        if config.get(name) not in harmless:
            raise unfit(f"{ADAPTER_CONFIG} sets {name}, which cannot be merged")
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return Adapter(rank, scale, _changed(shapes, base, rank))


def _changed(shapes: Mapping[str, tuple[int, ...]], base: Mapping[str, tuple[int, ...]], rank: int) -> tuple[str, ...]:
    changed = []
    modules = {name.rpartition(".lora_")[0] for name in shapes}
    for module in sorted(modules):
        target = f"{module.removeprefix(PREFIX)}.weight"
        names = _pair(module)
        if not module.startswith(PREFIX) or target not in base or not all(name in shapes for name in names):
            raise unfit(f"{module or min(shapes)} is no pair of matrices for a linear layer of the base")
        outputs, inputs = base[target] if len(base[target]) == 2 else (0, 0)
        wanted = ((rank, inputs), (outputs, rank))
        for name, shape in zip(names, wanted, strict=True):
            if shapes[name] != shape:
                raise unfit(f"{name} is {list(shapes[name])}, rank {rank} and the base want {list(shape)}")
        changed.append(target)
    if not changed or len(shapes) != 2 * len(changed):
        raise unfit(f"{len(shapes)} tensors make {len(changed)} pairs")
    return tuple(changed)


def merge(base: Path, directory: Path, adapter: Adapter, target: Path) -> None:
    """Write the merged weights as `target`/model.safetensors, whole or not at all. Takes memory for the whole model."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    merged: dict[str, torch.Tensor] = load_file(base)
    with safe_open(str(directory / ADAPTER), framework="pt") as file:
        for name in adapter.changed:
            a, b = (file.get_tensor(part).float() for part in _pair(f"{PREFIX}{name.removesuffix('.weight')}"))
            merged[name] = (merged[name].float() + adapter.scale * (b @ a)).to(merged[name].dtype).contiguous()
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file(merged, unfinished / "model.safetensors", metadata={"format": "pt"})
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)


def _pair(module: str) -> tuple[str, str]:
    """A: [rank, inputs], B: [outputs, rank]."""
    return f"{module}.lora_A.weight", f"{module}.lora_B.weight"


def _config(directory: Path) -> dict[str, Any]:
    try:
        fields = json.loads((directory / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unfit(f"{ADAPTER_CONFIG} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise unfit(f"{ADAPTER_CONFIG} is not an object")
    return fields


def unfit(message: str) -> ServiceError:
    return FailedPrecondition("ADAPTER_DOES_NOT_FIT", message)
