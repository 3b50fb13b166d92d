"""`anamnesis model …`, `draft …` and `quantize`: work on local model files.

Nothing heavy is imported until a command runs.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from inference_svc.draft.command import draft
from inference_svc.quantize.command import quantize

model = typer.Typer(help="Local model files.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(model, name="model")
    app.add_typer(draft, name="draft")
    app.command()(quantize)


@draft.callback()
@model.callback()
def offline() -> None:
    """Nothing is downloaded when a command runs."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@model.command()
def prepare(
    state_dir: Annotated[Path, typer.Option(help="Where the stack keeps its state.")] = Path(".anamnesis"),
) -> None:
    """Make the chat and embedding models' directories from the installed packages. Does nothing if they are there."""
    from inference_svc.prepare import PackageMissing, prepare_chat_model, prepare_embedding_model

    try:
        prepare_chat_model(state_dir / "models", _say)
        prepare_embedding_model(state_dir / "models", _say)
    except PackageMissing as missing:
        typer.echo(f"error: {missing}", err=True)
        raise typer.Exit(1) from missing


def _say(line: str) -> None:
    typer.echo(line)
