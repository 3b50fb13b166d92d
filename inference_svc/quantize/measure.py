"""Measures one model directory in vLLM itself: what it gives held-out text, and how fast it answers.

Invariant: original and quantized are measured by the same code, settings and texts, each in a process of its own, so
memory and kernels are those that will serve.

    python -m inference_svc.quantize.measure job.json   {"model", "dtype", "texts": [[id]], "prompts": [[id]], "output"}
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# The likeliest tokens that a divergence is computed over; the others count as one.
TOP = 64
ANSWER_TOKENS = 64
SPEED_PASSES = 3


def main(job: dict[str, Any]) -> None:
    from safetensors.numpy import save_file
    from vllm import LLM

    llm = LLM(
        model=job["model"],
        dtype=job["dtype"],
        enforce_eager=True,
        max_model_len=2048,
        max_num_seqs=32,
        kv_cache_memory_bytes=2**30,
        enable_chunked_prefill=False,
        max_num_batched_tokens=4096,
        enable_prefix_caching=False,
        generation_config="vllm",
        max_logprobs=TOP,
    )
    arrays = text_logprobs(llm, job["texts"])
    if job["prompts"]:
        for batch in (1, 32):
            arrays[f"speed_{batch}"] = np.array(speed(llm, job["prompts"], batch))
    partial = Path(job["output"]).with_suffix(".partial")
    save_file(arrays, partial)
    os.replace(partial, job["output"])


def text_logprobs(llm: Any, texts: list[list[int]]) -> dict[str, Any]:
    """Of each token but a text's first: its log-prob [N], and the TOP likeliest ids and log-probs [N, TOP]."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=TOP, detokenize=False)
    outputs = llm.generate([{"prompt_token_ids": text} for text in texts], parameters, use_tqdm=False)
    own, ids, tops = [], [], []
    for text, output in zip(texts, outputs, strict=True):
        for token, entry in zip(text[1:], output.prompt_logprobs[1:], strict=True):
            own.append(entry[token].logprob)
            likeliest = sorted(((one.logprob, place) for place, one in entry.items()), reverse=True)[:TOP]
            tops.append([logprob for logprob, _ in likeliest])
            ids.append([place for _, place in likeliest])
    return {"own": np.array(own), "top_ids": np.array(ids), "top": np.array(tops)}


def speed(llm: Any, prompts: list[list[int]], batch: int) -> float:
    """Tokens a second, the median of some passes after one that warms up."""
    from vllm import SamplingParams

    parameters = SamplingParams(max_tokens=ANSWER_TOKENS, ignore_eos=True, temperature=0.0, detokenize=False)
    chosen = [{"prompt_token_ids": prompts[place % len(prompts)]} for place in range(batch)]
    rates = []
    for _ in range(1 + SPEED_PASSES):
        began = time.perf_counter()
        llm.generate(chosen, parameters, use_tqdm=False)
        rates.append(batch * ANSWER_TOKENS / (time.perf_counter() - began))
    return statistics.median(rates[1:])


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
