"""`anamnesis simulator`: how good the patient is. Nothing heavy is imported until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service_kit.extras import needs_extra
from simulator_svc.evaluate.choices import DoctorKind, Unit

simulator = typer.Typer(help="The simulated patient: evaluate.", no_args_is_help=True)


@simulator.callback()
def simulator_commands() -> None:
    """So that `evaluate` stays a command of its own."""


@simulator.command()
def evaluate(
    cases: Annotated[
        Path | None, typer.Option(help="Case files to play; by default the built-in library.", show_default=False)
    ] = None,
    doctor: Annotated[DoctorKind, typer.Option(help="Who asks.")] = DoctorKind.SCRIPTED,
    turns: Annotated[int, typer.Option(min=2, max=60, help="Doctor turns of a consultation.")] = 9,
    each: Annotated[int, typer.Option(min=1, help="Consultations a case, each with another persona.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="The same seed is the same consultations.")] = 1,
    at_once: Annotated[int, typer.Option(min=1, max=256, help="Consultations under way at once.")] = 16,
    target: Annotated[str, typer.Option(help="The patient's service.")] = "localhost:7101",
    frozen: Annotated[str, typer.Option(help="The frozen engine, for --ablate.")] = "localhost:7104",
    policy: Annotated[str, typer.Option(help="The policy engine, for --doctor model.")] = "localhost:7103",
    ablate: Annotated[
        list[Unit] | None,
        typer.Option(help="Compare, in this process, the whole patient with one without this. May be repeated."),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the measurements there.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a picture there (*.png, *.svg).")] = None,
) -> None:
    """Play consultations with the patient and print Privacy, Fact, Personification, how they ended, and latency.

    A running stack (`make up`) is needed. Each share comes with a 95 % interval that resamples consultations.
    """
    with needs_extra("simulator-evaluate"):
        from simulator_svc.evaluate.command import Options, run
    options = Options(
        cases, doctor, turns, each, seed, at_once, target, frozen, policy, tuple(ablate or ()), json_file, plot
    )
    run(options, Console())
