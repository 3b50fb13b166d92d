"""`anamnesis draft …`: heads for speculative decoding. Imports nothing heavy until a command runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

draft = typer.Typer(help="Draft heads for speculative decoding.", no_args_is_help=True)


@draft.command()
def train(
    model: Annotated[Path, typer.Option(help="The target's directory: the model that will be served.")] = Path(
        ".anamnesis/models/smollm2-135m-instruct"
    ),
    output: Annotated[
        Path | None, typer.Option(help="The head's directory. Default: the model's, with -eagle3 behind its name.")
    ] = None,
    prompts: Annotated[
        list[Path] | None,
        typer.Option(help='JSON lines: {"messages": [...]} or {"prompt": text}. May be repeated. Default: built in.'),
    ] = None,
    answers: Annotated[
        int, typer.Option(min=20, help="How many of its own answers to train and measure on, at most two a prompt.")
    ] = 1600,
    max_new_tokens: Annotated[int, typer.Option(min=8, help="An answer's length at most.")] = 160,
    vocabulary: Annotated[int, typer.Option(min=64, help="Size of the draft vocabulary.")] = 8192,
    epochs: Annotated[int, typer.Option(min=1)] = 6,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    seed: Annotated[int, typer.Option()] = 0,
    work_dir: Annotated[
        Path, typer.Option(help="Answers, hidden states (3.5 kB a token) and checkpoint; a second start goes on.")
    ] = Path(".anamnesis/draft"),
) -> None:
    """Train an EAGLE-3 head on the model's own answers to clinical prompts, in the form that vLLM loads."""
    # Large tensors come and go: in huge pages they cost a few page faults in place of hundreds of thousands.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    from inference_svc.draft.prompts import BadPrompts
    from inference_svc.draft.run import DraftRun, GenerationFailed, table, train_draft
    from inference_svc.draft.train import OtherPlan

    if not (model / "config.json").is_file():
        typer.echo(f"error: {model} is no model directory; anamnesis model prepare makes the laptop's", err=True)
        raise typer.Exit(1)
    target = output or model.with_name(f"{model.name}-eagle3")
    run = DraftRun(
        model=model,
        folder=work_dir / model.name,
        output=target,
        prompts=tuple(prompts or ()),
        answers=answers,
        max_new_tokens=max_new_tokens,
        vocabulary=vocabulary,
        epochs=epochs,
        threads=threads,
        seed=seed,
    )
    try:
        report = train_draft(run, _stage)
    except (BadPrompts, GenerationFailed, OtherPlan) as refused:
        typer.echo(f"error: {refused}", err=True)
        raise typer.Exit(1) from refused
    for line in table(report):
        typer.echo(line)
    typer.echo(f"head and report.json in {target}")


@contextmanager
def _stage(name: str) -> Iterator[Callable[..., None]]:
    """A progress bar with what remains; without a terminal, a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console()
    with Progress(
        TextColumn("{task.description:14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(name, total=None, note="")
        tenth = -1

        def advance(done: int, of: int, note: str = "") -> None:
            nonlocal tenth
            progress.update(task, completed=done, total=of, note=note)
            if not console.is_terminal and done * 20 // of != tenth:
                tenth = done * 20 // of
                typer.echo(f"{name}: {done} of {of}  {note}")

        yield advance
