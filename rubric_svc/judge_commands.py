"""`anamnesis judge` and `anamnesis rubrics`: judges trained from labelled verdicts, rubrics as training data."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rubric_svc.judge.head import Head
    from rubric_svc.judge.labelled import Labelled

judge = typer.Typer(
    help="Judges trained from labelled verdicts, kept in a store from which the rubric service loads one by name.",
    no_args_is_help=True,
)
rubrics = typer.Typer(help="Rubrics as training data.", no_args_is_help=True)
Store = Annotated[Path, typer.Option(help="Directory of the trained judges.")]
_DEFAULT_STORE = Path(".anamnesis/judges")


@judge.command()
def train(
    name: Annotated[str, typer.Argument(help="Of the judge; ANAMNESIS_RUBRIC_JUDGE_NAME takes it.")],
    labels: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="JSONL of labelled verdicts; may be repeated."),
    ] = None,
    frozen: Annotated[str, typer.Option(help="The frozen deployment, which serves the features.")] = "localhost:7104",
    store: Store = _DEFAULT_STORE,
    turns: Annotated[int, typer.Option(min=1, help="The service's judge_turns.")] = 4,
) -> None:
    """Train on labelled verdicts and on the built-in constructed replies; measured on the third that is held out.

    The format of the JSONL stands in rubric_svc/judge/labelled.py. A pair's ids decide its part for good; beside
    labels the constructed replies are for training alone.
    """
    from rich.console import Console

    from rubric_svc.judge.head import save_head
    from rubric_svc.judge.labelled import Part, constructed, read

    pairs = [*constructed(Part.TRAIN if labels else None), *(pair for file in labels or () for pair in read(file))]
    head = asyncio.run(_train(name, pairs, frozen, turns))
    directory = save_head(head, store)
    console = Console()
    for key, value in head.manifest.measured.items():
        console.print(f"{key:40} {value:.3f}")
    console.print(f"{directory}: set ANAMNESIS_RUBRIC_JUDGE_STORE={store} and ANAMNESIS_RUBRIC_JUDGE_NAME={name}")


@judge.command("list")
def list_judges(store: Store = _DEFAULT_STORE) -> None:
    """The judges of a store, each checked against its digest."""
    from rubric_svc.judge.head import WrongHead, load_head

    for directory in sorted(path for path in store.glob("*") if path.is_dir()):
        try:
            manifest = load_head(store, directory.name).manifest
        except WrongHead as error:
            typer.echo(f"{directory.name}: refused: {error}", err=True)
            continue
        measured = ", ".join(f"{key} {value:.3f}" for key, value in manifest.measured.items())
        typer.echo(f"{manifest.name}: {sum(manifest.trained_on.values())} pairs; {measured}")


@rubrics.command()
def export(
    out: Annotated[Path, typer.Argument(dir_okay=False, help="The JSONL to write.")],
    cases: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Directory of the case files.")],
    seeds: Annotated[int, typer.Option(min=1, help="Rubrics of each case.")] = 1,
    tasks: Annotated[
        bool, typer.Option("--tasks", help="For RL: with the expert's criteria in place of an answer.")
    ] = False,
) -> None:
    """Prompts and rubrics for training a generator; held-out cases are left out.

    The formats stand in rubric_svc/generate/dataset.py; the trainer reads them as data.pairs and data.tasks.
    """
    import json

    from rubric_svc.case_store import CaseStore
    from rubric_svc.generate.dataset import example
    from rubric_svc.generate.templates import built_in

    store, written = CaseStore(cases), 0
    with out.open("w", encoding="utf-8") as file:
        for case_id in store.names(split="train"):
            for seed in range(seeds):
                one = example(store.get(case_id), seed, built_in(), model_criteria=4)
                line = one.task() if tasks else one.pair()
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                written += 1
    typer.echo(f"{out}: {written} rubrics")


async def _train(name: str, pairs: list[Labelled], frozen: str, turns: int) -> Head:
    from rich.progress import Progress

    from rubric_svc.inference import FrozenModel
    from rubric_svc.judge.model import ModelJudge
    from rubric_svc.judge.train import table, train_and_measure

    model = FrozenModel(frozen)
    try:
        with Progress() as progress:
            task = progress.add_task("features", total=sum(pair.met is not None for pair in pairs))
            rows = await table(pairs, ModelJudge(model, 0.5, turns, 120.0), model, lambda: progress.advance(task))
    finally:
        await model.close()
    return train_and_measure(rows, name)
