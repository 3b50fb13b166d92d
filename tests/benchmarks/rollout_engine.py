"""The bare engine of the benchmarks: vLLM's AsyncLLM in a process of its own, with the settings of a deployment.

Reads passes from stdin, one JSON line each, and writes one line for each with the seconds it took. An episode is a list
of turns; its turns follow one another, and `concurrency` episodes are under way at once, as in the stack. Each turn's
prompt is the token ids that the service saw, and it samples exactly as many tokens as the service did. A line may also
ask for the time until one request's first token.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Iterator
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

    async def first_token(self, turn: dict[str, Any]) -> float:
        """Seconds until its first token, which comes as it does to a caller that streams."""
        from vllm.sampling_params import RequestOutputKind

        started = time.perf_counter()
        first = 0.0
        async for output in self._generate(turn, RequestOutputKind.DELTA):
            if not first and output.outputs[0].token_ids:
                first = time.perf_counter() - started
        return first

    async def _turn(self, turn: dict[str, Any]) -> None:
        from vllm.sampling_params import RequestOutputKind

        async for output in self._generate(turn, RequestOutputKind.FINAL_ONLY):
            if output.finished:
                sampled = len(output.outputs[0].token_ids)
                assert sampled == turn["tokens"], f"{sampled} tokens instead of {turn['tokens']}"

    def _generate(self, turn: dict[str, Any], kind: Any) -> AsyncGenerator[Any, None]:
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input

        parameters = SamplingParams(
            temperature=turn["temperature"],
            seed=turn["seed"],
            min_tokens=turn["tokens"],
            max_tokens=turn["tokens"],
            ignore_eos=True,
            logprobs=0,
            detokenize=False,
            output_kind=kind,
        )
        self._requests += 1
        request: AsyncGenerator[Any, None] = self._llm.generate(
            tokens_input(turn["prompt"]), parameters, str(self._requests)
        )
        return request

    def stop(self) -> None:
        self._llm.shutdown()


async def main(settings: InferenceSettings) -> None:
    engine = BareEngine(settings)
    try:
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = json.loads(line)
            if "first_token_of" in wanted:
                seconds = await engine.first_token(wanted["first_token_of"])
            else:
                seconds = await engine.replay(wanted["episodes"], wanted["concurrency"])
            print(json.dumps({"seconds": seconds}), flush=True)
    finally:
        engine.stop()


if __name__ == "__main__":
    engine_settings = InferenceSettings.model_validate(json.loads(sys.argv[1]))
    configure_environment(engine_settings)
    asyncio.run(main(engine_settings))
