"""Hugging Face generate, in a process of its own: the same lines in and out as vllm_engine.py.

A batch is padded on the left, so it computes until its longest answer is done; tokens after an answer's end are not
counted.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import Any

import psutil
import torch
from transformers import AutoModelForCausalLM


class _Stamps:
    """generate() hands each step's tokens to a streamer; the first call is the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def play(model: Any, wanted: dict[str, Any]) -> dict[str, Any]:
    prompts = wanted["prompts"]
    longest = max(map(len, prompts))
    end = model.config.eos_token_id
    ids = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    stamps = _Stamps() if len(prompts) == 1 else None
    began = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=wanted["max_tokens"],
            pad_token_id=end,
            streamer=stamps,
        )
    seconds = time.perf_counter() - began
    tokens = []
    for row in out[:, longest:].tolist():
        tokens.append(row[: row.index(end) + 1] if end in row else row)
    times = stamps.times[1:] if stamps else []
    return {
        "seconds": seconds,
        "tokens": tokens,
        "first": [times[0] - began] if times else [],
        "gaps": [after - before for before, after in itertools.pairwise(times)],
        "rounds": [],
        "rss_mb": psutil.Process().memory_info().rss / 1e6,
    }


def main(job: dict[str, Any]) -> None:
    torch.set_num_threads(job["threads"])
    began = time.perf_counter()
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"])).eval()
    print(json.dumps({"ready": time.perf_counter() - began}), flush=True)
    for line in sys.stdin:
        print(json.dumps(play(model, json.loads(line))), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
