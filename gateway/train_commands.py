"""`anamnesis train …`: start a training run, follow it, steer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.command_line import DEFAULT_TARGET, ApiKey, Target, examples, parse_overrides, with_client

if TYPE_CHECKING:
    from anamnesis.trainer.v1 import trainer_pb2

train = typer.Typer(
    help="Training runs: start, watch, steer.",
    no_args_is_help=True,
    epilog=examples(
        "anamnesis train start --preset demo --watch",
        "anamnesis train start --preset laptop --set schedule.steps=40 --seed 7",
        "anamnesis train list",
        "anamnesis train watch RUN",
    ),
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="The run's id: `anamnesis train list`.")]


@train.command(
    epilog=examples(
        "anamnesis train start --preset demo --watch",
        "anamnesis train start --preset laptop --set schedule.steps=40 --set optimizer.learning_rate=1e-4",
        "anamnesis train start --run-id nightly-7    (the same id again is the same run)",
    )
)
def start(
    preset: Annotated[str, typer.Option(help="A preset that ships with the trainer.")] = "demo",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change one setting of the preset; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    run_id: Annotated[str, typer.Option(help="Chosen by the trainer where absent.", show_default=False)] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
) -> None:
    """Start a run. It goes on when this command ends."""
    overrides = parse_overrides(setting or [])
    run = with_client(target, api_key, lambda client: client.start_run(preset, overrides, seed=seed, run_id=run_id))
    typer.echo(run.run_id)
    if watch:
        _watch(run.run_id, target, api_key)


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
