"""`make chaos` judges by a replay of the record: on a small model, what it says of a run that was killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.benchmarks import chaos, chaos_replay
from tests.integration.trainer_svc.trainer_world import World, troubled
from trainer_svc.records.runs import State

pytestmark = pytest.mark.slow
OVERRIDES = {**chaos_replay.OVERRIDES, "schedule.steps": "6", "sampling.max_tokens": "4"}


@pytest.fixture
async def world(broker: str, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, broker)
    yield world
    await world.close()


async def test_a_killed_runs_record_fed_to_an_uninterrupted_one_gives_the_same_checkpoint(
    world: World, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos_replay, "OVERRIDES", OVERRIDES)
    world.worker.answer = troubled
    await world.training.start(chaos_replay.PRESET, OVERRIDES, chaos_replay.SEED, chaos.RUN_ID)
    for step in (1, 3):
        await world.until(chaos.RUN_ID, lambda record, step=step: record.step >= step)  # type: ignore[misc]
        world.kill(chaos.RUN_ID)
        await world.ended(chaos.RUN_ID)
        await world.training.resume(chaos.RUN_ID)
    record = await world.until(chaos.RUN_ID, lambda record: record.state == State.SUCCEEDED)
    assert (record.step, record.incarnation) == (6, 3)

    console, on_the_log = Console(stderr=True), chaos.recorded(broker)
    assert chaos.account(world.settings.state_dir, on_the_log, console) == (0, 0)
    killed = chaos.final_checkpoint(world.settings.state_dir)
    assert killed
    assert chaos.differing(killed, chaos.final_checkpoint(chaos_replay.replay(on_the_log, console))) == []

    # What it must find: a request without a record, and a trajectory that learns something else.
    first = next(key for key, found in on_the_log.items() if "/train/" in key and found.reward)
    assert chaos.account(world.settings.state_dir, {k: v for k, v in on_the_log.items() if k != first}, console)[0] == 1
    on_the_log[first].reward += 1.0
    assert chaos.differing(killed, chaos.final_checkpoint(chaos_replay.replay(on_the_log, console))) != []
