"""Whole runs over a real broker, in real processes: the account, the crash, the resume, the orders."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from anamnesis.common.v1 import rollout_pb2
from service_kit.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.integration.trainer_svc.trainer_world import World, completed, troubled
from tests.tiny_llama import tiny_model
from trainer_svc.learner.checkpoint import Checkpoints
from trainer_svc.records.runs import RunRecord, State

SPEC = {
    "schedule.steps": "4",
    "schedule.groups_per_step": "2",
    "schedule.group_size": "3",
    "optimizer.learning_rate": "0.05",
    "sampling.max_tokens": "4",
}


@pytest.fixture
async def world(broker: str, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, broker)
    yield world
    await world.close()


def check_account(world: World, record: RunRecord) -> None:
    accounts = {account.purpose: account for account in world.training.ledger(record.run_id)}
    assert all(account.balances() for account in accounts.values())
    assert all(account.outstanding == 0 for account in accounts.values())
    assert accounts["train"].trained > 0 and accounts["train"].used == 0
    assert accounts["evaluate"].used == 4 and accounts["evaluate"].trained == 0
    assert accounts["context"].used == 2


# Now and then torch aborts a follower whose work is done, while the interpreter ends. Here it always does.
ABORTS_AT_EXIT = """
import atexit, os, sys
if "trainer_svc.learner.followers" in sys.orig_argv:
    atexit.register(os.abort)
