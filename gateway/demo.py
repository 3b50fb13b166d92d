"""`anamnesis demo`: the whole loop once, on this machine, through the public API alone.

Whatever happens, the stack comes down again (unless it is to stay). The last line is `figures: {json}`, and the exit
code is 0 only for a run that succeeded and whose ledger adds up.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.figures import figures_line
from gateway.ledger import ledger_gaps
from gateway.report import print_report
from gateway.watch import duration, watch_run
from service_kit.errors import ServiceError
from service_kit.local_stack import LocalStack
from service_kit.local_stack.display import Display

# Made once and shared with every other stack of this checkout; all else of a demo starts empty.
_REUSED = ("models", "vllm-cache")
_CHECK_SECONDS = 2.0


@dataclass(frozen=True)
class DemoPlan:
    preset: str
    seed: int
    overrides: dict[str, str]
    state_dir: Path
    port_offset: int
    keep_up: bool


class Stages:
    """Says each stage with the time since the beginning."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        elapsed = duration(time.monotonic() - self._began)
        self._console.print(f"\n[dim]{elapsed:>5}[/dim]  [bold]{text}[/bold]", highlight=False, soft_wrap=True)


def run_demo(plan: DemoPlan, console: Console) -> int:
    """The exit code: 0 if the run succeeded and its account has no gap."""
    stages = Stages(console)
    demo_dir = fresh_demo_state(plan.state_dir)
    stack = LocalStack(demo_dir, plan.port_offset)
    try:
        with stopped_afterwards(stack, stages, console, keep_up=plan.keep_up):
            stages.say(f"Starting a broker, two vLLM engines and five services in {demo_dir}")
            with Display(console, "") as display:
                stack.start(display)
            run = asyncio.run(train(stack, plan, console, stages))
    except (ServiceError, KeyboardInterrupt) as failure:
        reason = failure.message if isinstance(failure, ServiceError) else "interrupted"
        console.print(f"The demo did not finish: {reason}", style="bold red", markup=False, soft_wrap=True)
        console.print(f"Logs: {stack.log('*')}", markup=False, soft_wrap=True)
        return 130 if isinstance(failure, KeyboardInterrupt) else 1
    return conclude(run, stack, console, stages)


async def train(stack: LocalStack, plan: DemoPlan, console: Console, stages: Stages) -> trainer_pb2.Run:
    """A run from its start to its end, or to the death of a process that it needs."""
    training = asyncio.create_task(_start_and_watch(stack, plan, console, stages))
    dying = asyncio.create_task(_death(stack))
    try:
        await asyncio.wait((training, dying), return_when=asyncio.FIRST_COMPLETED)
        if training.done() and training.exception() is not None:
            stack.check()  # where a process has died, that is the cause and this its effect
        return training.result() if training.done() else dying.result()
    finally:
        for task in (training, dying):
            task.cancel()
        await asyncio.gather(training, dying, return_exceptions=True)


async def _start_and_watch(stack: LocalStack, plan: DemoPlan, console: Console, stages: Stages) -> trainer_pb2.Run:
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        run = await client.start_run(plan.preset, plan.overrides, seed=plan.seed)
        stages.say(f"Run {run.run_id}: held-out consultations before, training, held-out consultations after")
        return await watch_run(client, run.run_id, console)


async def _death(stack: LocalStack) -> NoReturn:
    """Raises StackError once a process of the stack has died: nobody restarts it, so the run would wait for ever."""
    while True:
        stack.check()
        await asyncio.sleep(_CHECK_SECONDS)


def conclude(run: trainer_pb2.Run, stack: LocalStack, console: Console, stages: Stages) -> int:
    stages.say("What it came to")
    print_report(run, console)
    good = run.state == trainer_pb2.RUN_STATE_SUCCEEDED and not ledger_gaps(run)
    stages.say("Done" if good else f"Failed. Logs: {stack.log('*')}")
    # Not by the console: it must stay one line, whatever the terminal's width.
    print(figures_line(run), flush=True)
    return 0 if good else 1


def fresh_demo_state(state_dir: Path) -> Path:
    """An empty state directory for one demo, with the prepared models and the engines' caches of the real one."""
    state_dir = state_dir.absolute()
    demo_dir = state_dir / "demo"
    if demo_dir.exists():
        LocalStack.recorded(demo_dir).stop()  # one that was kept up, or left by a demo that was killed
        shutil.rmtree(demo_dir)
    demo_dir.mkdir(parents=True)
    for name in _REUSED:
        (state_dir / name).mkdir(exist_ok=True)
        (demo_dir / name).symlink_to(state_dir / name, target_is_directory=True)
    return demo_dir


@contextmanager
def stopped_afterwards(stack: LocalStack, stages: Stages, console: Console, *, keep_up: bool) -> Iterator[None]:
    """Brings the stack down however the block ends; SIGTERM ends it like Ctrl-C, and neither stops the stopping."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except BaseException:
        keep_up = False
        raise
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            if keep_up:
                stages.say(f"The stack stays up; stop it with: anamnesis down --state-dir {stack.state_dir}")
            elif stack.running:
                stages.say("Stopping the stack")
                with Display(console, "") as display:
                    stack.stop(display)
        finally:
            signal.signal(signal.SIGINT, interrupt)
            signal.signal(signal.SIGTERM, previous)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
