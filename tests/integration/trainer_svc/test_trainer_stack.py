"""A smoke run on the real stack through the trainer's API: every process real, the account closed, episodes traced."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from anamnesis.common.v1 import rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2
from anamnesis.trainer.v1.trainer_pb2_grpc import TrainerServiceStub
from service_kit.grpc.channel import open_channel

if TYPE_CHECKING:
    from tests.conftest import RunningStack

pytestmark = pytest.mark.engine


async def test_a_smoke_run_closes_the_loop(stack: RunningStack) -> None:
    run_id = f"loop-{int(time.time())}"
    async with open_channel(stack.targets["trainer"]) as channel:
        stub = TrainerServiceStub(channel)
        spec = trainer_pb2.RunSpec(preset="smoke", seed=3)
        await stub.StartRun(trainer_pb2.StartRunRequest(spec=spec, run_id=run_id), timeout=60)
        steps: list[trainer_pb2.StepMetrics] = []
        sequence = 0
        async for response in stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=run_id), timeout=600):
            assert response.event.sequence == sequence + 1
            sequence = response.event.sequence
            if response.event.HasField("step"):
                steps.append(response.event.step)
        run = (await stub.GetRun(trainer_pb2.GetRunRequest(run_id=run_id), timeout=30)).run
    assert (run.state, run.error) == (trainer_pb2.RUN_STATE_SUCCEEDED, "")
    assert [step.step for step in steps] == [1, 2]
    # Sampler and trainer agree on what the policy is.
    assert all(step.mismatch_kl < 0.2 for step in steps)
    assert run.held_out.count >= 1
    for account in run.ledger:
        dropped = sum(account.dropped.values())
        assert account.published == account.trained + account.used + dropped + account.outstanding
        assert account.outstanding == 0
    trained = next(a.trained for a in run.ledger if a.purpose == rollout_pb2.PURPOSE_TRAIN)
    assert run.traced_episodes == trained > 0
