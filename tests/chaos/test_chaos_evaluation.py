"""The judge's engine is killed in mid-evaluation: the run goes on, and taken up again it comes to the same verdicts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rubric_svc.evaluate.candidate import Sampling, open_candidate
from rubric_svc.evaluate.healthbench import parse_item
from rubric_svc.evaluate.healthbench_task import HealthBenchTask
from rubric_svc.evaluate.journal import Journal
from rubric_svc.evaluate.run import Evaluation, Reported
from rubric_svc.inference import FrozenModel
from rubric_svc.judge.model import ModelJudge
from rubric_svc.judge.panel import Panel
from rubric_svc.model import Outcome

if TYPE_CHECKING:
    from tests.conftest import RunningStack

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]
ITEMS = 8
KILLED_AFTER = 3
# Probabilities differ a little with what else is in the batch; a verdict this near the threshold may fall either way.
NEAR = 0.03
THRESHOLD = 0.5
COMPLAINTS = ("a cough", "a rash", "a headache", "back pain", "a fever", "tiredness", "a sore throat", "dizziness")


def _tasks() -> list[HealthBenchTask]:
    rubrics = [
        {"criterion": text, "points": points, "tags": ["axis:completeness"]}
        for text, points in (("Asks how long it has lasted.", 5), ("Advises rest.", 3), ("Is rude.", -6))
    ]
    rows = [
        {
            "prompt_id": f"item-{number}",
            "prompt": [{"role": "user", "content": f"I have had {complaint} for some days. What should I do?"}],
            "example_tags": ["theme:context_seeking"],
            "rubrics": rubrics,
        }
        for number, complaint in enumerate(COMPLAINTS)
    ]
    return [HealthBenchTask(parse_item(json.dumps(row)), void_share=0.3) for row in rows]


async def _evaluate(stack: RunningStack, directory: Path, kill_after: int | None = None) -> list[Reported]:
    candidate = open_candidate(f"grpc://{stack.targets['inference-policy']}", "", "", Sampling(max_tokens=24))
    frozen = FrozenModel(stack.targets["inference-frozen"])
    done = asyncio.Event()

    def progress(finished: int, total: int) -> None:
        if kill_after is not None and finished >= kill_after:
            done.set()

    judge = Panel(ModelJudge(frozen, THRESHOLD, turns=4, limit_seconds=20.0))
    journal = Journal(directory, {"benchmark": "healthbench"})
    evaluation = Evaluation(_tasks(), candidate, judge, journal, 1, progress)
    try:
        running = asyncio.create_task(evaluation.run())
        if kill_after is not None:
            await done.wait()
            await asyncio.to_thread(stack.kill, "inference-frozen")
        await running
    finally:
        await candidate.close()
        await frozen.close()
    assert not evaluation.unplayed
    return evaluation.reported()


async def test_an_evaluation_whose_judge_died_is_taken_up_to_the_same_verdicts(
    stack: RunningStack, tmp_path: Path
) -> None:
    whole = await _evaluate(stack, tmp_path / "whole")
    try:
        cut = await _evaluate(stack, tmp_path / "cut", kill_after=KILLED_AFTER)
    finally:
        await asyncio.to_thread(stack.restart, "inference-frozen")
    ungraded = [one for one in cut if one.example.ungraded]
    assert 0 < len(ungraded) <= ITEMS - KILLED_AFTER
    assert all(one.example.value is None for one in ungraded), "an item that nobody judged has no score"
    resumed = await _evaluate(stack, tmp_path / "cut")
    assert [one.dialogue for one in resumed] == [one.dialogue for one in cut], "no answer is asked for twice"
    for before, after in zip(whole, resumed, strict=True):
        for expected, found in zip(before.example.verdicts, after.example.verdicts, strict=True):
            assert found.outcome is not Outcome.UNGRADED
            if before.dialogue == after.dialogue and abs(expected.probability - THRESHOLD) > NEAR:
                assert found.outcome is expected.outcome
