"""The bare engine of `make bench-rollout`: vLLM's AsyncLLM in a process of its own, with the policy's settings.

Reads passes from stdin, one JSON line each, and writes one line for each with the seconds it took. An episode is a list
of turns; its turns follow one another, and `concurrency` episodes are under way at once, as in the stack. Each turn's
prompt is the token ids that the policy saw, and it samples exactly as many tokens as the policy did.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from inference_svc.engine.environment import configure_environment
from inference_svc.settings import InferenceSettings


class BareEngine:
    def __init__(self, settings: InferenceSettings) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        from inference_svc.engine.arguments import engine_arguments

        self._llm = AsyncLLM.from_engine_args(engine_arguments(settings))
        self._requests = 0

    async def replay(self, episodes: list[list[dict[str, Any]]], concurrency: int) -> float:
        waiting = iter(episodes)
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(self._play(waiting))
        return time.perf_counter() - started

    async def _play(self, waiting: Iterator[list[dict[str, Any]]]) -> None:
        for episode in waiting:
            for turn in episode:
                await self._turn(turn)

    async def _turn(self, turn: dict[str, Any]) -> None:
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        parameters = SamplingParams(
            temperature=turn["temperature"],
            seed=turn["seed"],
            min_tokens=turn["tokens"],
            max_tokens=turn["tokens"],
            ignore_eos=True,
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._requests += 1
        request = self._llm.generate(tokens_input(turn["prompt"]), parameters, str(self._requests))
        async for output in request:
            if output.finished:
                sampled = len(output.outputs[0].token_ids)
                assert sampled == turn["tokens"], f"{sampled} tokens instead of {turn['tokens']}"

    def stop(self) -> None:
        self._llm.shutdown()


async def main(settings: InferenceSettings) -> None:
    engine = BareEngine(settings)
    try:
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = json.loads(line)
            seconds = await engine.replay(wanted["episodes"], wanted["concurrency"])
            print(json.dumps({"seconds": seconds}), flush=True)
    finally:
        engine.stop()


if __name__ == "__main__":
    engine_settings = InferenceSettings.model_validate(json.loads(sys.argv[1]))
    configure_environment(engine_settings)
    asyncio.run(main(engine_settings))
