"""`anamnesis demo`: the whole loop once, on this machine, through the public API alone.

Whatever happens, the stack comes down again (unless it is to stay). The last line is `figures: {json}`, and the exit
code is 0 only for a run that succeeded and whose ledger adds up.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.figures import figures_line
from gateway.ledger import ledger_gaps
from gateway.report import print_report
from gateway.watch import duration, watch_run
from service_kit.errors import ServiceError
from service_kit.local_stack import LocalStack, Phase, ProcessView

# Made once and shared with every other stack of this checkout; all else of a demo starts empty.
_REUSED = ("models", "vllm-cache")
_PHASE_STYLE = {Phase.READY: "green", Phase.FAILED: "bold red", Phase.STARTING: "yellow"}


class Stages:
    """Says each stage with the time since the beginning."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        elapsed = duration(time.monotonic() - self._began)
        self._console.print(f"[dim]{elapsed:>6}[/dim]  [bold]{text}[/bold]", highlight=False, soft_wrap=True)


def run_demo(
    *,
    preset: str,
    seed: int,
    overrides: dict[str, str],
    state_dir: Path,
    port_offset: int,
    keep_up: bool,
    console: Console,
) -> int:
    stages = Stages(console)
    demo_dir = fresh_demo_state(state_dir)
    stages.say(f"starting the stack: broker, two vLLM engines and five services (state in {demo_dir})")
    stack = LocalStack(demo_dir, port_offset=port_offset)
    run: trainer_pb2.Run | None = None
    failure = ""
    try:
        with showing(console) as progress:
            stack.start(progress)
        stages.say("the stack is ready; starting a run through the public API")
        run = asyncio.run(train(stack.targets["gateway"], preset, seed, overrides, console, stages))
    except ServiceError as error:
        failure = error.message
    except KeyboardInterrupt:
        failure = "interrupted"
    finally:
        if keep_up and not failure:
            stages.say(f"the stack stays up; stop it with: anamnesis down --state-dir {demo_dir}")
        else:
            stages.say("stopping the stack")
            stack.stop()
    if run is None:
        console.print(f"[bold red]The demo did not finish:[/bold red] {failure}", highlight=False, soft_wrap=True)
        return 1
    return conclude(run, demo_dir, console, stages)


async def train(
    target: str, preset: str, seed: int, overrides: dict[str, str], console: Console, stages: Stages
) -> trainer_pb2.Run:
    """Start a run and follow it to its end; if we are interrupted, so is the run."""
    async with AnamnesisClient(target) as client:
        run = await client.start_run(preset, overrides, seed=seed)
        stages.say(f"run {run.run_id}: held-out before, training, held-out after")
        return await watch_run(client, run.run_id, console)


def conclude(run: trainer_pb2.Run, demo_dir: Path, console: Console, stages: Stages) -> int:
    """The report, the figures, the exit code."""
    console.print()
    print_report(run, console)
    gaps = ledger_gaps(run)
    succeeded = run.state == trainer_pb2.RUN_STATE_SUCCEEDED
    stages.say("done" if succeeded and not gaps else f"failed; the logs are in {demo_dir / 'logs'}")
    # Not by the console: it must stay one line, whatever the terminal's width.
    print(figures_line(run), flush=True)
    return 0 if succeeded and not gaps else 1


def fresh_demo_state(state_dir: Path) -> Path:
    """An empty state directory for one demo, with the prepared models and the engines' caches of the real one."""
    state_dir = state_dir.absolute()
    demo_dir = state_dir / "demo"
    if demo_dir.exists():
        LocalStack(demo_dir).stop()  # one that was kept up, or left by a demo that was killed
        shutil.rmtree(demo_dir)
    demo_dir.mkdir(parents=True)
    for name in _REUSED:
        (state_dir / name).mkdir(exist_ok=True)
        (demo_dir / name).symlink_to(state_dir / name, target_is_directory=True)
    return demo_dir


@contextmanager
def showing(console: Console) -> Iterator[ProgressView]:
    """Shows the processes as they come up: a live table on a terminal, a line for each that is ready elsewhere."""
    view = ProgressView(console)
    if not console.is_terminal:
        yield view
        return
    with Live(get_renderable=view.render, console=console, refresh_per_second=4, transient=False):
        yield view


class ProgressView:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._views: Sequence[ProcessView] = ()
        self._ready: set[str] = set()

    def __call__(self, views: Sequence[ProcessView]) -> None:
        self._views = views
        for view in views:
            if view.phase is Phase.READY and view.name not in self._ready:
                self._ready.add(view.name)
                if not self._console.is_terminal:
                    self._console.print(f"        {view.name} ready after {view.seconds:.0f} s", highlight=False)

    def render(self) -> Table:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for view in self._views:
            style = _PHASE_STYLE.get(view.phase, "dim")
            seconds = f"{view.seconds:.0f} s" if view.seconds else ""
            table.add_row("      ", view.name, f"[{style}]{view.phase}[/]", seconds, view.doing[:70])
        return table
