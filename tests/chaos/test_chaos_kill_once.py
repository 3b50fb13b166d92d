"""Killing a part once in mid-run and starting it again loses and repeats nothing in the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from anamnesis.common.v1 import rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.ledger import ledger_gaps
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.settings import KafkaSettings

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1200)]
RUN_SECONDS = 600.0
STEPS = 4


async def after_the_first_step(client: AnamnesisClient, run_id: str) -> None:
    async with asyncio.timeout(RUN_SECONDS):
        async for event in client.watch_run(run_id):
            if event.HasField("step"):
                return
    pytest.fail("the run ended before its first step")


async def to_the_end(client: AnamnesisClient, run_id: str) -> trainer_pb2.Run:
    async with asyncio.timeout(RUN_SECONDS):
        while True:
            run = await client.get_run(run_id)
            if run.state in (
                trainer_pb2.RUN_STATE_SUCCEEDED,
                trainer_pb2.RUN_STATE_FAILED,
                trainer_pb2.RUN_STATE_CANCELLED,
            ):
                return run
            await asyncio.sleep(1.0)


def terminal_records(bootstrap: str, run_id: str) -> Counter[str]:
    """How often each of the run's trajectory ids stands in the topic."""
    consumer = EventConsumer(
        KafkaSettings(bootstrap=bootstrap),
        "anamnesis.rollout.trajectories.v1",
        rollout_pb2.Trajectory,
        group=None,
        client_id="chaos-reader",
        producer_for_dead_letters=None,
    )
    try:
        ends = consumer.end_offsets()
        consumer.seek(dict.fromkeys(ends, 0))
        found: Counter[str] = Counter()
        while any(consumer.positions().get(partition, 0) < end for partition, end in ends.items()):
            for record in consumer.poll(1.0):
                if record.message.request.run_id == run_id:
                    found[record.message.trajectory_id] += 1
        return found
    finally:
        consumer.close()


@pytest.mark.parametrize("victim", ["rollout-worker", "trainer"])
async def test_a_killed_part_loses_and_repeats_nothing(stack: Any, victim: str) -> None:
    async with AnamnesisClient(stack.targets["gateway"], patience_seconds=120.0) as client:
        started = await client.start_run("smoke", {"schedule.steps": str(STEPS)}, seed=3)
        await after_the_first_step(client, started.run_id)
        await asyncio.to_thread(stack.kill, victim)
        await asyncio.to_thread(stack.restart, victim)
        run = await to_the_end(client, started.run_id)

        assert run.state == trainer_pb2.RUN_STATE_SUCCEEDED, run.error
        assert run.step == STEPS
        assert run.incarnation == (started.incarnation + 1 if victim == "trainer" else started.incarnation)
        assert ledger_gaps(run) == []
        assert sum(account.outstanding for account in run.ledger) == 0

        steps = [event.step async for event in client.watch_run(run.run_id) if event.HasField("step")]
        told = {step.step: step.trajectories for step in steps}
        assert sorted(told) == list(range(1, STEPS + 1))
        train = next(account for account in run.ledger if account.purpose == rollout_pb2.PURPOSE_TRAIN)
        assert train.trained == sum(told.values()), "trained on exactly once each"

        # Every request that was published has a terminal record; one that was played twice has the same id.
        records = await asyncio.to_thread(terminal_records, stack.bootstrap, run.run_id)
        answered = sum(account.published for account in run.ledger) - sum(
            count for account in run.ledger for reason, count in account.dropped.items() if reason == "run_finished"
        )
        assert len(records) >= answered
