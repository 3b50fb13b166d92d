"""One vLLM engine of `make bench-inference`, in a process of its own.

Reads passes from stdin, a JSON line each, and answers each with a line: seconds, first-token times, times a token, the
tokens, and how many tokens each step after the first gave (with speculation: a round). Greedy unless told otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from inference_svc.engine.environment import configure_environment
from inference_svc.settings import InferenceSettings


def resident_mb() -> float:
    """Of this process and its children (the engine's core may be one)."""
    import psutil

    me = psutil.Process()
    return float(sum(process.memory_info().rss for process in (me, *me.children(recursive=True))) / 1e6)


def engine_arguments(job: dict[str, Any]) -> dict[str, Any]:
    """Of vLLM, for every benchmark of an engine alone."""
    return {
        "model": job["model"],
        "dtype": job["dtype"],
        "enforce_eager": job["eager"],
        "speculative_config": job["speculation"],
        "max_model_len": 1024,
        "max_num_seqs": 32,
        "kv_cache_memory_bytes": 2**29 if job["dtype"] != "float32" else 2**30,
        "distributed_executor_backend": "uni",
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": 4096,
        # No peer has one between prompts.
        "enable_prefix_caching": False,
        "generation_config": "vllm",
        "disable_log_stats": True,
    }


def begin_again_with_environment(module: str, threads: int) -> None:
    """What the engine needs of its environment: LD_PRELOAD takes effect in a process that begins with it."""
    if os.environ.get("BENCH_ENGINE") == "ready":
        return
    configure_environment(InferenceSettings(state_dir=Path(".anamnesis"), threads=threads, omp_block_microseconds=1000))
    os.environ["BENCH_ENGINE"] = "ready"
    os.execv(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]])


class VllmEngine:
    def __init__(self, job: dict[str, Any]) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(job)))
        self._requests = 0

    async def play(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """All prompts at once."""
        began = time.perf_counter()
        answers = await asyncio.gather(*(self._answer(prompt, wanted) for prompt in wanted["prompts"]))
        seconds = time.perf_counter() - began
        merged: dict[str, Any] = {
            name: [answer[name] for answer in answers] for name in ("tokens", "first", "margins", "finished")
        }
        merged["gaps"] = [gap for answer in answers for gap in answer["gaps"]]
        merged["rounds"] = [count for answer in answers for count in answer["rounds"]]
        return merged | {"seconds": seconds, "rss_mb": resident_mb()}

    async def _answer(self, prompt: list[int], wanted: dict[str, Any]) -> dict[str, Any]:
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        self._requests += 1
        parameters = SamplingParams(
            temperature=wanted.get("temperature", 0.0),
            seed=wanted.get("seed", 0) + self._requests if wanted.get("temperature") else None,
            max_tokens=wanted["max_tokens"],
            logprobs=2 if wanted.get("margins") else None,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        began = last = time.perf_counter()
        tokens: list[int] = []
        gaps: list[float] = []
        rounds: list[int] = []
        margins: list[float] = []
        first, finished = 0.0, 0.0
        async for output in self._llm.generate(tokens_input(prompt), parameters, str(self._requests)):
            now = time.perf_counter()
            new = list(output.outputs[0].token_ids)
            if not new:
                continue
            for entry in output.outputs[0].logprobs or ():
                likeliest = sorted((one.logprob for one in entry.values()), reverse=True)
                margins.append(likeliest[0] - likeliest[1])
            if not tokens:
                first = now - began
            else:
                gaps += [(now - last) / len(new)] * len(new)
                rounds.append(len(new))
            tokens += new
            last, finished = now, now - began
        # A last round is cut by the end of the answer.
        return {
            "tokens": tokens,
            "first": first,
            "gaps": gaps,
            "rounds": rounds[:-1],
            "margins": margins,
            "finished": finished,
        }

    def stop(self) -> None:
        self._llm.shutdown()


async def main(job: dict[str, Any]) -> None:
    began = time.perf_counter()
    engine = VllmEngine(job)
    try:
        print(json.dumps({"ready": time.perf_counter() - began}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await engine.play(json.loads(line))), flush=True)
    finally:
        engine.stop()


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    begin_again_with_environment("tests.benchmarks.inference_engines.vllm_engine", job["threads"])
    asyncio.run(main(job))
