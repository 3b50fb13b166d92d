"""Sentence embeddings in the run's own process: mean of the last layer over the real tokens, at unit length."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

BATCH = 32
# all-MiniLM-L6-v2 was trained on sequences of this length; what is longer is cut.
MAX_TOKENS = 256


class EmbedderMissing(Exception):
    """There is no embedding model where the settings say."""


class Embedder:
    """Loaded at the first call."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: tuple[Any, Any] | None = None

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """(len(texts), D). Raises EmbedderMissing."""
        tokenizer, network = self._load()
        # Of like length together: padding is computed too.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: list[torch.Tensor] = [torch.empty(0)] * len(texts)
        for start in range(0, len(order), BATCH):
            indices = order[start : start + BATCH]
            tokens = tokenizer(
                [texts[i] for i in indices], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
            )
            with torch.inference_mode():
                hidden = network(**tokens).last_hidden_state
            mask = tokens["attention_mask"].unsqueeze(-1)
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
            for index, vector in zip(indices, torch.nn.functional.normalize(mean, dim=1), strict=True):
                vectors[index] = vector
        return torch.stack(vectors)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModel, AutoTokenizer

            if not (self._directory / "config.json").is_file():
                raise EmbedderMissing(f"no embedding model in {self._directory}")
            tokenizer = AutoTokenizer.from_pretrained(self._directory, local_files_only=True)
            network = AutoModel.from_pretrained(self._directory, local_files_only=True, dtype=torch.float32).eval()
            self._loaded = tokenizer, network
        return self._loaded
