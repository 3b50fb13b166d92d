"""A curriculum chains its stages, goes on where it was, and stops at a stage that failed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from anamnesis.trainer.v1 import trainer_pb2
from gateway import curriculum
from gateway.curriculum import Curriculum, play, read_curriculum

SUCCEEDED, FAILED = trainer_pb2.RUN_STATE_SUCCEEDED, trainer_pb2.RUN_STATE_FAILED
FILE = """
name = "ward"
preset = "smoke"
seed = 3

[[stage]]
stage = "mid"

[[stage]]
stage = "sft"
preset = "laptop"
set = { "schedule.steps" = "4" }

[[stage]]
stage = "rl1"
"""


class Trainer:
    """Ends each run as told; a run that is there already is given back as it ended."""

    def __init__(self, ends: dict[str, trainer_pb2.RunState.ValueType]) -> None:
        self.ends = ends
        self.known: dict[str, trainer_pb2.RunState.ValueType] = {}
        self.started: list[tuple[str, str, dict[str, str], int, int, str]] = []
        self.resumed: list[str] = []

    async def start_run(self, preset: str, overrides: Any, **spec: Any) -> trainer_pb2.Run:
        run_id = spec["run_id"]
        self.started.append((run_id, preset, dict(overrides), spec["seed"], spec["stage"], spec["start_from"]))
        state = self.known.get(run_id, trainer_pb2.RUN_STATE_STARTING)
        return trainer_pb2.Run(run_id=run_id, state=state)

    async def resume_run(self, run_id: str) -> trainer_pb2.Run:
        self.resumed.append(run_id)
        return trainer_pb2.Run(run_id=run_id, state=trainer_pb2.RUN_STATE_RUNNING)

    async def watch(self, client: Any, run_id: str, console: Console) -> trainer_pb2.Run:
        self.known[run_id] = self.ends[run_id]
        return trainer_pb2.Run(run_id=run_id, state=self.known[run_id])


def played(trainer: Trainer, plan: Curriculum) -> list[int]:
    async def states() -> list[int]:
        return [one.run.state async for one in play(trainer, plan, Console(quiet=True))]  # type: ignore[arg-type]

    return asyncio.run(states())


@pytest.fixture
def plan(tmp_path: Path) -> Curriculum:
    (tmp_path / "ward.toml").write_text(FILE)
    return read_curriculum(tmp_path / "ward.toml")


def test_each_stage_starts_from_the_run_before(plan: Curriculum, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer({"ward-1-mid": SUCCEEDED, "ward-2-sft": SUCCEEDED, "ward-3-rl1": SUCCEEDED})
    monkeypatch.setattr(curriculum, "watch_run", trainer.watch)
    assert played(trainer, plan) == [SUCCEEDED] * 3
    assert trainer.started == [
        ("ward-1-mid", "smoke", {}, 3, trainer_pb2.STAGE_MID_TRAINING, ""),
        ("ward-2-sft", "laptop", {"schedule.steps": "4"}, 3, trainer_pb2.STAGE_SFT, "ward-1-mid"),
        ("ward-3-rl1", "smoke", {}, 3, trainer_pb2.STAGE_RL1, "ward-2-sft"),
    ]


def test_a_stage_that_fails_is_the_last_and_started_again_it_goes_on(
    plan: Curriculum, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer({"ward-1-mid": SUCCEEDED, "ward-2-sft": FAILED, "ward-3-rl1": SUCCEEDED})
    monkeypatch.setattr(curriculum, "watch_run", trainer.watch)
    assert played(trainer, plan) == [SUCCEEDED, FAILED]
    trainer.ends["ward-2-sft"] = SUCCEEDED
    assert played(trainer, plan) == [SUCCEEDED] * 3
    assert trainer.resumed == ["ward-2-sft"]


@pytest.mark.parametrize(
    "text, said",
    [
        ("name = ", "no TOML"),
        ('name = "ward"', "stage"),
        ('name = "ward"\n[[stage]]\nstage = "rl4"', "stage.0.stage"),
        ('name = "Ward 7"\n[[stage]]\nstage = "sft"', "name"),
        ('name = "ward"\nsteps = 3\n[[stage]]\nstage = "sft"', "steps"),
    ],
)
def test_a_wrong_file_is_refused_by_what_is_wrong_in_it(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(typer.BadParameter, match=said):
        read_curriculum(tmp_path / "wrong.toml")
