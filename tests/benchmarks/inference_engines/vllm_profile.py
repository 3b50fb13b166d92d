"""Where the time of a step goes in a vLLM engine, by batch, in a process of its own that ends with the answer.

The engine's core runs in this process and its methods are timed from outside; what a second process adds is therefore
the difference to the engine as it is served. Prints a line of JSON: milliseconds a step by part, tokens a step, and
what the machine can do: the bytes that it reads in a second, and the time that torch takes for the same matrices alone.

    python -m tests.benchmarks.inference_engines.vllm_profile '{"model": ..., "batches": [[[...]]], "tokens": 64, ...}'
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.benchmarks.inference_engines.vllm_engine import begin_again_with_environment, engine_arguments

# Of what lies inside the executor; the rest of it is Python that prepares inputs and keeps books.
INSIDE = ("layers", "output matrix", "sampler", "drafting")
REPEATS = 5
READ_BYTES = 2**28


class Stopwatch:
    """Seconds by part, while it runs; a method that is wrapped is timed wherever it is called from."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.running = False

    def wrap(self, owner: Any, name: str, part: str) -> None:
        method = getattr(owner, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return method(*arguments, **named)
            finally:
                if self.running:
                    self.seconds[part] += time.perf_counter() - began

        setattr(owner, name, timed)


def profile(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each batch of prompts by itself, played twice: the first time warms up."""
    from vllm import SamplingParams
    from vllm.engine.arg_utils import EngineArgs
    from vllm.inputs.engine import tokens_input
    from vllm.v1.engine.llm_engine import LLMEngine

    engine = LLMEngine.from_engine_args(EngineArgs(**engine_arguments(job)))
    client: Any = engine.engine_core
    core = client.engine_core
    runner = core.model_executor.driver_worker.worker.model_runner
    watch = Stopwatch()
    watch.wrap(engine, "step", "whole")
    for name in ("execute_model", "sample_tokens"):
        watch.wrap(core.model_executor, name, "executor")
    for name in ("schedule", "update_from_output"):
        watch.wrap(core.scheduler, name, "scheduler")
    watch.wrap(runner, "_model_forward", "layers")
    watch.wrap(runner.model, "compute_logits", "output matrix")
    watch.wrap(runner, "_sample", "sampler")
    if job["speculation"]:
        watch.wrap(runner, "propose_draft_token_ids", "drafting")
    parameters = SamplingParams(temperature=0.0, max_tokens=job["tokens"], ignore_eos=True, detokenize=False)

    def play(prompts: Sequence[list[int]], name: str) -> tuple[int, int]:
        """Steps and tokens after every sequence had its first; these alone are timed."""
        for place, prompt in enumerate(prompts):
            engine.add_request(f"{name}/{place}", tokens_input(prompt), parameters)
        said: dict[str, int] = {}
        while len(said) < len(prompts):
            said |= _said(engine.step())
        first, steps = sum(said.values()), 0
        watch.seconds.clear()
        watch.running = True
        while engine.has_unfinished_requests():
            said |= _said(engine.step())
            steps += 1
        watch.running = False
        return steps, sum(said.values()) - first

    found = []
    able = machine(job["model"])
    for number, prompts in enumerate(job["batches"]):
        play(prompts, f"{number}/warm-up")
        steps, tokens = play(prompts, f"{number}")
        milliseconds = {part: 1000 * seconds / steps for part, seconds in parts_of(watch.seconds).items()}
        found.append({"step_ms": milliseconds, "tokens_per_step": tokens / steps, **able})
    return found


def parts_of(seconds: Mapping[str, float]) -> dict[str, float]:
    """What was timed, as parts that add up to the whole."""
    inside = {part: seconds[part] for part in INSIDE if part in seconds}
    return {
        **inside,
        "Python around the model": seconds["executor"] - sum(inside.values()),
        "scheduler": seconds["scheduler"],
        "the engine's loop": seconds["whole"] - seconds["executor"] - seconds["scheduler"],
    }


def _said(outputs: Sequence[Any]) -> dict[str, int]:
    """Tokens so far of each request that this step had something of."""
    return {output.request_id: len(output.outputs[0].token_ids) for output in outputs}


def machine(model: str) -> dict[str, float]:
    """bytes_per_second: reading memory with every thread; matrices_ms: the model's in bfloat16, one vector each."""
    import torch
    from torch.nn import functional as F
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model)
    hidden, inner = config.hidden_size, config.intermediate_size
    key_values = hidden * config.num_key_value_heads // config.num_attention_heads
    layer = [(hidden + 2 * key_values, hidden), (hidden, hidden), (2 * inner, hidden), (hidden, inner)]
    shapes = layer * config.num_hidden_layers + [(config.vocab_size, hidden)]
    matrices = [torch.randn(shape, dtype=torch.bfloat16) for shape in shapes]
    vectors = {size: torch.randn((1, size), dtype=torch.bfloat16) for size in (hidden, inner)}
    memory = torch.ones(READ_BYTES // 4)

    def multiply() -> None:
        for matrix in matrices:
            F.linear(vectors[matrix.shape[1]], matrix)

    with torch.inference_mode():
        return {
            "bytes_per_second": READ_BYTES / _best(lambda: memory.sum()),
            "matrices_ms": 1000 * _best(multiply),
        }


def _best(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of REPEATS: what the machine can do."""
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:])


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    begin_again_with_environment("tests.benchmarks.inference_engines.vllm_profile", job["threads"])
    print(json.dumps(profile(job)), flush=True)
