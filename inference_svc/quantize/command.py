"""`anamnesis quantize`. Imports nothing heavy until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inference_svc.quantize.recipes import Recipe, Refused
from inference_svc.quantize.texts import BUILT_IN, TooLittleText


def quantize(
    recipe: Annotated[Recipe, typer.Argument(help="What to make of the weights.")],
    model: Annotated[Path, typer.Option(help="The model's directory.")] = Path(
        ".anamnesis/models/smollm2-135m-instruct"
    ),
    output: Annotated[Path | None, typer.Option(help="Default: the model's, with the recipe behind its name.")] = None,
    dialogues: Annotated[Path, typer.Option(help="Clinical dialogues, parted by empty lines.")] = BUILT_IN,
    held_out: Annotated[
        Path | None, typer.Option(help="Text to measure on, likewise. Default: every third dialogue.")
    ] = None,
    iterations: Annotated[int, typer.Option(min=1, help="AutoRound's steps a layer.")] = 200,
    blocks: Annotated[int, typer.Option(min=1, help="Blocks of 256 tokens to calibrate with.")] = 128,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    seed: Annotated[int, typer.Option()] = 0,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="For another machine: nothing is refused, and nothing measured.")
    ] = False,
    work_dir: Annotated[Path, typer.Option(help="The model's own answers, shared with draft train.")] = Path(
        ".anamnesis/draft"
    ),
    environment: Annotated[Path, typer.Option(help="Where the tools are; `make quantize-tools` sets them up.")] = Path(
        ".venv-quantize"
    ),
) -> None:
    """Make a smaller model directory that vLLM serves, and report what it costs: perplexity, KL, agreement, speed."""
    import os

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from inference_svc.draft.run import GenerationFailed
    from inference_svc.quantize.compare import markdown
    from inference_svc.quantize.run import QuantizeRun, ToolFailed, ToolMissing
    from inference_svc.quantize.run import quantize as run_quantization

    if not (model / "config.json").is_file():
        typer.echo(f"error: {model} is no model directory; anamnesis model prepare makes the laptop's", err=True)
        raise typer.Exit(1)
    target = output or model.with_name(f"{model.name}-{recipe}")
    run = QuantizeRun(
        recipe=recipe,
        model=model,
        output=target,
        work_folder=work_dir / model.name,
        dialogues=dialogues,
        held_out=held_out,
        environment=environment,
        iterations=iterations,
        blocks=blocks,
        threads=threads,
        seed=seed,
        elsewhere=elsewhere,
    )
    try:
        report = run_quantization(run, typer.echo)
    except (Refused, ToolMissing, ToolFailed, GenerationFailed, TooLittleText) as failed:
        typer.echo(f"error: {failed}", err=True)
        raise typer.Exit(1) from failed
    if report is not None:
        typer.echo(markdown(report))
    typer.echo(f"model directory: {target}")
