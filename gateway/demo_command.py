"""`anamnesis demo` as a command; what it does stands in demo.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.command_line import examples, parse_overrides

EXAMPLES = examples(
    "anamnesis demo",
    "anamnesis demo --seed 3 --set schedule.steps=4",
    "anamnesis demo --keep-up    (afterwards: anamnesis chat)",
)


def demo(
    preset: Annotated[str, typer.Option(help="A preset that ships with the trainer.")] = "demo",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change one setting of the preset; may be repeated."),
    ] = None,
    keep_up: Annotated[bool, typer.Option("--keep-up", help="Leave the stack running afterwards.")] = False,
    port_offset: Annotated[int, typer.Option(help="Added to every port.")] = 0,
    state_dir: Annotated[Path, typer.Option(help="Where the models are; the demo works in demo/ below it.")] = Path(
        ".anamnesis"
    ),
) -> None:
    """The whole loop on this machine: five services, a broker, two engines, one training run, its report.

    Traces are exported where ANAMNESIS_OTLP_ENDPOINT names an OTLP endpoint.
    """
    from rich.console import Console

    from gateway.demo import DemoPlan, run_demo

    plan = DemoPlan(preset, seed, parse_overrides(setting or []), state_dir, port_offset, keep_up)
    raise typer.Exit(run_demo(plan, Console()))
