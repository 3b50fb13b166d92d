"""`anamnesis train …`: start a training run, follow it, steer it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.command_line import DEFAULT_TARGET, ApiKey, Target, examples, parse_overrides, with_client

if TYPE_CHECKING:
    from anamnesis.trainer.v1 import trainer_pb2

train = typer.Typer(
    help="Training runs: start, watch, steer.",
    invoke_without_command=True,
    epilog=examples(
        "anamnesis train start --preset demo --watch",
        "anamnesis train --stage sft --preset laptop --start-from RUN",
        "anamnesis train --curriculum curriculum.toml",
        "anamnesis train start --preset laptop --set schedule.steps=40 --seed 7",
        "anamnesis train list",
        "anamnesis train watch RUN",
    ),
)

Preset = Annotated[str, typer.Option(help="A preset that ships with the trainer; each stage has its own.")]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one setting of the preset; may be repeated."),
]
Seed = Annotated[int, typer.Option(min=0)]
RunId = Annotated[str, typer.Option(help="Chosen by the trainer where absent.", show_default=False)]
StartFrom = Annotated[
    str, typer.Option(metavar="RUN", help="Start from the model of this run, which succeeded.", show_default=False)
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id: `anamnesis train list`.")]


class Stage(StrEnum):
    """In the order in which a model goes through them."""

    MID_TRAINING = "mid"
    SFT = "sft"
    RL1 = "rl1"
    RL2 = "rl2"
    RL3 = "rl3"


@train.callback()
def stage_or_curriculum(
    context: typer.Context,
    stage: Annotated[Stage | None, typer.Option(help="Run this stage and follow it to its end.")] = None,
    curriculum: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Run the stages of this TOML file; again, it goes on."),
    ] = None,
    preset: Preset = "laptop",
    setting: Setting = None,
    seed: Seed = 0,
    run_id: RunId = "",
    start_from: StartFrom = "",
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
) -> None:
    if context.invoked_subcommand is not None:
        return
    if (stage is None) == (curriculum is None):
        typer.echo(context.get_help())
        raise typer.Exit(2 if stage else 0)
    if stage is not None:
        _watch(_start(preset, setting, seed, run_id, stage, start_from, target, api_key), target, api_key)
        return
    from rich.console import Console

    from gateway.curriculum import play_to_the_end, read_curriculum

    assert curriculum is not None
    plan = read_curriculum(curriculum)
    if not with_client(target, api_key, lambda client: play_to_the_end(client, plan, Console())):
        raise typer.Exit(1)


@train.command(
    epilog=examples(
        "anamnesis train start --preset demo --watch",
        "anamnesis train start --preset laptop --set schedule.steps=40 --set optimizer.learning_rate=1e-4",
        "anamnesis train start --run-id nightly-7    (the same id again is the same run)",
    )
)
def start(
    preset: Preset = "demo",
    stage: Annotated[Stage, typer.Option(help="Which stage; its presets are its own.")] = Stage.RL3,
    setting: Setting = None,
    seed: Seed = 0,
    run_id: RunId = "",
    start_from: StartFrom = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
) -> None:
    """Start a run. It goes on when this command ends."""
    started = _start(preset, setting, seed, run_id, stage, start_from, target, api_key)
    if watch:
        _watch(started, target, api_key)


@train.command("watch", epilog=examples("anamnesis train watch RUN", "anamnesis train watch RUN | tee run.log"))
def watch_command(run: Run, target: Target = DEFAULT_TARGET, api_key: ApiKey = None) -> None:
    """Follow a run to its end, then say what it came to. Exit code 0 if it succeeded; Ctrl-C leaves the run alone."""
    _watch(run, target, api_key)


@train.command(epilog=examples("anamnesis train show RUN"))
def show(run: Run, target: Target = DEFAULT_TARGET, api_key: ApiKey = None) -> None:
    """What a run came to: held-out reward before and after, ledger, plots, checkpoint."""
    from rich.console import Console

    from gateway.report import print_report

    print_report(with_client(target, api_key, lambda client: client.get_run(run)), Console())


@train.command("list", epilog=examples("anamnesis train list --limit 5"))
def list_command(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 20,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
) -> None:
    """The runs of the trainer."""
    from rich.console import Console

    from gateway.report import runs_table

    runs, more = with_client(target, api_key, lambda client: client.list_runs(page_size=limit))
    Console().print(runs_table(runs) if runs else "No runs yet. Start one: anamnesis train start --preset demo --watch")
    if more:
        typer.echo("There are more: raise --limit.")


@train.command(epilog=examples("anamnesis train pause RUN"))
def pause(run: Run, target: Target = DEFAULT_TARGET, api_key: ApiKey = None) -> None:
    """Hold a run after the step under way."""
    _say_state(with_client(target, api_key, lambda client: client.pause_run(run)))


@train.command(epilog=examples("anamnesis train resume RUN"))
def resume(run: Run, target: Target = DEFAULT_TARGET, api_key: ApiKey = None) -> None:
    """Go on with a paused or interrupted run from its last checkpoint."""
    _say_state(with_client(target, api_key, lambda client: client.resume_run(run)))


@train.command(epilog=examples("anamnesis train cancel RUN"))
def cancel(run: Run, target: Target = DEFAULT_TARGET, api_key: ApiKey = None) -> None:
    """End a run for good."""
    _say_state(with_client(target, api_key, lambda client: client.cancel_run(run)))


def _start(
    preset: str,
    setting: list[str] | None,
    seed: int,
    run_id: str,
    stage: Stage,
    start_from: str,
    target: str,
    api_key: str | None,
) -> str:
    from gateway.curriculum import STAGES

    overrides = parse_overrides(setting or [])
    run = with_client(
        target,
        api_key,
        lambda client: client.start_run(
            preset, overrides, seed=seed, run_id=run_id, stage=STAGES[stage.value], start_from=start_from
        ),
    )
    typer.echo(run.run_id)
    return run.run_id


def _watch(run_id: str, target: str, api_key: str | None) -> None:
    from rich.console import Console

    from anamnesis.trainer.v1 import trainer_pb2
    from gateway.report import print_report
    from gateway.watch import watch_run

    console = Console()
    run = with_client(target, api_key, lambda client: watch_run(client, run_id, console))
    print_report(run, console)
    if run.state != trainer_pb2.RUN_STATE_SUCCEEDED:
        raise typer.Exit(1)


def _say_state(run: trainer_pb2.Run) -> None:
    from gateway.watch import state_name

    typer.echo(f"{run.run_id}: {state_name(run.state)}")
