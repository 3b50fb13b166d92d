"""The command line's frame: mounts the commands of every service package that is present.

Invariant: a package whose dependencies are not installed costs only its own commands, which then say what to install.
Importing the frame imports no engine and no model library; a service's commands.py imports what is heavy when it runs.
"""

from __future__ import annotations

import importlib
import signal
import sys
import traceback
from importlib import metadata

import typer
from rich.console import Console

from service_kit.errors import ServiceError
from service_kit.kafka import commands as kafka_commands
from service_kit.local_stack import commands as local_stack_commands

# Package of each service, and the extra that names its dependencies.
EXTRAS = {
    "gateway": "gateway",
    "simulator_svc": "simulator",
    "rubric_svc": "rubric",
    "inference_svc": "inference-cpu",
    "trainer_svc": "trainer",
}
OURS = {*EXTRAS, "service_kit", "anamnesis"}
INTERRUPTED = 130


def build_app() -> typer.Typer:
    app = typer.Typer(
        name="anamnesis",
        help="Trains and serves a doctor model against simulated patients.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.command()(version)
    local_stack_commands.register(app)
    kafka_commands.register(app)
    for package in EXTRAS:
        _mount(app, package)
    return app


def version() -> None:
    """Print the version."""
    typer.echo(f"anamnesis {metadata.version('anamnesis')}")


def main() -> None:
    """The process's edge: an expected failure is one clear message and exit code 1; only a bug shows a traceback.

    Told to end, a command cleans up as it does on Ctrl-C.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        build_app()()
    except ServiceError as error:
        _fail(error.message)
    except ModuleNotFoundError as error:
        if not _is_third_party(error):
            raise
        _fail(_how_to_install(error, _package_that_wanted(error)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _mount(app: typer.Typer, package: str) -> None:
    try:
        commands = importlib.import_module(f"{package}.commands")
    except ModuleNotFoundError as error:
        if error.name in (package, f"{package}.commands"):
            return
        if not _is_third_party(error):
            raise
        _mount_explanation(app, package, _how_to_install(error, package))
        return
    commands.register(app)


def _mount_explanation(app: typer.Typer, package: str, explanation: str) -> None:
    def explain() -> None:
        _fail(explanation)

    name = package.removesuffix("_svc")
    app.command(name, help=f"Not available: {explanation}")(explain)


def _is_third_party(error: ModuleNotFoundError) -> bool:
    return error.name is not None and error.name.partition(".")[0] not in OURS


def _package_that_wanted(error: ModuleNotFoundError) -> str | None:
    """The service package whose code asked for what is missing."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in EXTRAS:
            return package
    return None


def _how_to_install(error: ModuleNotFoundError, package: str | None) -> str:
    what = f"the Python package {error.name} is not installed"
    return f"{what}; run: pip install 'anamnesis[{EXTRAS[package]}]'" if package else what


def _fail(message: str) -> None:
    Console(stderr=True).print(f"error: {message}", style="red", highlight=False, markup=False, soft_wrap=True)
    sys.exit(1)
