"""Why an engine takes the time that it takes for a step: its parts, beside what the machine could do.

A step needs every weight once, so at batch 1 no engine is faster than memory gives them: the first bound is the
weights' bytes by the read bandwidth measured here. The second is what torch takes for the same matrices with nothing
around them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

PROFILE = (sys.executable, "-m", "tests.benchmarks.inference_engines.vllm_profile")
PARTS = ("layers", "output matrix", "drafting", "sampler", "Python around the model", "scheduler", "the engine's loop")
TIMEOUT_SECONDS = 240.0
TOKENS = 64
BATCHES = (1, 32)


@dataclass(frozen=True)
class Profile:
    """Of one engine: milliseconds a step by part, and the machine's bounds as measured beside it."""

    step_ms: dict[str, float]
    tokens_per_step: float
    bytes_per_second: float
    matrices_ms: float

    @property
    def token_ms(self) -> float:
        return sum(self.step_ms.values()) / self.tokens_per_step


def profile(job: Mapping[str, Any], prompts: Sequence[list[int]], log: Path) -> dict[int, Profile]:
    """By batch. Raises CalledProcessError or TimeoutExpired; what the process said is in `log`."""
    wanted = {**job, "batches": [list(prompts[:batch]) for batch in BATCHES], "tokens": TOKENS}
    with log.open("w") as said:
        done = subprocess.run(
            [*PROFILE, json.dumps(wanted)],
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=True,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return {batch: Profile(**one) for batch, one in zip(BATCHES, found, strict=True)}


def weight_bytes(model: Path) -> int:
    """Of a model's directory or file: what a token reads."""
    return sum(file.stat().st_size for file in model.glob("*.safetensors")) if model.is_dir() else model.stat().st_size


def parts_table(profiles: Mapping[str, Mapping[int, Profile]]) -> Table:
    """A column for each engine and batch."""
    columns = {f"{name}, {batch}": one for name, of_batch in profiles.items() for batch, one in of_batch.items()}
    table = Table(title="a step, milliseconds by part, scheduler and model in one process")
    table.add_column("part")
    for name in columns:
        table.add_column(name, justify="right")
    for part in PARTS:
        cells = [f"{one.step_ms[part]:.2f}" if part in one.step_ms else "" for one in columns.values()]
        if any(cells):
            table.add_row(part, *cells)
    table.add_row("together", *(f"{sum(one.step_ms.values()):.2f}" for one in columns.values()))
    table.add_row("tokens a step", *(f"{one.tokens_per_step:.2f}" for one in columns.values()))
    table.add_row("milliseconds a token", *(f"{one.token_ms:.2f}" for one in columns.values()))
    return table


def bounds_table(weights: Mapping[str, int], served_ms: Mapping[str, float], machine: Profile) -> Table:
    """`served_ms` a token, as the benchmark has it: with the second process that an engine is served from."""
    bandwidth = machine.bytes_per_second
    table = Table(title=f"bounds at batch 1; memory is read at {bandwidth / 1e9:.1f} GB/s")
    for column in ("engine", "weights, MB", "reading them, ms", "a token as served, ms"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for name, size in weights.items():
        served = f"{served_ms[name]:.1f}" if name in served_ms else ""
        table.add_row(name, f"{size / 1e6:.0f}", f"{1000 * size / bandwidth:.1f}", served)
    table.caption = (
        f"the model's bfloat16 matrices, multiplied by torch with nothing around: {machine.matrices_ms:.1f} ms"
    )
    return table
