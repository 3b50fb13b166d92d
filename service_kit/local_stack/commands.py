"""`anamnesis up`, `down` and `status`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from service_kit.local_stack.display import Display, table
from service_kit.local_stack.progress import Phase
from service_kit.local_stack.stack import LocalStack
from service_kit.local_stack.supervised import StackError

StateDir = Annotated[Path, typer.Option(help="Where the stack keeps its state.")]
WATCH_SECONDS = 2.0
# What a person points a client at.
DOORS = {"gateway": "gRPC", "gateway_rest": "REST"}


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    state_dir: StateDir = Path(".anamnesis"),
    port_offset: Annotated[int, typer.Option(help="Added to every port.")] = 0,
    cases: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            envvar="ANAMNESIS_CASES",
            help="A directory of your own case files, for all processes that read cases.",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option(help="Return when all is ready, or stay and stop all on Ctrl-C.")] = True,
) -> None:
    """Start the stack: broker, engines, services. What already runs stays as it is."""
    console = Console()
    stack = LocalStack(state_dir, port_offset, cases=cases)
    began = time.monotonic()
    with Display(console, f"Starting the stack in {state_dir}") as progress:
        stack.start(progress)
    doors = ", ".join(f"{kind} {stack.targets[name]}" for name, kind in DOORS.items() if name in stack.targets)
    console.print(f"Ready after {time.monotonic() - began:.0f} s: {doors}", highlight=False)
    console.print(f"Logs: {stack.log('*')}", highlight=False)
    if not detach:
        _stay(stack, console)


def down(state_dir: StateDir = Path(".anamnesis")) -> None:
    """Stop the stack: each process finishes what it has begun, within its bound."""
    console = Console()
    stack = LocalStack.recorded(state_dir)
    if not stack.running:
        console.print(f"Nothing runs in {state_dir}.")
        return
    _stop(stack, console)


def status(state_dir: StateDir = Path(".anamnesis")) -> None:
    """Show each process. Exit code 0 if all are ready, 3 if some are not, 4 if none runs."""
    console = Console()
    stack = LocalStack.recorded(state_dir)
    if not stack.running:
        console.print(f"Nothing runs in {state_dir}.")
        raise typer.Exit(4)
    views = stack.look()
    console.print(table(views, f"The stack in {state_dir}"))
    if any(view.phase is not Phase.READY for view in views):
        raise typer.Exit(3)


def _stay(stack: LocalStack, console: Console) -> None:
    try:
        console.print("Ctrl-C stops it.")
        while True:
            stack.check()
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        _stop(stack, console)
    except StackError:
        _stop(stack, console)
        raise


def _stop(stack: LocalStack, console: Console) -> None:
    with Display(console, f"Stopping the stack in {stack.state_dir}") as progress:
        killed = stack.stop(progress)
    if killed:
        console.print(f"Did not stop within their bound and were killed: {', '.join(killed)}", style="yellow")
    console.print("Stopped.")
