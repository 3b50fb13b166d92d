"""A model as a Hugging Face directory: the files of the model that it was trained from, and its own weights.

Invariant: the directory is there whole or not at all.
"""

import os
import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

WEIGHTS = "model.safetensors"


def write_model(target: Path, base: Path, weights: dict[str, torch.Tensor]) -> None:
    """Replaces what is there. Tied tensors are in memory twice and in the base's file once; its names decide."""
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(base, temporary, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf"))
    with safe_open(base / WEIGHTS, framework="pt") as file:
        names = list(file.keys())
    save_file({name: weights[name].contiguous() for name in names}, temporary / WEIGHTS, metadata={"format": "pt"})
    with (temporary / WEIGHTS).open("rb") as file:
        os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
