"""`make chaos`: kill -9 of trainer, worker, both inference services, rubric and simulator over one real run, at random.

Victims and moments come from a seed. A part that was killed is started again, as Kubernetes would; the broker is left
alone, since the laptop's loses acknowledged writes when it is killed. Then the account is drawn up: a request is lost
if it has no outcome, or no terminal record on the log; a trajectory is repeated if more were trained on than the ledger
has trained requests, or a step was told twice. Last, the same recorded trajectories are fed to an uninterrupted run on
one thread: its final checkpoint is the killed run's, bit for bit. What did not finish prints `incomplete`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from anamnesis.common.v1.rollout_pb2 import Trajectory
from gateway.client import AnamnesisClient
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.settings import KafkaSettings
from service_kit.local_stack import LocalStack
from service_kit.local_stack.definition import load_definition
from tests.benchmarks.chaos_replay import OVERRIDES, PRESET, SEED, TRAJECTORIES, replay
from tests.benchmarks.stacks import running_stack
from trainer_svc.learner.checkpoint import Checkpoints
from trainer_svc.records.database import connect
from trainer_svc.records.runs import RunStore, State

VICTIMS = ("trainer", "rollout-worker", "inference-policy", "rubric", "simulator", "inference-frozen")
KILLS = 20
RUN_ID = "chaos"
# From the moment all parts are there again to the next kill.
QUIET_SECONDS = (0.5, 9.0)
RUN_SECONDS = 1800.0
# An interrupted run goes on when its trainer is there again.
FINISHED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)
NOT_PLAYED = ("run_finished",)


def victims(seed: int, kills: int) -> Iterator[tuple[str, float]]:
    """Every part equally often, as far as the number allows, in random order; each with the wait before it."""
    source = random.Random(seed)
    order = [VICTIMS[number % len(VICTIMS)] for number in range(kills)]
    source.shuffle(order)
    for victim in order:
        yield victim, source.uniform(*QUIET_SECONDS)


def play(stack: LocalStack, kills: int, seed: int, console: Console) -> Counter[str]:
    """The run to its end, with as many kills as it lived to see."""
    runs = RunStore(connect(stack.state_dir / "trainer.db"))
    asyncio.run(start(stack.targets["gateway"]))
    killed: Counter[str] = Counter()
    for victim, quiet in victims(seed, kills):
        time.sleep(quiet)
        record = runs.get(RUN_ID)
        if record.state in FINISHED:
            break
        stack.kill(victim)
        killed[victim] += 1
        began = time.monotonic()
        stack.restart(victim)
        console.print(
            f"kill {killed.total():2}: {victim} at step {record.step}, back after {time.monotonic() - began:.0f} s",
            highlight=False,
        )
    until = time.monotonic() + RUN_SECONDS
    while runs.get(RUN_ID).state not in FINISHED and time.monotonic() < until:
        time.sleep(1.0)
    return killed


async def start(gateway: str) -> None:
    async with AnamnesisClient(gateway, patience_seconds=60.0) as client:
        await client.start_run(PRESET, OVERRIDES, seed=SEED, run_id=RUN_ID)


def recorded(bootstrap: str) -> dict[str, Trajectory]:
    """The first terminal record of each of the run's requests, as the trainer takes it."""
    consumer: EventConsumer[Trajectory] = EventConsumer(
        KafkaSettings(bootstrap=bootstrap),
        TRAJECTORIES,
        Trajectory,
        group=None,
        client_id="chaos-reader",
        producer_for_dead_letters=None,
    )
    try:
        ends = consumer.end_offsets()
        consumer.seek(dict.fromkeys(ends, 0))
        found: dict[str, Trajectory] = {}
        while any(consumer.positions().get(partition, 0) < end for partition, end in ends.items()):
            for record in consumer.poll(1.0):
                if record.message.request.run_id == RUN_ID:
                    found.setdefault(record.message.request.request_id, record.message)
        return found
    finally:
        consumer.close()


def account(state_dir: Path, on_the_log: dict[str, Trajectory], console: Console) -> tuple[int, int]:
    """How many requests were lost and how many trajectories repeated."""
    database = connect(state_dir / "trainer.db")
    rows = database.execute("SELECT request_id, purpose, outcome, reason FROM requests WHERE run_id = ?", (RUN_ID,))
    table, trained, lost = Counter[tuple[str, str, str]](), 0, 0
    for row in rows:
        table[row["purpose"], row["outcome"], row["reason"]] += 1
        trained += row["outcome"] == "trained"
        silent = row["request_id"] not in on_the_log and row["reason"] not in NOT_PLAYED
        lost += row["outcome"] == "outstanding" or silent
    shown = Table("purpose", "outcome", "reason", "requests")
    for key, count in sorted(table.items()):
        shown.add_row(*key, str(count))
    console.print(shown)
    steps = [event.payload for event in RunStore(database).events_after(RUN_ID, 0, 10**9) if event.kind == "step"]
    told_twice = len(steps) - len({step["step"] for step in steps})
    return lost, told_twice + abs(sum(step["trajectories"] for step in steps) - trained)


def final_checkpoint(state_dir: Path) -> dict[str, torch.Tensor]:
    found = Checkpoints(state_dir / "runs" / RUN_ID / "checkpoints", keep=1).newest()
    return {} if found is None else found.tensors


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    return sorted(
        name for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    console = Console()
    single = {"trainer": {"ANAMNESIS_TRAINER_THREADS": "1"}}
    with running_stack("chaos", load_definition().names, single, console) as stack:
        killed = play(stack, arguments.kills, arguments.seed, console)
        on_the_log = recorded(stack.bootstrap)
        state_dir = stack.state_dir
    record = RunStore(connect(state_dir / "trainer.db")).get(RUN_ID)
    console.print(f"run {record.state} at step {record.step} in incarnation {record.incarnation} {record.error}")
    lost, repeated = account(state_dir, on_the_log, console)
    if record.state != State.SUCCEEDED or killed.total() < arguments.kills:
        console.print(f"incomplete: {killed.total()} of {arguments.kills} kills, run {record.state}: {record.error}")
        return
    replayed = replay(on_the_log, console)
    different = differing(final_checkpoint(state_dir), final_checkpoint(replayed))
    if different:
        console.print(f"{len(different)} tensors differ, such as {different[:3]}")
    figures = {
        "kills": killed.total(),
        "lost": lost,
        "repeated": repeated,
        "resume_bitwise_equal": not different,
    }
    console.print(f"figures: {json.dumps(figures)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
