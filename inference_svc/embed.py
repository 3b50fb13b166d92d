"""Sentence embeddings: mean of the last layer over the real tokens, at unit length.

Invariant: the model is loaded at the first request and then stays; one batch is computed at a time, in a thread of
its own, so neither the event loop nor the engine's cores are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

BATCH = 64
# all-MiniLM-L6-v2 was trained on sequences of this length; what is longer is cut.
MAX_TOKENS = 256


class Embedder:
    def __init__(self, directory: Path, threads: int) -> None:
        self.model = directory.name
        self._directory = directory
        self._threads = threads
        self._worker = ThreadPoolExecutor(1, "embeddings")
        self._tokenizer: Any = None
        self._network: Any = None

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text, in their order."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._embed, list(texts))

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _embed(self, texts: list[str]) -> list[list[float]]:
        if self._network is None:
            self._load()
        # Of like length together: padding is computed too.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: list[list[float]] = [[]] * len(texts)
        for start in range(0, len(order), BATCH):
            indices = order[start : start + BATCH]
            for index, vector in zip(indices, self._batch([texts[i] for i in indices]), strict=True):
                vectors[index] = vector
        return vectors

    def _batch(self, texts: list[str]) -> list[list[float]]:
        import torch

        tokens = self._tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._network(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        unit: list[list[float]] = torch.nn.functional.normalize(mean, dim=1).tolist()
        return unit

    def _load(self) -> None:
        import torch
        from transformers import AutoModel, AutoTokenizer

        # The engine computes in a process of its own: this bounds the embeddings alone.
        torch.set_num_threads(self._threads)
        self._tokenizer = AutoTokenizer.from_pretrained(str(self._directory), local_files_only=True)
        self._network = AutoModel.from_pretrained(str(self._directory), local_files_only=True, dtype=torch.float32)
        self._network.eval()
