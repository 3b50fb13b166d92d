"""What the rubric service exports for training is what the trainer reads, and what comes back is scored as exported."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import protovalidate
from typer.testing import CliRunner

from rubric_svc import mapping
from rubric_svc.judge_commands import rubrics
from rubric_svc.rubric_score import score_rubric
from trainer_svc.flow.tasks import Task
from trainer_svc.stages.sources import Pair, read_pairs, read_tasks

CASES = Path(__file__).parents[2] / "simulator_svc" / "cases" / "data"


class Alone:
    """Embeds each text as like itself alone."""

    async def embed(self, texts: Sequence[str], limit_seconds: float) -> list[list[float]]:
        places = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:2]) % 8192 for text in texts]
        return [[float(i == place) for i in range(8192)] for place in places]


def exported(directory: Path) -> tuple[list[Pair], list[Task]]:
    for name, options in (("pairs", []), ("tasks", ["--tasks"])):
        result = CliRunner().invoke(rubrics, [str(directory / f"{name}.jsonl"), "--cases", str(CASES), *options])
        assert result.exit_code == 0, result.output
    pairs = read_pairs(directory, ("pairs:pairs.jsonl",), 20)
    tasks = read_tasks(directory, ("tasks:tasks.jsonl",), 20)
    assert pairs.held_out and len(pairs.held_out) == len(tasks.held_out)
    return [*pairs.train, *pairs.held_out], [*tasks.train, *tasks.held_out]


async def test_the_exported_answer_to_an_exported_task_is_worth_most_and_another_cases_less(tmp_path: Path) -> None:
    pairs, tasks = exported(tmp_path)
    assert [pair.pair_id for pair in pairs] == [task.task_id for task in tasks]
    for index, task in enumerate(tasks):
        context = task.context()
        protovalidate.validate(context)
        expert = mapping.rubric_from_proto(context.expert, "expert")
        own = await score_rubric(pairs[index].answer, expert, Alone(), 1.0)
        other = await score_rubric(pairs[index - 1].answer, expert, Alone(), 1.0)
        assert own.value == 1 > other.value and not own.void
        assert (await score_rubric(pairs[index].prompt, expert, Alone(), 1.0)).value == 0