"""


async def test_a_run_of_two_processes_is_paused_goes_on_and_ends_as_any_other(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABORTS_AT_EXIT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    await world.training.start("smoke", SPEC | {"devices.processes": "2"}, 5, "pair")
    await world.until("pair", lambda record: record.step >= 2)
    world.training.pause("pair")
    await world.until("pair", lambda record: record.state == State.PAUSED)
    await world.training.resume("pair")
    record = await world.ended("pair")
    assert (record.state, record.error, record.step) == (State.SUCCEEDED, "", 4)
    check_account(world, record)
    assert {incarnation for _, incarnation, _ in world.policy.versions} == {1, 2}


async def test_a_run_trains_measures_publishes_and_accounts_for_every_request(world: World) -> None:
    world.worker.answer = troubled
    await world.training.start("smoke", SPEC, 5, "whole")
    record = await world.ended("whole")
    assert (record.state, record.error, record.step) == (State.SUCCEEDED, "", 4)
    check_account(world, record)
    train = next(a for a in world.training.ledger("whole") if a.purpose == "train")
    assert set(train.dropped) >= {"no_spread"}
    assert world.policy.versions == [("whole", 1, step) for step in range(5)]
    assert record.held_out is not None and record.held_out["count"] == 2
    assert record.held_out["untrained_before"] == 0.5
    assert record.example_before and record.example_after
    assert len(record.plot_paths) == 2 and all(Path(path).is_file() for path in record.plot_paths)
    events = world.store.events_after("whole", 0)
    assert [e.sequence for e in events] == list(range(1, len(events) + 1))
    assert [e.payload["step"] for e in events if e.kind == "step"] == [1, 2, 3, 4]
    phases = list(dict.fromkeys(e.payload["phase"] for e in events if e.kind == "progress"))
    assert phases == [
        "loading_model", "evaluating_before", "collecting_context", "training", "evaluating_after", "writing_report"
    ]  # fmt: skip
    requests = {request.request_id: request for request in world.worker.seen}
    for i in range(2):
        before, after = requests[f"whole/evaluate/{i}/0"], requests[f"whole/evaluate/{i + 2}/0"]
        assert (before.seed, before.context) == (after.seed, after.context)
    assert {r.context.fragment.case.case_id for r in requests.values() if r.kind == 2} <= {"c2", "c3", "c4"}

    again = await world.training.start("smoke", SPEC, 5, "whole")
    assert again == record
    with pytest.raises(FailedPrecondition):
        await world.training.start("smoke", SPEC, 6, "whole")
    path, version = await world.training.export("whole", "doctor")
    assert version == ("whole", 1, 4)
    merged = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(world.settings.model_path(), dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, path / "adapter").merge_and_unload()
    for one, other in zip(merged.parameters(), adapted.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-2)  # the merged weights are those that were served, in bfloat16
    assert not all(map(torch.equal, merged.parameters(), tiny_model().parameters()))


@pytest.mark.slow
async def test_held_out_cases_are_measured_on_the_way_and_a_crash_in_between_changes_nothing(world: World) -> None:
    spec = SPEC | {"evaluation.every_steps": "1", "schedule.max_staleness": "1"}
    asked, dead = threading.Event(), threading.Event()

    def answer(request: rollout_pb2.RolloutRequest) -> list[rollout_pb2.Trajectory]:
        if request.request_id == "between/evaluate/7/0":
            asked.set()
            dead.wait(60)
        return troubled(request)

    world.worker.answer = answer
    await world.training.start("smoke", spec, 5, "between")
    # Held-out cases 0 and 1 at step 2 are groups 6 and 7: it dies while it waits for one of them.
    await world.until("between", lambda record: asked.is_set())
    world.kill("between")
    assert (await world.ended("between")).state == State.INTERRUPTED
    dead.set()
    await world.training.resume("between")
    record = await world.ended("between")
    assert (record.state, record.error, record.step) == (State.SUCCEEDED, "", 4)
    accounts = {account.purpose: account for account in world.training.ledger("between")}
    assert all(account.balances() and not account.outstanding for account in accounts.values())
    assert accounts["evaluate"].used == 2 * 5
    told = [e.payload for e in world.store.events_after("between", 0) if e.kind == "held_out"]
    assert [one["step"] for one in told] == [0, 1, 2, 3, 4]
    requests = {request.request_id: request for request in world.worker.seen}
    for block in range(5):
        before, then = requests["between/evaluate/1/0"], requests[f"between/evaluate/{2 * block + 1}/0"]
        assert (before.seed, before.context) == (then.seed, then.context)
    summary = json.loads((world.settings.run_directory("between") / "report" / "summary.json").read_text())
    assert summary["held_out_by_step"] == {str(one["step"]): pytest.approx(one["mean"]) for one in told}
    best = Checkpoints(world.settings.run_directory("between") / "checkpoints", 2).best()
    assert best is not None
    assert best.state["journal"]["step"] == max(told, key=lambda one: (one["mean"], one["step"]))["step"]


@pytest.mark.slow
async def test_killed_twice_it_loses_and_repeats_nothing_and_learns_the_same(world: World) -> None:
    world.worker.answer = troubled
    await world.training.start("smoke", SPEC, 5, "whole")
    whole = await world.ended("whole")

    await world.training.start("smoke", SPEC, 5, "killed")
    await world.until("killed", lambda record: len(world.store.events_after("killed", 0)) >= 6)
    world.kill("killed")
    assert (await world.ended("killed")).state == State.INTERRUPTED
    await world.training.resume("killed")
    await world.until("killed", lambda record: record.step >= 2)
    world.kill("killed")
    interrupted = await world.ended("killed")
    assert interrupted.state == State.INTERRUPTED
    await world.training.resume("killed")
    killed = await world.ended("killed")

    assert (killed.state, killed.incarnation, killed.step) == (State.SUCCEEDED, 3, 4)
    check_account(world, killed)
    expected, got = world.tensors("whole"), world.tensors("killed")
    assert expected.keys() == got.keys()
    assert [name for name in expected if not torch.equal(expected[name], got[name])] == []
    for one, other in zip(world.training.ledger("whole"), world.training.ledger("killed"), strict=True):
        assert (one.published, one.trained, one.used, one.dropped) == (
            other.published, other.trained, other.used, other.dropped
        )  # fmt: skip
    assert killed.held_out == whole.held_out
    versions = [version for version in world.policy.versions if version[0] == "killed"]
    assert len(set(versions)) == len(versions)


async def test_one_active_run_and_orders_are_obeyed(world: World) -> None:
    world.worker.answer = lambda request: [completed(request)] if "/train/" not in request.request_id else []
    await world.training.start("smoke", SPEC, 1, "first")
    with pytest.raises(FailedPrecondition, match="first"):
        await world.training.start("smoke", SPEC, 1, "second")
    await world.until("first", lambda record: any("/train/" in r.request_id for r in world.worker.seen))
    world.training.pause("first")
    await world.until("first", lambda record: record.state == State.PAUSED)
    await world.training.resume("first")
    await world.until("first", lambda record: record.state == State.RUNNING and record.incarnation == 2)
    world.training.cancel("first")
    record = await world.ended("first")
    assert record.state == State.CANCELLED
    train = next(a for a in world.training.ledger("first") if a.purpose == "train")
    assert train.dropped == {"run_cancelled": train.published}
    with pytest.raises(FailedPrecondition):
        await world.training.resume("first")


async def test_a_policy_that_takes_no_weights_fails_the_run_which_can_go_on_later(world: World) -> None:
    world.policy.refuse = True
    await world.training.start("smoke", {**SPEC, "schedule.steps": "1"}, 1, "refused")
    while (record := world.store.get("refused")).state != State.FAILED:
        await asyncio.sleep(0.1)
    assert "127.0.0.1" in record.error
    world.policy.refuse = False
    await world.training.resume("refused")
    assert (await world.until("refused", lambda r: r.state == State.SUCCEEDED)).step == 1


async def test_unknown_presets_runs_and_settings_are_refused(world: World) -> None:
    with pytest.raises(NotFound):
        await world.training.start("no-such", {}, 0, "")
    with pytest.raises(InvalidArgument, match=r"spec\.overrides\[schedule\.stepz\]"):
        await world.training.start("smoke", {"schedule.stepz": "1"}, 0, "")
    with pytest.raises(InvalidArgument, match=r"spec\.overrides\[schedule\.steps\]"):
        await world.training.start("smoke", {"schedule.steps": "0"}, 0, "")
    with pytest.raises(NotFound):
        world.training.cancel("nobody")
