"""`anamnesis evaluate`, and what judge_commands.py holds.

Benchmarks of a candidate model, judged by the frozen model or from supplied verdicts; judges that are trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rubric_svc.judge_commands import judge, rubrics


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
            "anamnesis evaluate osce --patients 24    (the policy interviews held-out patients; needs `make up`)",
            "anamnesis evaluate compare my-evaluation another-evaluation",
        )
    ),
)


def register(app: typer.Typer) -> None:
    app.add_typer(evaluate, name="evaluate")
    app.add_typer(judge, name="judge")
    app.add_typer(rubrics, name="rubrics")


Candidate = Annotated[
    str, typer.Option(help="grpc://host:port of an inference service, or http(s)://host/v1 of any OpenAI API.")
]
Model = Annotated[str, typer.Option(help="The model's name at an OpenAI-compatible candidate.")]
ApiKey = Annotated[str, typer.Option(envvar="ANAMNESIS_CANDIDATE_API_KEY", show_default=False)]
Judge = Annotated[str, typer.Option(help="The frozen deployment, whose model judges.")]
Out = Annotated[
    Path | None, typer.Option(help="Keeps answers, verdicts and the report here; the same again goes on from there.")
]
Concurrency = Annotated[int, typer.Option(min=1, max=256, help="So many at a time.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the candidate's sampling, the patients and the bootstrap.")]
THE_POLICY, THE_FROZEN = "grpc://localhost:7103", "localhost:7104"


@evaluate.command()
def healthbench(
    data: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="HealthBench's JSONL.")],
    verdicts: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help='JSONL of {"prompt_id", "criterion_index", "verdict"}, for a judge.'
        ),
    ] = None,
    candidate: Candidate = THE_POLICY,
    model: Model = "",
    api_key: ApiKey = "none",
    judge: Judge = THE_FROZEN,
    out: Out = None,
    limit: Annotated[int, typer.Option(min=0, help="The first so many items; 0 means all.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Length of an answer.")] = 1024,
    concurrency: Concurrency = 8,
    seed: Seed = 0,
    length_adjusted: Annotated[
        bool, typer.Option("--length-adjusted", help="Minus 0.0147 for every 500 characters beyond 2,000.")
    ] = False,
) -> None:
    """Score a candidate's answers by HealthBench's definition."""
    from rubric_svc.evaluate.session import Settings, evaluate_healthbench, score_supplied

    if verdicts is not None:
        if length_adjusted:
            raise typer.BadParameter("supplied verdicts come without answers", param_hint="--length-adjusted")
        score_supplied(data, verdicts, out, limit=limit, seed=seed)
        return
    settings = Settings(candidate, model, judge, max_tokens, seed, concurrency)
    directory = out or Path(f"evaluation-{data.stem}")
    evaluate_healthbench(data, settings, directory, api_key=api_key, limit=limit, length_adjusted=length_adjusted)


@evaluate.command()
def osce(
    patients: Annotated[int, typer.Option(min=1, max=10000, help="Interviews, over the held-out cases.")] = 24,
    candidate: Candidate = THE_POLICY,
    model: Model = "",
    api_key: ApiKey = "none",
    judge: Judge = THE_FROZEN,
    simulator: Annotated[str, typer.Option(help="Where the patients are.")] = "localhost:7101",
    out: Out = None,
    max_turns: Annotated[int, typer.Option(min=1, max=64, help="Doctor turns of an interview.")] = 10,
    max_tokens: Annotated[int, typer.Option(min=1, max=32768, help="Length of a doctor's turn.")] = 160,
    concurrency: Concurrency = 8,
    seed: Seed = 0,
) -> None:
    """The candidate interviews patients; history, examination, tests, diagnosis, treatment and safety are scored."""
    from rubric_svc.evaluate.session import Settings, evaluate_osce

    settings = Settings(candidate, model, judge, max_tokens, seed, concurrency)
    directory = out or Path("evaluation-osce")
    evaluate_osce(simulator, settings, directory, api_key=api_key, count=patients, most_turns=max_turns)


@evaluate.command()
def compare(
    before: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="An evaluation's directory.")],
    after: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Another one's, over the same items.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Two candidates side by side: the paired difference and its interval."""
    from rubric_svc.evaluate.session import compare_kept

    compare_kept(before, after, seed=seed)
