"""`anamnesis evaluate`: benchmarks of a candidate model, judged by the frozen model or from supplied verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup


class _HealthBenchByDefault(TyperGroup):
    """`anamnesis evaluate items.jsonl` is `anamnesis evaluate healthbench items.jsonl`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["healthbench", *args]
        return super().parse_args(ctx, args)


evaluate = typer.Typer(
    cls=_HealthBenchByDefault,
    help="Benchmarks of a candidate model. Progress and tables go to stderr, scores as JSON to stdout.",
    no_args_is_help=True,
    epilog="\n\n".join(
        (
            "Examples:",
            "anamnesis evaluate healthbench items.jsonl --candidate grpc://localhost:7103 --out my-evaluation",
            "anamnesis evaluate healthbench items.jsonl --candidate http://localhost:8000/v1 --model my-model",
            "anamnesis evaluate healthbench items.jsonl --verdicts verdicts.jsonl    (no model, no judge)",
            "anamnesis evaluate compare my-evaluation another-evaluation",
        )
    ),
)


def register(app: typer.Typer) -> None:
    app.add_typer(evaluate, name="evaluate")


@evaluate.command()
def healthbench(
    data: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="HealthBench's JSONL.")],
    verdicts: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help='JSONL of {"prompt_id", "criterion_index", "verdict"}: no judge.'
        ),
    ] = None,
    candidate: Annotated[
        str, typer.Option(help="grpc://host:port of an inference service, or http(s)://host/v1 of any OpenAI API.")
    ] = "grpc://localhost:7103",
    model: Annotated[str, typer.Option(help="The model's name at an OpenAI-compatible candidate.")] = "",
    api_key: Annotated[str, typer.Option(envvar="ANAMNESIS_CANDIDATE_API_KEY", show_default=False)] = "none",
    judge: Annotated[str, typer.Option(help="The frozen deployment, whose model judges.")] = "localhost:7104",
    out: Annotated[
        Path | None,
        typer.Option(help="Keeps answers, verdicts and the report here; the same again goes on from there."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="The first so many items; 0 means all.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Length of an answer.")] = 1024,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Items at a time.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the candidate's sampling and the bootstrap.")] = 0,
    length_adjusted: Annotated[
        bool, typer.Option("--length-adjusted", help="Minus 0.0147 for every 500 characters beyond 2,000.")
    ] = False,
) -> None:
    """Score a candidate's answers by HealthBench's definition."""
    from rubric_svc.evaluate.session import Settings, evaluate_candidate, score_supplied

    if verdicts is not None:
        if length_adjusted:
            raise typer.BadParameter("supplied verdicts come without answers", param_hint="--length-adjusted")
        score_supplied(data, verdicts, out, limit=limit, seed=seed)
        return
    settings = Settings(
        candidate=candidate,
        model=model,
        judge=judge,
        max_tokens=max_tokens,
        limit=limit,
        seed=seed,
        concurrency=concurrency,
        length_adjusted=length_adjusted,
    )
    evaluate_candidate(data, settings, out or Path(f"evaluation-{data.stem}"), api_key=api_key)


@evaluate.command()
def compare(
    before: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="An evaluation's directory.")],
    after: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Another one's, over the same items.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Two candidates side by side: the paired difference and its interval."""
    from rubric_svc.evaluate.session import compare_kept

    compare_kept(before, after, seed=seed)
