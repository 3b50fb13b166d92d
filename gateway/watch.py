"""A run as it happens. On a terminal a live table; elsewhere one plain line an event, so that a log of it reads well.

`watch_run` ends with the run and returns it as it then is; a stream that breaks is the client's to take up again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import aclosing

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient

_SHOWN_STEPS = 15
_SHOWN_NOTICES = 3
_BARS = "▁▂▃▄▅▆▇█"


async def watch_run(client: AnamnesisClient, run_id: str, console: Console) -> trainer_pb2.Run:
    """Follow the run to its end. Needs no more than a run id: a run that began long ago is shown from its start."""
    run = await client.get_run(run_id)
    view = RunView(run)
    if not console.is_terminal:
        async with aclosing(client.watch_run(run_id)) as events:
            async for event in events:
                if line := plain_line(event):
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
    else:
        with Live(get_renderable=lambda: view.render(), console=console, refresh_per_second=4, transient=False):
            async with aclosing(client.watch_run(run_id)) as events:
                async for event in events:
                    view.take(event)
    return await client.get_run(run_id)


class RunView:
    """What the live table shows; it changes by events alone. Rendered by another thread, so from copies."""

    def __init__(self, run: trainer_pb2.Run, clock: Callable[[], float] = time.time) -> None:
        self._run = run
        self._clock = clock
        self._state = run.state
        self._steps: deque[trainer_pb2.StepMetrics] = deque(maxlen=_SHOWN_STEPS)
        self._curve: list[float] = []
        self._notices: deque[str] = deque(maxlen=_SHOWN_NOTICES)
        self._last_step = 0
        self._progress = Progress(
            TextColumn("{task.description:<20}"), BarColumn(bar_width=40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._phases: dict[str, TaskID] = {}

    def take(self, event: trainer_pb2.RunEvent) -> None:
        match event.WhichOneof("event"):
            case "state":
                self._state = event.state
            case "progress":
                self._take_progress(event.progress)
            case "step":
                self._steps.append(event.step)
                self._curve.append(event.step.loss if "nll" in event.step.extra else event.step.reward_mean)
                self._last_step = event.step.step
            case "held_out":
                self._notices.append(held_out_text(event.held_out))
            case "notice":
                self._notices.append(event.notice)
            case "alert":
                self._notices.append(f"ALERT {event.alert.name}: {event.alert.detail}")

    def _take_progress(self, progress: trainer_pb2.Progress) -> None:
        if progress.phase not in self._phases:
            self._phases[progress.phase] = self._progress.add_task(progress.phase.replace("_", " "), total=None)
        for phase, task in self._phases.items():  # one at a time: training goes on after an evaluation
            if phase != progress.phase:
                self._progress.stop_task(task)
        self._progress.tasks[self._phases[progress.phase]].stop_time = None
        self._progress.update(self._phases[progress.phase], completed=progress.done, total=progress.total or None)

    def render(self) -> RenderableType:
        elapsed = ""
        if self._run.HasField("started_at"):
            elapsed = f"   {duration(self._clock() - self._run.started_at.ToNanoseconds() / 1e9)}"
        total = f"/{self._run.total_steps}" if self._run.total_steps else ""
        title = Text.assemble(
            ("run ", "dim"), (self._run.run_id, "bold"), f"   preset {self._run.spec.preset}   ",
            (state_name(self._state), state_style(self._state)), f"   step {self._last_step}{total}{elapsed}",
        )  # fmt: skip
        parts: list[RenderableType] = [title, self._progress]
        if self._steps:
            curve = "loss" if "nll" in self._steps[-1].extra else "reward"
            parts += [step_table(list(self._steps)), Text(f"{curve} {sparkline(self._curve[-60:])}", style="cyan")]
        parts += [Text(f"· {notice}", style="dim") for notice in list(self._notices)]
        return Panel(Group(*parts), border_style="blue")


def step_table(steps: list[trainer_pb2.StepMetrics]) -> Table:
    return _supervised_table(steps) if "nll" in steps[-1].extra else _reward_table(steps)


def _supervised_table(steps: list[trainer_pb2.StepMetrics]) -> Table:
    """Of a stage without rewards."""
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for heading in ("step", "loss", "KL to reference", "gradient", "tokens/s", "seconds"):
        table.add_column(heading, justify="right")
    for step in steps:
        table.add_row(
            str(step.step),
            f"{step.loss:.4f}",
            f"{step.extra['reference_kl']:.4f}",
            f"{step.gradient_norm:.2f}",
            f"{step.tokens_per_second:.1f}",
            f"{step.seconds:.1f}",
        )
    return table


def _reward_table(steps: list[trainer_pb2.StepMetrics]) -> Table:
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for heading in (
        "step",
        "reward",
        "± std",
        "length",
        "tokens/s",
        "KL",
        "staleness",
        "clipped",
        "episodes",
        "seconds",
    ):
        table.add_column(heading, justify="right")
    for step in steps:
        table.add_row(
            str(step.step),
            f"{step.reward_mean:+.3f}",
            f"{step.reward_std:.3f}",
            f"{step.length_mean:.1f}",
            f"{step.tokens_per_second:.1f}",
            f"{step.mismatch_kl:.4f}",
            f"{step.staleness:.2f}",
            f"{step.clip_fraction:.1%}",
            str(step.trajectories),
            f"{step.seconds:.1f}",
        )
    return table


def plain_line(event: trainer_pb2.RunEvent) -> str:
    """The event in one line; empty for one of a kind that this client does not know."""
    at = event.at.ToDatetime().strftime("%H:%M:%S")
    match event.WhichOneof("event"):
        case "state":
            return f"{at} {state_name(event.state)}"
        case "progress":
            return f"{at} {event.progress.phase.replace('_', ' ')} {event.progress.done}/{event.progress.total}"
        case "step":
            step = event.step
            if "nll" in step.extra:
                return (
                    f"{at} step {step.step}: loss {step.loss:.4f} a token, KL to the reference "
                    f"{step.extra['reference_kl']:.4f}, {step.tokens_per_second:.1f} tokens/s, {step.seconds:.1f} s"
                )
            return (
                f"{at} step {step.step}: reward {step.reward_mean:+.3f} ± {step.reward_std:.3f}, length "
                f"{step.length_mean:.1f}, {step.tokens_per_second:.1f} tokens/s, KL {step.mismatch_kl:.4f}, "
                f"staleness {step.staleness:.2f}, {step.trajectories} episodes, {step.seconds:.1f} s"
            )
        case "held_out":
            return f"{at} {held_out_text(event.held_out)}"
        case "notice":
            return f"{at} {event.notice}"
        case "alert":
            return f"{at} ALERT {event.alert.name}: {event.alert.detail}"
    return ""


def held_out_text(held_out: trainer_pb2.HeldOutReward) -> str:
    return f"held out at step {held_out.step}: reward {held_out.mean:+.3f} (n = {held_out.count})"


def state_name(state: trainer_pb2.RunState.ValueType) -> str:
    return trainer_pb2.RunState.Name(state).removeprefix("RUN_STATE_").lower()


def state_style(state: trainer_pb2.RunState.ValueType) -> str:
    if state == trainer_pb2.RUN_STATE_SUCCEEDED:
        return "bold green"
    failed = (trainer_pb2.RUN_STATE_FAILED, trainer_pb2.RUN_STATE_CANCELLED, trainer_pb2.RUN_STATE_INTERRUPTED)
    return "bold red" if state in failed else "bold yellow"


def sparkline(values: list[float]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in values)


def duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
