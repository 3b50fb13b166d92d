"""`make bench-updates`: weight updates of the real engine under constant load.

Two sets of weights take turns, each time as a new version, and so do DRAIN, ABORT and CONTINUE; callers keep asking.
The engine computes in float32, so that a token's log-prob says which weights it is from: each answer's are held against
those that Hugging Face computes with the version that the service named.

Invariant: every request counts once, as finished, as aborted by an update (and told so), as refused with a reason, or
as unexplained; every update as done or failed. Memory is the resident set of the service's processes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from service_kit.grpc.channel import open_channel, service_error
from service_kit.local_stack import LocalStack
from tests.benchmarks.inference_grpc import prompts
from tests.benchmarks.stacks import STATE, running_stack
from tests.integration.inference_svc.reference_model import TOLERANCE, ReferenceModel, base_weights, publish, shifted

NAME = "inference-policy"
MODEL = STATE / "models" / "smollm2-135m-instruct"
CALLERS = 4
TOKENS = 16
SECONDS = 120.0
RUN = "bench-updates"
MODES = (pb.IN_FLIGHT_DRAIN, pb.IN_FLIGHT_CONTINUE, pb.IN_FLIGHT_ABORT)
# Answers whose tokens are held against the reference: those that saw a switch first.
CHECKED = 200
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Answered:
    prompt: list[int]
    token_ids: list[int]
    logprobs: list[float]
    runs: list[tuple[int, int]]
    """(step of the version, tokens)"""


@dataclass
class Load:
    answers: list[Answered] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    async def caller(self, stub: InferenceServiceStub, texts: Iterator[str], seeds: Iterator[int]) -> None:
        for text in texts:
            message = dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=text)
            request = pb.GenerateRequest(
                prompt=pb.Prompt(new_messages=[message]),
                sampling=rollout_pb2.Sampling(temperature=1.0, max_tokens=TOKENS),
                seed=next(seeds),
            )
            try:
                batch = pb.GenerateBatchRequest(requests=[request])
                (completion,) = (await stub.GenerateBatch(batch, timeout=SECONDS)).completions
            except grpc.aio.AioRpcError as error:
                reason = service_error(error, NAME).reason
                self.outcomes[f"refused: {reason}" if reason else "unexplained"] += 1
                continue
            self._take(completion)

    def _take(self, completion: pb.Completion) -> None:
        runs = [(run.policy_version.step, run.token_count) for run in completion.version_runs]
        whole = sum(count for _, count in runs) == len(completion.token_ids)
        if completion.error_reason:
            self.outcomes[f"refused: {completion.error_reason}"] += 1
        elif completion.finish_reason == pb.FINISH_REASON_ABORTED:
            self.outcomes["aborted by an update"] += 1
        elif completion.finish_reason == pb.FINISH_REASON_UNSPECIFIED or not whole:
            self.outcomes["unexplained"] += 1
            return
        else:
            self.outcomes["finished"] += 1
        if completion.token_ids:
            ids, logprobs = list(completion.token_ids), list(completion.logprobs)
            self.answers.append(Answered(list(completion.prompt_token_ids), ids, logprobs, runs))


class Resident:
    """Memory of the service's processes, sampled at each update."""

    def __init__(self, stack: LocalStack) -> None:
        (view,) = [view for view in stack.views() if view.name == NAME]
        assert view.pid is not None
        self._root = view.pid
        self.bytes: list[int] = []

    def sample(self) -> None:
        self.bytes.append(sum(_resident(pid) for pid in _family(self._root)))

    def growth(self) -> float:
        """MiB from the second tenth of the updates to the last one, medians; the first tenth warms up."""
        tenth = max(1, len(self.bytes) // 10)
        return (statistics.median(self.bytes[-tenth:]) - statistics.median(self.bytes[tenth : 2 * tenth])) / MEBIBYTE


async def run(updates: int) -> dict[str, float]:
    """`updates_ok` of `updates`; `updates_rss_growth_mb`; `updates_wrong_tokens` of those held against the reference;
    `updates_unexplained` requests."""
    console = Console(width=120)
    base = base_weights(MODEL)
    variants = (base, shifted(base, 1))
    environment = {NAME: {"ANAMNESIS_INFERENCE_DTYPE": "float32"}}
    with running_stack("bench-updates", [NAME], environment, console) as stack:
        store = stack.state_dir / "weights"
        digests = [publish(store, f"variant-{i}", weights) for i, weights in enumerate(variants)]
        resident, load = Resident(stack), Load()
        seconds, failures = list[float](), list[str]()
        first = list[float]()
        async with open_channel(stack.targets[NAME]) as channel:
            stub = InferenceServiceStub(channel)
            async with _under_load(stub, load):
                for step in range(1, updates + 1):
                    began, before = time.monotonic(), len(load.answers)
                    variant = step % 2
                    request = pb.UpdateWeightsRequest(
                        version=rollout_pb2.PolicyVersion(run_id=RUN, step=step),
                        path=f"variant-{variant}",
                        format=pb.WEIGHT_FORMAT_SAFETENSORS_FULL,
                        sha256=digests[variant],
                        in_flight=MODES[step % len(MODES)],
                    )
                    try:
                        await stub.UpdateWeights(request, timeout=SECONDS)
                        seconds.append(time.monotonic() - began)
                    except grpc.aio.AioRpcError as error:
                        failures.append(service_error(error, NAME).message)
                    # Until somebody has an answer of this version.
                    while not any(run_step == step for a in load.answers[before:] for run_step, _ in a.runs):
                        await asyncio.sleep(0.02)
                        assert time.monotonic() - began < SECONDS, "no answer came from the new weights"
                    first.append(time.monotonic() - began)
                    resident.sample()
                    if step % 25 == 0:
                        console.print(f"{step} updates, {sum(load.outcomes.values())} requests", highlight=False)
    console.print("holding the answers against the reference model")
    wrong, held = _wrong_tokens(load.answers, variants)
    _table(console, updates, seconds, failures, first, load, resident, wrong, held)
    return {
        "updates_ok": len(seconds),
        "updates_rss_growth_mb": round(resident.growth(), 1),
        "updates_wrong_tokens": wrong,
        "updates_unexplained": load.outcomes["unexplained"],
    }


@asynccontextmanager
async def _under_load(stub: InferenceServiceStub, load: Load) -> AsyncIterator[None]:
    texts, seeds = prompts(), itertools.count(1)
    callers = [asyncio.create_task(load.caller(stub, texts, seeds)) for _ in range(CALLERS)]
    try:
        yield
        broken = [caller for caller in callers if caller.done()]
        assert not broken, f"a caller ended: {broken[0]}"
    finally:
        for caller in callers:
            caller.cancel()
        for caller in callers:
            with contextlib.suppress(asyncio.CancelledError):
                await caller


def _wrong_tokens(answers: list[Answered], variants: tuple[dict[str, Any], ...]) -> tuple[int, int]:
    """Tokens whose log-prob is not that of the version they are said to be from; and how many were looked at."""
    switched = [answer for answer in answers if len(answer.runs) > 1]
    rest = [answer for answer in answers if len(answer.runs) == 1]
    chosen = [*switched[: CHECKED // 2], *rest[:: max(1, len(rest) // (CHECKED // 2))]]
    reference = ReferenceModel(MODEL)
    wrong = 0
    for variant, weights in enumerate(variants):
        reference.load(weights)
        for answer in chosen:
            owners = [step % 2 for step, count in answer.runs for _ in range(count)]
            if variant not in owners:
                continue
            expected = reference.logprobs(answer.prompt, answer.token_ids)
            given = zip(answer.logprobs, expected, owners, strict=True)
            wrong += sum(abs(ours - theirs) > TOLERANCE["float32"] * 5 for ours, theirs, o in given if o == variant)
    return wrong, sum(len(answer.token_ids) for answer in chosen)


def _table(
    console: Console,
    updates: int,
    seconds: list[float],
    failures: list[str],
    first: list[float],
    load: Load,
    resident: Resident,
    wrong: int,
    held: int,
) -> None:
    table = Table(title=f"{updates} updates under {CALLERS} callers", show_header=False)
    table.add_row("updates done", f"{len(seconds)} of {updates}" + (f": {failures[0]}" if failures else ""))
    table.add_row("seconds an update", _quantiles(seconds))
    table.add_row("seconds until an answer of the new weights", _quantiles(first))
    for outcome, count in sorted(load.outcomes.items()):
        table.add_row(f"requests {outcome}", str(count))
    table.add_row("answers that a switch went through", str(sum(len(answer.runs) > 1 for answer in load.answers)))
    table.add_row("tokens of a wrong version", f"{wrong} of {held} held against the reference")
    table.add_row(
        "resident memory, MiB",
        f"{resident.bytes[0] / MEBIBYTE:.0f} at first, {resident.bytes[-1] / MEBIBYTE:.0f} at last",
    )
    table.add_row("growth, MiB", f"{resident.growth():+.1f}")
    console.print(table)


def _quantiles(values: list[float]) -> str:
    ordered = sorted(values)
    return (
        f"median {statistics.median(ordered):.2f}, 99 % {ordered[int(0.99 * (len(ordered) - 1))]:.2f}"
        if values
        else "-"
    )


def _family(root: int) -> Iterator[int]:
    yield root
    for thread in Path(f"/proc/{root}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (thread / "children").read_text().split():
                yield from _family(int(child))


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=500)
    print(f"figures: {json.dumps(asyncio.run(run(parser.parse_args().updates)))}")


if __name__ == "__main__":
    main()
