"""A run through the public API: it learns from Kafka, tells its steps, and accounts for every request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from anamnesis.common.v1 import rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.ledger import ledger_gaps
from service_kit.errors import Code, ServiceError
from tests.e2e.finished_run import FinishedRun

pytestmark = pytest.mark.engine


async def test_the_run_succeeds_and_tells_every_step_in_order(smoke_run: FinishedRun) -> None:
    assert smoke_run.run.state == trainer_pb2.RUN_STATE_SUCCEEDED, smoke_run.run.error
    steps = [event.step.step for event in smoke_run.events if event.HasField("step")]
    assert steps == list(range(1, smoke_run.run.total_steps + 1))
    sequences = [event.sequence for event in smoke_run.events]
    assert sequences == sorted(set(sequences))


async def test_every_request_is_accounted_for_by_purpose(smoke_run: FinishedRun) -> None:
    accounts = {account.purpose: account for account in smoke_run.run.ledger}
    assert set(accounts) == {
        rollout_pb2.PURPOSE_TRAIN,
        rollout_pb2.PURPOSE_EVALUATE,
        rollout_pb2.PURPOSE_CONTEXT,
    }
    assert ledger_gaps(smoke_run.run) == []
    assert all(account.published > 0 and account.outstanding == 0 for account in accounts.values())
    assert accounts[rollout_pb2.PURPOSE_TRAIN].trained > 0
    assert all(reason for account in accounts.values() for reason in account.dropped)


async def test_held_out_consultations_are_measured_before_and_after(smoke_run: FinishedRun) -> None:
    held_out = smoke_run.run.held_out
    assert held_out.count >= 2
    assert 0 < held_out.untrained_before <= 1
    assert 0 < held_out.untrained_after <= 1
    before, after = smoke_run.run.example_before.messages, smoke_run.run.example_after.messages
    assert before[0] == after[0], "the same patient opens the same consultation"
    assert len(before) >= 2


async def test_plots_and_checkpoint_lie_where_the_run_says(smoke_run: FinishedRun) -> None:
    assert smoke_run.run.plot_paths
    assert all(Path(path).stat().st_size > 0 for path in smoke_run.run.plot_paths)
    tensors = list(Path(smoke_run.run.checkpoint_path).rglob("*.safetensors"))
    assert tensors
    with safe_open(tensors[0], "pt") as opened:
        assert list(opened.keys())
    assert not [*Path(smoke_run.run.checkpoint_path).rglob("*.pkl"), *Path(smoke_run.run.checkpoint_path).rglob("*.pt")]


async def test_the_doctor_that_users_talk_to_is_the_trained_one(smoke_run: FinishedRun, stack: Any) -> None:
    import grpc

    from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc

    async with grpc.aio.insecure_channel(stack.targets["inference-policy"]) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        models = (await stub.ListModels(inference_pb2.ListModelsRequest(), timeout=10)).models
    assert models[0].policy_version.run_id == smoke_run.run.run_id
    assert models[0].policy_version.step == smoke_run.run.total_steps


async def test_a_second_run_beside_an_active_one_is_refused_by_name(stack: Any, smoke_run: FinishedRun) -> None:
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        first = await client.start_run("smoke", {"schedule.steps": "1"}, seed=1)
        try:
            with pytest.raises(ServiceError) as refused:
                await client.start_run("smoke", seed=2)
            assert refused.value.code is Code.FAILED_PRECONDITION
            assert first.run_id in refused.value.message
        finally:
            await client.cancel_run(first.run_id)
            events = [event async for event in client.watch_run(first.run_id)]
        assert events
        cancelled = await client.get_run(first.run_id)
        assert cancelled.state == trainer_pb2.RUN_STATE_CANCELLED
        assert ledger_gaps(cancelled) == []
        assert sum(account.outstanding for account in cancelled.ledger) == 0
