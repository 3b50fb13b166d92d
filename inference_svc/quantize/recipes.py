"""The recipes of `anamnesis quantize`, and which of them a machine can serve.

Invariant: a recipe that vLLM has no kernel for here is refused by its name, with the reason, before any work begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Recipe(StrEnum):
    # INT8 weights per channel, INT8 activations per token (llm-compressor: SmoothQuant, then rounding).
    W8A8 = "w8a8"
    # INT4 weights in groups, 16-bit activations (AutoRound; GPTQ format).
    W4A16 = "w4a16"
    # INT4 weights in groups after a random Hadamard rotation, INT8 activations per token (llm-compressor, rounding).
    W4A8 = "w4a8"


class Refused(Exception):
    """This machine, or this model, cannot serve the recipe."""


@dataclass(frozen=True)
class Machine:
    cuda: bool
    # platform.machine(): x86_64, aarch64, ...
    architecture: str
    # CUDA compute capability, (0, 0) without a GPU.
    capability: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class ModelShape:
    hidden: int
    intermediate: int


# Weights of one scale, along the input.
GROUP = 32
# vLLM's CPU kernel for 4-bit weights takes sizes in multiples of this.
WNA16_MULTIPLE = 32


def refuse_unserved(recipe: Recipe, machine: Machine, shape: ModelShape) -> None:
    """Of vLLM 0.32 (model_executor/kernels/linear). Raises Refused."""
    for name, size in (("hidden size", shape.hidden), ("intermediate size", shape.intermediate)):
        if recipe is not Recipe.W8A8 and size % max(GROUP, WNA16_MULTIPLE):
            raise Refused(f"{recipe}: the model's {name} {size} is no multiple of {max(GROUP, WNA16_MULTIPLE)}")
    if machine.cuda:
        if recipe is Recipe.W8A8 and machine.capability < (7, 5):
            raise Refused(
                f"{recipe}: INT8 tensor cores begin with compute capability 7.5; this GPU has {_dotted(machine)}"
            )
        if recipe is Recipe.W4A8:
            raise Refused(
                f"{recipe}: vLLM has no CUDA kernel for 4-bit integer weights with INT8 activations; use w4a16"
            )
        return
    if recipe is Recipe.W4A8 and machine.architecture not in ("aarch64", "arm64"):
        raise Refused(
            f"{recipe}: vLLM's CPU engine multiplies 4-bit weights with INT8 activations on Arm only; "
            f"on {machine.architecture} PyTorch has but a reference loop for it. Use w8a8, "
            f"or --elsewhere to make it for another machine"
        )


def this_machine() -> Machine:
    import platform

    import torch

    cuda = torch.cuda.is_available()
    return Machine(cuda, platform.machine(), torch.cuda.get_device_capability() if cuda else (0, 0))


def _dotted(machine: Machine) -> str:
    return ".".join(map(str, machine.capability))
