"""Stages over a real broker, in real processes, on a tiny model: each starts from the last one's model."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anamnesis.common.v1 import rollout_pb2
from service_kit.errors import FailedPrecondition
from tests.integration.trainer_svc.trainer_world import World, completed
from trainer_svc.records.runs import RunRecord, State

TEXTS, TASKS = 60, 40
MID = {
    "data.medical": '["jsonl:medical.jsonl"]',
    "data.general": '["jsonl:general.jsonl"]',
    "data.maths": '["jsonl:maths.jsonl"]',
    "data.general_probe": '["jsonl:general.jsonl"]',
    "evaluation.gsm8k": "0",
    "evaluation.ifeval": "2",
    "evaluation.perplexity_tokens": "64",
    "supervised.row_tokens": "16",
    "supervised.checkpoint_steps": "2",
    "schedule.steps": "6",
    "optimizer.learning_rate": "0.01",
}
SFT = {
    "data.tasks": '["tasks:tasks.jsonl"]',
    "evaluation.tasks": "4",
    "selection.pool": "12",
    "selection.tasks": "12",
    "selection.candidates": "2",
    "selection.passes_at": "0.5",
    "schedule.steps": "3",
}
PAIRS = {
    "data.pairs": '["pairs:pairs.jsonl"]',
    "data.tasks": "[]",
    "evaluation.perplexity_tokens": "64",
    "supervised.row_tokens": "16",
    "schedule.steps": "12",
    "optimizer.learning_rate": "0.02",
}
RL1 = {
    "data.tasks": '["tasks:tasks.jsonl"]',
    "evaluation.tasks": "2",
    "selection.passes_at": "0.5",
    "schedule.steps": "1",
    "schedule.group_size": "3",
}


@pytest.fixture
async def world(broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    data = tmp_path / "data"
    data.mkdir()
    for kind in ("medical", "general", "maths"):
        lines = [json.dumps({"id": f"{kind}/{n}", "text": f"w{2 + n % 30}"}) for n in range(TEXTS)]
        (data / f"{kind}.jsonl").write_text("\n".join(lines))
    check = {"criterion": "Right.", "points": 1, "matcher": "answers_number", "terms": ["4"]}
    pairs = [{"id": f"p{n}", "prompt": f"w{2 + n % 30}", "answer": f"w{2 + n % 3} w7"} for n in range(TEXTS)]
    pairs += [{"id": f"long{n}", "prompt": "w2", "answer": "w3 " * 40} for n in range(5)]
    (data / "pairs.jsonl").write_text("\n".join(json.dumps(pair) for pair in pairs))
    lines = [
        json.dumps({
            "task_id": f"t{n}",
            "skill": ("knowledge", "reasoning")[n % 2],
            "prompt": f"w{2 + n % 30}",
            "rubrics": [check],
            "reference": "w4",
        })
        for n in range(TASKS)
    ]  # fmt: skip
    (data / "tasks.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("ANAMNESIS_TRAINER_DATA", str(data))
    monkeypatch.setenv("ANAMNESIS_TRAINER_EMBEDDER", str(tmp_path / "no-such-model"))
    world = World(tmp_path, broker)
    world.worker.answer = lambda request: [_single_turn(request)]
    yield world
    await world.close()


def _single_turn(request: rollout_pb2.RolloutRequest) -> rollout_pb2.Trajectory:
    """A finished answer: its last token is the end."""
    trajectory = completed(request)
    if request.kind == rollout_pb2.ROLLOUT_KIND_PROMPT:
        trajectory.segments[-1].token_ids[-1] = 1
        del trajectory.dialogue.messages[-1]
        trajectory.dialogue.messages.add(role=3, content="The answer is 4.")
    return trajectory


def stage_of(world: World, record: RunRecord) -> dict[str, object]:
    summary = world.settings.run_directory(record.run_id) / "report" / "summary.json"
    stage: dict[str, object] = json.loads(summary.read_text())["stage"]
    return stage


@pytest.mark.slow
async def test_mid_training_goes_on_after_a_pause_as_if_there_had_been_none(world: World) -> None:
    await world.training.start("smoke", MID, 3, "whole", "mid")
    whole = await world.ended("whole")
    assert (whole.state, whole.error, whole.step) == (State.SUCCEEDED, "", 6)
    assert whole.general["perplexity_medical"]["after"] < whole.general["perplexity_medical"]["before"]
    notices = [e.payload["notice"] for e in world.store.events_after("whole", 0) if e.kind == "notice"]
    assert any(notice.startswith("ifeval is not measured") for notice in notices)
    assert world.policy.versions[0] == ("whole", 1, 0) and world.policy.versions[-1] == ("whole", 1, 6)

    await world.training.start("smoke", MID, 3, "paused", "mid")
    await world.until("paused", lambda record: len(world.store.events_after("paused", 0)) >= 6)
    world.training.pause("paused")
    await world.until("paused", lambda record: record.state in (State.PAUSED, State.SUCCEEDED))
    if world.store.get("paused").state == State.PAUSED:
        await world.training.resume("paused")
    assert (await world.ended("paused")).state == State.SUCCEEDED
    one, other = world.tensors("whole"), world.tensors("paused")
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    steps = [e.payload["step"] for e in world.store.events_after("paused", 0) if e.kind == "step"]
    assert steps == [1, 2, 3, 4, 5, 6]


async def test_sft_samples_selects_and_hands_on_what_rl_then_starts_with(world: World) -> None:
    await world.training.start("smoke", SFT, 3, "sft", "sft")
    sft = await world.ended("sft")
    assert (sft.state, sft.error) == (State.SUCCEEDED, "")
    accounts = {account.purpose: account for account in world.training.ledger("sft")}
    assert accounts["sample"].used == 24 and all(account.balances() for account in accounts.values())
    assert sft.held_out is not None and sft.held_out["count"] == 4
    fates = stage_of(world, sft)["fates"]
    assert isinstance(fates, dict) and sum(fates.values()) == 12 and fates["best_kept"] > 0 and fates["to_rl"] > 0
    data = world.settings.run_directory("sft") / "data"
    handed = [json.loads(line) for line in (data / "rl_tasks.jsonl").read_text().splitlines()]
    assert len(handed) == fates["to_rl"] and {task["skill"] for task in handed} == {"reasoning"}

    with pytest.raises(FailedPrecondition):
        await world.training.start("smoke", RL1, 3, "sft", "rl1")
    await world.training.start("smoke", RL1 | {"selection.tasks": str(len(handed))}, 3, "rl1", "rl1", "sft")
    rl1 = await world.ended("rl1")
    assert (rl1.state, rl1.error) == (State.SUCCEEDED, "")
    asked = {r.context.prompt.rubric.rubric_id for r in world.worker.seen if r.run_id == "rl1" and r.purpose == 4}
    assert asked == {task["task_id"] for task in handed}
    difficulty = stage_of(world, rl1)["difficulty"]
    assert isinstance(difficulty, dict) and difficulty["asked"] == sum(difficulty.values()) - difficulty["asked"]

    began = load_file(world.settings.run_directory("sft") / "model" / "model.safetensors")
    first = load_file(world.settings.model_path() / "model.safetensors")
    assert began.keys() == first.keys() and any(not torch.equal(began[name], first[name]) for name in first)


async def test_sft_on_supplied_pairs_asks_nobody_and_lowers_the_loss_of_held_out_ones(world: World) -> None:
    await world.training.start("smoke", PAIRS, 3, "pairs", "sft")
    run = await world.ended("pairs")
    assert (run.state, run.error, run.step) == (State.SUCCEEDED, "", 12)
    change = run.general["perplexity_pairs"]
    assert change["after"] < 0.7 * change["before"]
    counts = stage_of(world, run)["pairs"]
    assert isinstance(counts, dict) and counts["supplied"] < TEXTS and 0 < counts["too_long"] <= 5
    assert not [request for request in world.worker.seen if request.run_id == "pairs"]
    learned = (world.settings.run_directory("pairs") / "data" / "sft.jsonl").read_text().splitlines()
    assert len(learned) == counts["supplied"] and {json.loads(one)["fate"] for one in learned} == {"supplied"}

    await world.training.start("smoke", PAIRS | SFT, 3, "both", "sft")
    both = await world.ended("both")
    assert (both.state, both.error) == (State.SUCCEEDED, "")
    learned = (world.settings.run_directory("both") / "data" / "sft.jsonl").read_text().splitlines()
    fates = [json.loads(one)["fate"] for one in learned]
    assert fates.count("supplied") == counts["supplied"] and fates.count("best_kept") > 0


async def test_data_that_are_missing_end_the_run_and_are_named(world: World) -> None:
    overrides = MID | {"data.maths": '["jsonl:no-such.jsonl"]'}
    await world.training.start("smoke", overrides, 3, "missing", "mid")
    with pytest.raises(AssertionError, match=r"no-such\.jsonl"):
        await world.until("missing", lambda record: record.state in (State.SUCCEEDED,))
    with pytest.raises(FailedPrecondition, match="no model to start from"):
        await world.training.start("smoke", MID, 3, "next", "mid", "missing")
