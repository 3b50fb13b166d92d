"""`make rolling-restart`: every service is replaced in turn under load, and no call of a user fails.

The real stack, two replicas of each stateless service behind client-side round robin, engines replaced with one surge
engine each, the trainer (one process, since it owns the runs) stopped and started. Processes stand for pods: SIGTERM,
drain, a new process, ready. At least REQUESTS calls go through the two gateways meanwhile, streams among them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from service_kit.local_stack import LocalStack
from service_kit.local_stack.display import Display
from tests.benchmarks.rolling_load import CASE, WATCH, Load, Tally
from tests.benchmarks.rolling_stack import ENGINES, SINGLE, replace, running_stack, second

REQUESTS = 2000
ORDER = ("gateway", "simulator", "rubric", SINGLE, "inference-frozen", "inference-policy")
RUN_ID = "watched"
PAUSED_SECONDS = 180.0
LIMIT_SECONDS = 36 * 60.0


@dataclass(frozen=True)
class Replacement:
    service: str
    seconds: float
    requests: int
    attempts: int
    failed: int


async def watched_run(target: str) -> None:
    """A run that goes on without using the engines: it is paused as soon as it can be."""
    async with AnamnesisClient(target) as client:
        await client.start_run("smoke", run_id=RUN_ID)
        await client.pause_run(RUN_ID)
        async with asyncio.timeout(PAUSED_SECONDS):
            while (run := await client.get_run(RUN_ID)).state != trainer_pb2.RUN_STATE_PAUSED:
                if run.state == trainer_pb2.RUN_STATE_FAILED:
                    raise RuntimeError(f"the run to be watched failed: {run.error}")
                await asyncio.sleep(1.0)


async def replace_all(stack: LocalStack, tally: Tally, console: Console) -> list[Replacement]:
    done = []
    for service in ORDER:
        before, began = (tally.total, tally.attempts.total(), tally.failures.total()), time.monotonic()
        await asyncio.to_thread(replace, stack, service)
        after = (tally.total, tally.attempts.total(), tally.failures.total())
        replacement = Replacement(
            service, time.monotonic() - began, *(now - then for now, then in zip(after, before, strict=True))
        )
        console.print(
            f"  {service} replaced after {replacement.seconds:.0f} s: {replacement.requests} requests meanwhile, "
            f"{replacement.failed} failed",
            highlight=False,
        )
        done.append(replacement)
    return done


async def under_load(stack: LocalStack, wanted: int, tally: Tally, console: Console) -> list[Replacement]:
    target = "ipv4:" + ",".join(stack.targets[name] for name in ("gateway", second("gateway")))
    await watched_run(target)
    async with AnamnesisClient(target) as client:
        persona = (await client.start_consultation(CASE)).persona
    load = Load(target, RUN_ID, persona, tally)
    running = asyncio.create_task(load.run())
    try:
        done = await replace_all(stack, tally, console)
        while tally.total < wanted and not running.done():
            await asyncio.sleep(0.5)
    finally:
        load.stop()
        await running
    return done


def report(console: Console, replacements: Sequence[Replacement], tally: Tally) -> None:
    replaced = Table(title="replaced in turn, under load")
    for column in ("service", "seconds", "requests meanwhile", "attempts", "failed"):
        replaced.add_column(column, justify="left" if column == "service" else "right")
    for one in replacements:
        how = " (surge)" if one.service in ENGINES else " (one process)" if one.service == SINGLE else " (two replicas)"
        row = (f"{one.seconds:.0f}", str(one.requests), str(one.attempts), str(one.failed))
        replaced.add_row(one.service + how, *row)
    console.print(replaced)
    calls = Table(title="what the users saw")
    for column in ("call", "requests", "attempts", "cut and resumed", "failed", "p50 s", "p99 s"):
        calls.add_column(column, justify="left" if column == "call" else "right")
    for what in sorted(tally.requests):
        seconds = sorted(tally.seconds.get(what, [])) if what != WATCH else []
        p50 = f"{statistics.median(seconds):.2f}" if seconds else ""
        p99 = f"{seconds[int(len(seconds) * 0.99)]:.2f}" if seconds else ""
        counts = (tally.requests[what], tally.attempts[what], tally.interrupted[what], tally.failures[what])
        calls.add_row(what, *map(str, counts), p50, p99)
    console.print(calls)
    for reason, count in tally.reasons.most_common(10):
        console.print(f"failed {count} times: {reason}", highlight=False, markup=False)


async def measured(stack: LocalStack, wanted: int, tally: Tally, console: Console) -> list[Replacement] | None:
    """None where the time was not enough."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await under_load(stack, wanted, tally, console)
    except TimeoutError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the stack is stopped
    console = Console(width=120)
    tally = Tally()
    display = Display(console, "Starting the stack, two replicas of each stateless service")
    with display, running_stack(display) as stack:
        replacements = asyncio.run(measured(stack, options.requests, tally, console))
    report(console, replacements or [], tally)
    if replacements is None:
        print("incomplete")
        sys.exit(1)
    figures = {"requests": tally.total, "attempts": tally.attempts.total(), "failed": tally.failures.total()}
    print(f"figures: {json.dumps(figures)}")
    sys.exit(1 if figures["failed"] else 0)


if __name__ == "__main__":
    main()
