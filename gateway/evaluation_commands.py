"""`anamnesis evaluations …`: benchmarks that the stack plays by itself, and what they came to."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.command_line import DEFAULT_TARGET, ApiKey, Target, examples, with_client

if TYPE_CHECKING:
    from anamnesis.rubric.v1 import evaluation_pb2
    from gateway.client import AnamnesisClient

evaluations = typer.Typer(
    help="Evaluations that run on the stack: start, show, watch.",
    no_args_is_help=True,
    epilog=examples(
        "anamnesis evaluations start osce --limit 24 --watch",
        "anamnesis evaluations show EVALUATION",
        "anamnesis evaluate --help    (the same benchmarks from this machine, with any candidate)",
    ),
)
Evaluation = Annotated[str, typer.Argument(metavar="EVALUATION", help="The id that `start` printed.")]
BENCHMARKS = ("healthbench", "osce")


@evaluations.command(epilog=examples("anamnesis evaluations start osce --limit 24 --watch"))
def start(
    benchmark: Annotated[str, typer.Argument(help="osce, or healthbench where the service has its data.")],
    candidate: Annotated[str, typer.Option(help="One that the rubric service is set up with.")] = "policy",
    limit: Annotated[int, typer.Option(min=0, help="Patients or items; 0 means the service's own number.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it to its end.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key: ApiKey = None,
) -> None:
    """Start an evaluation. It goes on when this command ends."""
    if benchmark not in BENCHMARKS:
        raise typer.BadParameter(f"one of {', '.join(BENCHMARKS)}", param_hint="BENCHMARK")
    from anamnesis.rubric.v1 import evaluation_pb2

    spec = evaluation_pb2.EvaluationSpec(
        benchmark=evaluation_pb2.Benchmark.Value(f"BENCHMARK_{benchmark.upper()}"),
        candidate=candidate,
        limit=limit,
        seed=seed,
    )
    started = with_client(target, api_key, lambda client: client.start_evaluation(spec))
    typer.echo(started.evaluation_id)
    if watch:
        _watch(started.evaluation_id, target, api_key)


@evaluations.command(epilog=examples("anamnesis evaluations show EVALUATION"))
def show(evaluation: Evaluation, target: Target = DEFAULT_TARGET, api_key: ApiKey = None) -> None:
    """What an evaluation has come to."""
    _print(with_client(target, api_key, lambda client: client.get_evaluation(evaluation)))


@evaluations.command("watch", epilog=examples("anamnesis evaluations watch EVALUATION"))
def watch_command(evaluation: Evaluation, target: Target = DEFAULT_TARGET, api_key: ApiKey = None) -> None:
    """Follow an evaluation to its end. Exit code 0 if it succeeded; Ctrl-C leaves it alone."""
    _watch(evaluation, target, api_key)


def _watch(evaluation_id: str, target: str, api_key: str | None) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from anamnesis.rubric.v1 import evaluation_pb2

    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

    async def follow(client: AnamnesisClient) -> evaluation_pb2.Evaluation:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=None)
            async with aclosing(client.watch_evaluation(evaluation_id)) as changes:
                async for change in changes:
                    bar.update(task, completed=change.done, total=change.total or None)
        return await client.get_evaluation(evaluation_id)

    ended = with_client(target, api_key, follow)
    _print(ended)
    if ended.state != evaluation_pb2.EVALUATION_STATE_SUCCEEDED:
        raise typer.Exit(1)


def _print(evaluation: evaluation_pb2.Evaluation) -> None:
    from rich.console import Console
    from rich.table import Table

    from anamnesis.rubric.v1 import evaluation_pb2

    state = evaluation_pb2.EvaluationState.Name(evaluation.state).removeprefix("EVALUATION_STATE_").lower()
    console = Console()
    console.print(f"{evaluation.evaluation_id}: {state}, {evaluation.done} of {evaluation.total}", highlight=False)
    if evaluation.error:
        console.print(f"error: {evaluation.error}", highlight=False)
    if not evaluation.means:
        return
    table = Table("", "score", "standard error", "n")
    for mean in evaluation.means:
        table.add_row(mean.name, f"{mean.value:.3f}", f"{mean.standard_error:.3f}", str(mean.count))
    console.print(table)
    for reason, count in sorted(evaluation.unplayed.items()):
        console.print(f"not played: {reason} {count}", highlight=False)
    if evaluation.ungraded:
        console.print(f"{evaluation.ungraded} criteria ungraded, in neither sum", highlight=False)
