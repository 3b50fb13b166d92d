"""A curriculum: stages one after the other, each a run that starts from the model of the one before.

Invariant: a stage's run id is a function of the curriculum's name and the stage's place, so the same file started again
goes on where it was: what has succeeded is passed over, what was interrupted is resumed, what runs is followed.
"""

from __future__ import annotations

import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.report import print_report
from gateway.watch import watch_run

STAGES = {
    "mid": trainer_pb2.STAGE_MID_TRAINING,
    "sft": trainer_pb2.STAGE_SFT,
    "rl1": trainer_pb2.STAGE_RL1,
    "rl2": trainer_pb2.STAGE_RL2,
    "rl3": trainer_pb2.STAGE_RL3,
}
_GOES_ON = (
    trainer_pb2.RUN_STATE_PAUSED,
    trainer_pb2.RUN_STATE_FAILED,
    trainer_pb2.RUN_STATE_INTERRUPTED,
)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Table):
    stage: str = Field(pattern=f"^({'|'.join(STAGES)})$")
    # The curriculum's where absent.
    preset: str = ""
    # Dotted settings of the preset to TOML values, as `--set` takes them.
    overrides: dict[str, str] = Field(default_factory=dict, alias="set")


class Curriculum(_Table):
    name: str = Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$")
    preset: str = "laptop"
    seed: int = Field(default=0, ge=0)
    # A finished run, whose model the first stage starts from.
    start_from: str = ""
    stages: list[Stage] = Field(min_length=1, max_length=32, alias="stage")

    def run_id(self, place: int) -> str:
        return f"{self.name}-{place + 1}-{self.stages[place].stage}"


@dataclass(frozen=True)
class Finished:
    stage: Stage
    run: trainer_pb2.Run


def read_curriculum(path: Path) -> Curriculum:
    """Raises BadParameter, which names what is wrong."""
    try:
        return Curriculum.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise typer.BadParameter(f"{path} is no TOML: {error}", param_hint="--curriculum") from error
    except ValidationError as error:
        detail: Any = error.errors()[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise typer.BadParameter(f"{path}: {where}: {detail['msg']}", param_hint="--curriculum") from error


async def play(client: AnamnesisClient, curriculum: Curriculum, console: Console) -> AsyncIterator[Finished]:
    """Each stage's run when it has ended; the first one that does not succeed is the last one."""
    before = curriculum.start_from
    for place, stage in enumerate(curriculum.stages):
        run_id = curriculum.run_id(place)
        console.print(f"Stage {place + 1} of {len(curriculum.stages)}: {stage.stage}, run {run_id}", markup=False)
        run = await _started(client, curriculum, stage, run_id, before)
        if run.state != trainer_pb2.RUN_STATE_SUCCEEDED:
            run = await watch_run(client, run_id, console)
        yield Finished(stage, run)
        if run.state != trainer_pb2.RUN_STATE_SUCCEEDED:
            return
        before = run_id


async def _started(
    client: AnamnesisClient, curriculum: Curriculum, stage: Stage, run_id: str, before: str
) -> trainer_pb2.Run:
    """The same id is the same run: one that ended before its end goes on."""
    preset = stage.preset or curriculum.preset
    run = await client.start_run(
        preset,
        stage.overrides,
        seed=curriculum.seed,
        run_id=run_id,
        stage=STAGES[stage.stage],
        start_from=before,
    )
    return await client.resume_run(run_id) if run.state in _GOES_ON else run


async def play_to_the_end(client: AnamnesisClient, curriculum: Curriculum, console: Console) -> bool:
    """Prints each stage's report. Whether all of them succeeded."""
    finished = []
    async for one in play(client, curriculum, console):
        finished.append(one)
        print_report(one.run, console)
    succeeded = sum(one.run.state == trainer_pb2.RUN_STATE_SUCCEEDED for one in finished)
    console.print(f"{succeeded} of {len(curriculum.stages)} stages succeeded.", highlight=False)
    return succeeded == len(curriculum.stages)
