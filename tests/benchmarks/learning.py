"""`make bench-learning`: the demo's run with several seeds; does the held-out reward rise in each of them?

A seed counts as improved if the mean paired difference is at least two standard errors and the untrained component did
not collapse (it kept at least half of its value). One stack serves all seeds; each run starts from the base weights.
What did not finish prints `incomplete`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from gateway.demo import fresh_demo_state
from gateway.ledger import ledger_gaps
from gateway.watch import watch_run
from service_kit.errors import ServiceError
from service_kit.local_stack import LocalStack
from service_kit.local_stack.display import Display

STANDARD_ERRORS = 2.0
KEPT_SHARE = 0.5


def improved(run: trainer_pb2.Run) -> bool:
    held = run.held_out
    rose = held.mean_after - held.mean_before >= STANDARD_ERRORS * held.diff_standard_error
    return bool(rose and held.untrained_after >= KEPT_SHARE * held.untrained_before)


async def play(target: str, preset: str, seed: int, console: Console) -> trainer_pb2.Run:
    async with AnamnesisClient(target) as client:
        run = await client.start_run(preset, seed=seed)
        return await watch_run(client, run.run_id, console)


def row(seed: int, run: trainer_pb2.Run, seconds: float) -> list[str]:
    if run.state != trainer_pb2.RUN_STATE_SUCCEEDED or not run.HasField("held_out"):
        return [str(seed), "incomplete", "", "", "", "", run.error[:40]]
    held = run.held_out
    return [
        str(seed),
        f"{held.mean_before:.3f}",
        f"{held.mean_after:.3f}",
        f"{held.mean_after - held.mean_before:+.3f} ± {held.diff_standard_error:.3f} (n={held.count})",
        f"{held.untrained_before:.3f} → {held.untrained_after:.3f}",
        "yes" if improved(run) else "no",
        f"{seconds / 60:.1f} min" + ("" if not ledger_gaps(run) else ", LEDGER HAS GAPS"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--state-dir", type=Path, default=Path(".anamnesis"))
    parser.add_argument("--port-offset", type=int, default=400)
    arguments = parser.parse_args()

    console = Console()
    table = Table("seed", "held-out before", "after", "paired difference ± SE", "coherence (untrained)", "improved", "")
    finished: list[trainer_pb2.Run] = []
    stack = LocalStack(fresh_demo_state(arguments.state_dir), port_offset=arguments.port_offset)
    try:
        with Display(console, "Starting") as display:
            stack.start(display)
        for seed in arguments.seeds:
            started = time.monotonic()
            try:
                run = asyncio.run(play(stack.targets["gateway"], arguments.preset, seed, console))
            except ServiceError as error:
                run = trainer_pb2.Run(error=error.message)
            table.add_row(*row(seed, run, time.monotonic() - started))
            if run.state == trainer_pb2.RUN_STATE_SUCCEEDED and run.HasField("held_out"):
                finished.append(run)
    finally:
        stack.stop()
    console.print(table)
    figures = {
        "seeds": len(arguments.seeds),
        "finished": len(finished),
        "improved": sum(improved(run) for run in finished),
        "differences": [round(run.held_out.mean_after - run.held_out.mean_before, 4) for run in finished],
        "standard_errors": [round(run.held_out.diff_standard_error, 4) for run in finished],
    }
    print(f"figures: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
