"""What gRPC costs: the inference service beside the same engine in process.

Invariant: both sides compute the same. The service goes first; the bare engine then replays its prompts (token ids) and
samples exactly as many tokens of each. No prompt comes twice on one side, so neither cache is warmer. Passes alternate
within one load of each, one side idle while the other computes: read the ratio.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from inference_svc.settings import InferenceSettings
from inference_svc.tokens import ChatMessage, PromptAssembler
from service_kit.grpc.channel import open_channel
from tests.benchmarks.bare_engine import BareEngine, Turn
from tests.benchmarks.stacks import STATE, running_stack

AT_ONCE = 32
REQUESTS = 64
TOKENS = 64
PASSES = 7
FIRST_TOKENS = 60
SECONDS = 300.0
COMPLAINTS = ("headache", "cough", "fever", "chest pain", "rash", "sore throat", "back pain", "nausea", "dizziness")
SINCE = ("this morning", "yesterday", "three days", "last week", "a month", "the winter", "my holiday", "my childhood")
WITH = (
    "my age is {}",
    "I took {} tablets",
    "I slept {} hours",
    "I walked {} steps",
    "my pulse is {}",
    "I waited {} days",
)


def prompts() -> Iterator[str]:
    """Each one once."""
    for number in itertools.count(3):
        for complaint, since, more in itertools.product(COMPLAINTS, SINCE, WITH):
            yield f"I have had a {complaint} since {since}, and {more.format(number)}. What should I do?"


class Service:
    def __init__(self, stub: InferenceServiceStub) -> None:
        self._stub = stub
        self._seeds = itertools.count(1)

    def _request(self, text: str, tokens: int) -> pb.GenerateRequest:
        return pb.GenerateRequest(
            prompt=pb.Prompt(new_messages=[dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=text)]),
            sampling=rollout_pb2.Sampling(temperature=1.0, max_tokens=tokens),
            seed=next(self._seeds),
        )

    async def unary(self, texts: Sequence[str]) -> tuple[float, list[Turn]]:
        """As rollouts ask: a call for each answer, AT_ONCE under way."""
        waiting, turns = iter(texts), list[Turn]()

        async def ask() -> None:
            for text in waiting:
                request = self._request(text, TOKENS)
                response = await self._stub.GenerateBatch(pb.GenerateBatchRequest(requests=[request]), timeout=SECONDS)
                (completion,) = response.completions
                assert not completion.error_reason, completion.error_message
                turns.append(turn(completion.prompt_token_ids, len(completion.token_ids), request.seed))

        return await _all(ask), turns

    async def streamed(self, texts: Sequence[str]) -> tuple[float, list[Turn]]:
        """As users ask: a message for each token."""
        waiting, turns = iter(texts), list[Turn]()

        async def ask() -> None:
            for text in waiting:
                request = self._request(text, TOKENS)
                prompt: Sequence[int] = ()
                async for event in self._stub.Generate(request, timeout=SECONDS):
                    if event.HasField("started"):
                        prompt = event.started.prompt_token_ids
                    elif event.HasField("finished"):
                        turns.append(turn(prompt, event.finished.completion_tokens, request.seed))

        return await _all(ask), turns

    async def first_token(self, text: str) -> float:
        request = self._request(text, 2)
        started = time.perf_counter()
        first = 0.0
        async for event in self._stub.Generate(request, timeout=SECONDS):
            if event.HasField("delta") and event.delta.token_ids and not first:
                first = time.perf_counter() - started
        return first


def turn(prompt: Sequence[int], tokens: int, seed: int) -> Turn:
    return {"prompt": list(prompt), "tokens": tokens, "seed": seed, "temperature": 1.0}


async def _all(ask: Any) -> float:
    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(ask())
    return time.perf_counter() - started


async def compare() -> dict[str, float]:
    """`grpc_ratio_bs32`: tokens a second of the service over those of the engine, 32 unary calls at once.
    `grpc_stream_ratio_bs32`: likewise, streamed. `grpc_added_ttft_ms`: what gRPC adds to a lone request's first token.
    """
    console = Console(width=120)
    texts = prompts()
    unary, streamed, firsts = list[tuple[float, float]](), list[tuple[float, float]](), list[tuple[float, float]]()
    assembler = PromptAssembler.load(STATE / "models" / "smollm2-135m-instruct")
    with running_stack("bench-grpc", ["inference-policy"], {}, console) as stack:
        engine = await asyncio.to_thread(
            BareEngine,
            InferenceSettings.model_validate({"state_dir": stack.state_dir}),
            stack.state_dir / "logs" / "bare.log",
        )
        try:
            async with open_channel(stack.targets["inference-policy"]) as channel:
                service = Service(InferenceServiceStub(channel))
                for number in range(PASSES + 1):
                    for ask, into in ((service.unary, unary), (service.streamed, streamed)):
                        seconds, turns = await ask(list(itertools.islice(texts, REQUESTS)))
                        bare = await asyncio.to_thread(engine.replay, [[t] for t in turns], AT_ONCE)
                        tokens = sum(t["tokens"] for t in turns)
                        if number:  # the first pass warms both up
                            into.append((tokens / seconds, tokens / bare))

                async def bare_first() -> float:
                    prompt = assembler.assemble([], [ChatMessage("user", next(texts))])
                    return await asyncio.to_thread(engine.first_token, turn(prompt, 2, seed=1))

                async def service_first() -> float:
                    return await service.first_token(next(texts))

                for number in range(FIRST_TOKENS + 4):
                    # Of two requests to each side the second counts: the first finds the processor's caches, and the
                    # weights in them, as the other side's engine left them, and is slower by up to 7 ms.
                    sides = [service_first, bare_first] if number % 2 else [bare_first, service_first]
                    taken = {side: [await side(), await side()][1] * 1000 for side in sides}
                    if number >= 4:
                        firsts.append((taken[service_first], taken[bare_first]))
        finally:
            await asyncio.to_thread(engine.close)
    table = Table(title="the service beside the engine in process")
    for column in ("", "service", "engine", "ratio or difference"):
        table.add_column(column, justify="right")
    for name, pairs in (("tok/s, 32 unary calls at once", unary), ("tok/s, 32 streams at once", streamed)):
        for ours, theirs in pairs:
            table.add_row(name, f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.3f}")
    ours, theirs = (statistics.median(side) for side in zip(*firsts, strict=True))
    table.add_row(
        f"ms to the first token, alone (median of {len(firsts)})",
        f"{ours:.1f}",
        f"{theirs:.1f}",
        f"{ours - theirs:+.1f}",
    )
    console.print(table)
    return {
        "grpc_ratio_bs32": round(statistics.median(a / b for a, b in unary), 3),
        "grpc_stream_ratio_bs32": round(statistics.median(a / b for a, b in streamed), 3),
        "grpc_added_ttft_ms": round(statistics.median(a - b for a, b in firsts), 2),
    }


if __name__ == "__main__":
    print(f"figures: {json.dumps(asyncio.run(compare()))}")
