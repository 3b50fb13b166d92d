"""Whichever part is slow, the others wait for it: what is asked for stays within the admission formula."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anamnesis.common.v1 import rollout_pb2
from tests.integration.trainer_svc.trainer_world import World
from trainer_svc.records.ledger import Account
from trainer_svc.records.runs import ENDED, State

# The most that may be played is less than what staleness allows, so that each of the two bounds is reached.
STEPS, BATCH, STALENESS, CONCURRENT = 8, 6, 1, 10
SPEC = {
    "schedule.steps": str(STEPS),
    "schedule.groups_per_step": str(BATCH // 2),
    "schedule.group_size": "2",
    "schedule.max_staleness": str(STALENESS),
    "schedule.max_concurrent": str(CONCURRENT),
    "sampling.max_tokens": "4",
}
SLOW_SECONDS = 0.3


@pytest.fixture
async def world(broker: str, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, broker)
    yield world
    await world.close()


def train_account(world: World) -> Account:
    accounts = {account.purpose: account for account in world.training.ledger("slow")}
    return accounts.get("train", Account("train"))


async def test_neither_slow_rollouts_nor_a_slow_trainer_let_requests_or_trajectories_pile_up(world: World) -> None:
    world.worker.seconds = SLOW_SECONDS
    await world.training.start("smoke", SPEC, 5, "slow")
    most_outstanding = 0
    while (record := world.store.get("slow")).state not in ENDED:
        if record.step >= STEPS // 2:  # from here on rollouts are quick, and the trainer waits for its policy
            world.worker.seconds, world.policy.seconds = 0.0, SLOW_SECONDS
        most_outstanding = max(most_outstanding, train_account(world).outstanding)
        await asyncio.sleep(0.02)
    assert (record.state, record.error, record.step) == (State.SUCCEEDED, "", STEPS)

    # Slow rollouts: as many are played as may be, and no more.
    assert world.worker.most_playing == CONCURRENT
    # A slow trainer: no request goes beyond (η + v + 1)·B, with v the version that it was asked with.
    asked = [request for request in world.worker.seen if request.purpose == rollout_pb2.PURPOSE_TRAIN]
    for count, request in enumerate(asked, start=1):
        version = request.policy_version_wanted.step
        assert count <= min(STALENESS + version + 1, STEPS) * BATCH, f"request {count} at version {version}"
    # What the inbox holds is outstanding: the trainer keeps no more than its next steps can use.
    assert BATCH < most_outstanding <= (STALENESS + 1) * BATCH

    account, every = train_account(world), STEPS * BATCH
    assert account == Account("train", published=every, trained=every)
    assert len({request.request_id for request in asked}) == len(asked) == every
