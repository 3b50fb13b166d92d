"""`anamnesis data …`: the data steps of mid-training, on local files. Nothing heavy is imported until one runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

data = typer.Typer(help="Texts for mid-training.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.add_typer(data, name="data")


class Step(StrEnum):
    REPHRASE = "rephrase"
    NOTES = "notes"


@data.command(
    epilog="\n\n".join(
        (
            "Examples:",
            "anamnesis data write rephrase jsonl:texts.jsonl --out rephrased.jsonl",
            "anamnesis data write notes mts-dialog:MTS-Dialog-TrainingSet.csv --out noted.jsonl --limit 200",
        )
    )
)
def write(
    step: Annotated[Step, typer.Argument(help="A clear structure, or thinking notes behind the text.")],
    source: Annotated[str, typer.Argument(metavar="FORMAT:PATH", help="Texts: jsonl, mts-dialog, prose, gsm8k.")],
    out: Annotated[Path, typer.Option(help="JSONL; the same file again goes on where it stopped.")],
    target: Annotated[str, typer.Option(help="The frozen deployment, whose model writes.")] = "localhost:7104",
    limit: Annotated[int, typer.Option(min=0, help="The first so many texts; 0 means all.")] = 0,
    max_tokens: Annotated[int, typer.Option(min=16, max=8192, help="Length of what is written.")] = 400,
    batch: Annotated[int, typer.Option(min=1, max=256, help="So many at a time.")] = 8,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Have the frozen model write a text anew, or notes on it. Held-out texts are left out."""
    from service_kit.errors import FailedPrecondition
    from trainer_svc.stages.data_steps import Outcomes, play
    from trainer_svc.stages.sources import DataError, read_texts
    from trainer_svc.stages.writer import Writer

    try:
        texts = read_texts(Path(), (source,), 20).train
    except DataError as error:
        raise FailedPrecondition("DATA_UNREADABLE", str(error)) from error
    chosen = texts[:limit] if limit else texts
    outcomes = Outcomes(out)
    known = sum(outcomes.knows(text.text_id) for text in chosen)
    if known:
        typer.echo(f"{known} of {len(chosen)} texts have an outcome already", err=True)

    def told(done: int) -> None:
        typer.echo(f"{known + done} of {len(chosen)}", err=True)

    with Writer(target, max_tokens, seed) as writer:
        counts = play(step.value, chosen, writer.write, outcomes, batch, told)
    for reason, count in sorted(counts.items()):
        typer.echo(f"{reason} {count}")
