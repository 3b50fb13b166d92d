"""`make study-learning`: plays the runs of study.toml that have no result yet, and says what is known.

It can be stopped at any time: what was finished stands in results/learning.jsonl, and the next start goes on from
there. One stack serves all runs of a start; each run begins from the base weights. A run that does not succeed leaves
no result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.demo import fresh_demo_state
from gateway.ledger import ledger_gaps
from gateway.watch import plain_line
from service_kit.errors import ServiceError
from service_kit.local_stack import LocalStack
from service_kit.local_stack.display import Display
from tests.benchmarks.study import (
    RESULTS,
    HeldOut,
    Job,
    Result,
    Step,
    ablation,
    jobs,
    keep,
    of_experiment,
    results,
    seeds_improved,
)
from tests.benchmarks.study_plot import plot

# On held-out cases, for the time to it: set before anything was measured on the way.
FIXED_REWARD = 0.15

PICTURE = RESULTS.parent.parent / "figures" / "study-learning.png"


@dataclass
class Clock:
    """When training began, and how long it has stood still for measurements, by the run's own events."""

    began: float = 0.0
    # When the last measurement began, or training ended.
    stopped: float = 0.0
    evaluating: float = 0.0
    _phase: str = ""

    def phase(self, name: str, at: float) -> None:
        if name == "training" and not self.began:
            self.began = at
        if name.startswith("evaluating") and name != self._phase:
            self.stopped = at
        if name == "training" and self._phase == "evaluating":
            self.evaluating += at - self.stopped
        self._phase = name

    def measured(self, held_out: trainer_pb2.HeldOutReward) -> HeldOut:
        return HeldOut(held_out.step, held_out.mean, round(self.stopped - self.began, 1), round(self.evaluating, 1))


async def play(target: str, job: Job, commit: str, console: Console) -> Result | None:
    """None where the run did not end well; why is printed."""
    async with AnamnesisClient(target) as client:
        stage = trainer_pb2.Stage.Value(f"STAGE_{job.stage.upper()}") if job.stage else trainer_pb2.STAGE_UNSPECIFIED
        run = await client.start_run(job.preset, job.overrides, seed=job.seed, stage=stage)
        steps: list[Step] = []
        clock = Clock()
        held_out: list[HeldOut] = []
        async with aclosing(client.watch_run(run.run_id)) as events:
            async for event in events:
                if line := plain_line(event):
                    console.print(line, markup=False, highlight=False, soft_wrap=True)
                at = event.at.ToNanoseconds() / 1e9
                kind = event.WhichOneof("event")
                if kind == "progress":
                    clock.phase(event.progress.phase, at)
                elif kind == "step":
                    of = event.step
                    steps.append(Step(round(at - clock.began, 1), of.reward_mean, of.length_mean, of.entropy))
                elif kind == "held_out" and event.held_out.step:
                    held_out.append(clock.measured(event.held_out))
        run = await client.get_run(run.run_id)
    if run.state != trainer_pb2.RUN_STATE_SUCCEEDED or not run.HasField("held_out"):
        console.print(f"incomplete: {job.experiment} seed {job.seed}: {run.error}", markup=False, soft_wrap=True)
        return None
    held = run.held_out
    return Result(
        job=job,
        commit=commit,
        run_id=run.run_id,
        finished_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        ledger_gaps=list(ledger_gaps(run)),
        held_out_before=held.mean_before,
        held_out_after=held.mean_after,
        standard_error=held.diff_standard_error,
        pairs=held.count,
        untrained_before=held.untrained_before,
        untrained_after=held.untrained_after,
        steps=steps,
        held_out=held_out,
    )


def current_commit() -> str:
    """With a mark where files differ from it."""
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def play_missing(most: int, only: list[str], state_dir: Path, port_offset: int, console: Console) -> None:
    finished = [result.job for result in results()]
    missing = [job for job in jobs() if job not in finished and (not only or job.experiment in only)][:most]
    if not missing:
        return
    commit = current_commit()
    stack = LocalStack(fresh_demo_state(state_dir), port_offset=port_offset)
    try:
        with Display(console, "Starting") as display:
            stack.start(display)
        for number, job in enumerate(missing, start=1):
            console.print(f"run {number} of {len(missing)}: {job.experiment}, seed {job.seed}", highlight=False)
            try:
                result = asyncio.run(play(stack.targets["gateway"], job, commit, console))
            except ServiceError as error:
                console.print(f"incomplete: {job.experiment} seed {job.seed}: {error.message}", markup=False)
                continue
            if result is not None:
                keep(result)
    finally:
        stack.stop()


def spent(reached: HeldOut) -> str:
    return f"{reached.trained:.0f} s ({reached.seconds:.0f})"


def table_of(found: list[Result]) -> Table:
    table = Table("experiment", "seed", "before", "after", "difference ± SE", "untrained", "train s", "to reward", "")
    for job in sorted(jobs(), key=lambda job: job.experiment):
        done = [result for result in found if result.job == job]
        if not done:
            table.add_row(job.experiment, str(job.seed), "not run", *[""] * 6)
            continue
        result = done[-1]
        reached = result.reaches(FIXED_REWARD)
        table.add_row(
            job.experiment,
            str(job.seed),
            f"{result.held_out_before:.3f}",
            f"{result.held_out_after:.3f}",
            f"{result.difference:+.3f} ± {result.standard_error:.3f} (n={result.pairs})",
            f"{result.untrained_before:.3f} → {result.untrained_after:.3f}",
            f"{result.steps[-1].seconds:.0f}",
            ("never" if reached is None else spent(reached)) if result.held_out else "",
            ("improved" if result.improved else "not improved") + (", LEDGER HAS GAPS" if result.ledger_gaps else ""),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=len(jobs()), help="runs of this start; 0 shows what is known")
    parser.add_argument("--only", nargs="*", default=[], help="experiments")
    parser.add_argument("--state-dir", type=Path, default=Path(".anamnesis"))
    parser.add_argument("--port-offset", type=int, default=400)
    arguments = parser.parse_args()
    console = Console()
    play_missing(arguments.most, arguments.only, arguments.state_dir, arguments.port_offset, console)
    found = results()
    plot(found, PICTURE)
    console.print(table_of(found))
    console.print(f"as a picture: {PICTURE}", highlight=False)
    console.print(
        f"to reward: seconds of training until the weights were served whose held-out reward was {FIXED_REWARD}; in "
        "brackets with the time in which training waited for measurements",
        highlight=False,
    )
    to_reward = {
        name: [result.reaches(FIXED_REWARD) for result in of_experiment(found, name)]
        for name in ("rl3", "asynchronous")
    }
    figures = {
        "finished": sum(any(result.job == job for result in found) for job in jobs()),
        "planned": len(jobs()),
        "seeds_improved_rl2": seeds_improved(found, "rl2"),
        "seeds_improved_rl3": seeds_improved(found, "rl3"),
        "improved_against_plain_grpo": ablation(found, "rl3", "plain_grpo"),
        "asynchronous_against_synchronous": ablation(found, "asynchronous", "rl3"),
        "seconds_to_reward_synchronous": [one and one.trained for one in to_reward["rl3"]],
        "seconds_to_reward_asynchronous": [one and one.trained for one in to_reward["asynchronous"]],
    }
    print(f"figures: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
