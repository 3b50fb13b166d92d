"""The same model under Hugging Face in float32: what the engine's log-probs are held against."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

# bfloat16 engines round; float32 ones differ in the order of their sums alone.
TOLERANCE = {"float32": 2e-3, "bfloat16": 0.25, "float16": 0.05}


class ReferenceModel:
    def __init__(self, directory: Path) -> None:
        self._network = AutoModelForCausalLM.from_pretrained(str(directory), dtype=torch.float32, local_files_only=True)
        self._network.eval()

    def load(self, weights: dict[str, torch.Tensor]) -> None:
        self._network.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)

    def logprobs(
        self, prompt: Sequence[int], sampled: Sequence[int], temperature: float = 1.0, top_k: int = 0
    ) -> list[float]:
        """Of each sampled token under the distribution it was drawn from."""
        with torch.inference_mode():
            logits = self._network(torch.tensor([[*prompt, *sampled]])).logits[0, len(prompt) - 1 : -1] / temperature
        if top_k:
            smallest = logits.topk(top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < smallest, -math.inf)
        wanted = torch.tensor(list(sampled)).unsqueeze(1)
        values: list[float] = logits.log_softmax(dim=-1).gather(1, wanted).squeeze(1).tolist()
        return values

    def text_logprob(self, prompt: Sequence[int], text: Sequence[int]) -> float:
        return math.fsum(self.logprobs(prompt, text))


def shifted(weights: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Weights that speak differently: some noise on every matrix of the later layers."""
    draw = torch.Generator().manual_seed(seed)
    changed = {}
    for name, value in weights.items():
        noisy = "layers.2" in name and value.dim() == 2
        noise = torch.randn(value.shape, generator=draw) * value.float().std() * 0.2 if noisy else 0.0
        changed[name] = (value.float() + noise).to(value.dtype).contiguous()
    return changed


def base_weights(directory: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_file(directory / "model.safetensors")
    return weights


def publish(store: Path, path: str, weights: dict[str, torch.Tensor]) -> str:
    """Into the weight store; returns the digest."""
    (store / path).mkdir(parents=True, exist_ok=True)
    file = store / path / "model.safetensors"
    save_file(weights, file, metadata={"format": "pt"})
    return hashlib.sha256(file.read_bytes()).hexdigest()
