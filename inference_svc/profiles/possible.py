"""Whether this machine can serve this model with these settings.

Invariant: it is known before the engine is touched, and each refusal names the combination and the setting to change.
What the settings alone contradict, InferenceSettings refuses by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inference_svc.profiles.directory import ModelDirectory, NoModel
from inference_svc.settings import Deployment, InferenceSettings, Speculation


@dataclass(frozen=True)
class Machine:
    """`gpus` is 0 where vLLM computes on the processor; `fp8_cache`: whether that has kernels for an FP8 KV cache."""

    gpus: int
    fp8_cache: bool

    @classmethod
    def found(cls) -> Machine:
        """Imports torch and vLLM: after configure_environment."""
        import torch
        from vllm.platforms import current_platform

        if current_platform.is_cpu():
            # vLLM's CPU attention has them for AMX and AVX-512 alone.
            return cls(0, bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_supported()))
        return cls(torch.cuda.device_count(), bool(current_platform.supports_fp8()))


def impossible(settings: InferenceSettings, machine: Machine) -> list[str]:
    """One line for each combination that cannot be."""
    return [*_on_machine(settings, machine), *_with_model(settings)]


def _on_machine(settings: InferenceSettings, machine: Machine) -> Iterator[str]:
    where = f"{machine.gpus} GPUs" if machine.gpus else "a CPU"
    if settings.device == "gpu" and not machine.gpus:
        yield "device=gpu is impossible: the installed vLLM computes on a CPU (install the extra inference-gpu)"
    if settings.device == "cpu" and machine.gpus:
        yield "device=cpu is impossible: the installed vLLM computes on GPUs (install the extra inference-cpu)"
    if settings.tensor_parallel > max(1, machine.gpus):
        yield f"tensor_parallel={settings.tensor_parallel} is impossible on {where}: lower tensor_parallel"
    if settings.kv_cache_dtype == "fp8" and not machine.fp8_cache:
        yield f"kv_cache_dtype=fp8 is impossible on {where} without kernels for it: set kv_cache_dtype=auto"
    if not machine.gpus and settings.block_size % 32:
        yield f"block_size={settings.block_size} is impossible on a CPU: its kernels want multiples of 32"


def _with_model(settings: InferenceSettings) -> Iterator[str]:
    try:
        model = ModelDirectory.read(settings.model_directory())
    except NoModel as none:
        yield f"model_path is impossible: {none}"
        return
    held = f"model_path={settings.model_path} holds {model.weights} weights"
    if settings.weights not in ("auto", model.weights):
        yield f"weights={settings.weights} is impossible: {held}"
    if settings.deployment is Deployment.POLICY and model.weights != "plain":
        yield f"deployment=policy is impossible: {held}, and updates bring plain ones; set deployment=frozen"
    if settings.max_model_len > model.max_positions:
        yield (
            f"max_model_len={settings.max_model_len} is impossible with model_path={settings.model_path}, which has "
            f"{model.max_positions} positions: lower max_model_len"
        )
    if model.attention_heads % settings.tensor_parallel:
        yield (
            f"tensor_parallel={settings.tensor_parallel} is impossible with {model.attention_heads} attention heads: "
            "set tensor_parallel to a divisor"
        )
    draft = settings.draft_directory()
    if settings.speculation is Speculation.EAGLE3 and draft is not None:
        yield from _with_draft(draft, model)


def _with_draft(directory: Path, model: ModelDirectory) -> Iterator[str]:
    try:
        head = ModelDirectory.read(directory)
    except NoModel as none:
        yield f"draft_path is impossible: {none}"
        return
    pair = f"draft_path={directory} is impossible with this model_path"
    if not head.aux_layers:
        yield f"draft_path={directory} is no EAGLE-3 head: its config.json names no eagle_aux_hidden_state_layer_ids"
    if head.hidden_size != model.hidden_size:
        yield f"{pair}: its hidden size is {head.hidden_size}, the model's {model.hidden_size}"
    if head.vocabulary != model.vocabulary:
        yield f"{pair}: its vocabulary has {head.vocabulary} tokens, the model's {model.vocabulary}"
    if head.draft_vocabulary > model.vocabulary:
        yield f"{pair}: its draft vocabulary of {head.draft_vocabulary} is larger than the model's {model.vocabulary}"
    if head.aux_layers and max(head.aux_layers) > model.layers:
        yield f"{pair}: it reads layer {max(head.aux_layers)}, the model has {model.layers}"
