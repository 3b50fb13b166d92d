"""The engines of `make bench-inference`, each loaded once in a process of its own, and passes that alternate.

Invariant: in a pass every engine gets the same prompts (token ids) and the same limit; the first pass warms up and
counts for nothing. An idle engine does not spin. Other load of the machine hits all: read the ratios.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.engine_lines import EngineLines

BATCHES = (1, 8, 32)
WARM_UP_TOKENS = 8
# A pass at batch 1 asks for so many answers, one after another.
ALONE = 2
MAX_TOKENS = 64


@dataclass(frozen=True)
class EngineSpec:
    name: str
    # The interpreter and what it runs.
    command: tuple[str, ...]
    job: dict[str, Any]


class EngineProcess(EngineLines):
    def __init__(self, spec: EngineSpec, log: Path) -> None:
        super().__init__(spec.command, spec.job, log)
        self.spec = spec
        self.start_seconds = float(self.ready["ready"])

    def play(self, prompts: Sequence[list[int]], **wanted: Any) -> dict[str, Any]:
        return self.ask({"prompts": list(prompts)} | wanted)


@dataclass
class Passes:
    """What one engine did at one batch size, a value a pass."""

    rates: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    rss_mb: float = 0.0

    def add(self, answers: Sequence[dict[str, Any]]) -> None:
        tokens = sum(len(row) for answer in answers for row in answer["tokens"])
        self.rates.append(tokens / sum(answer["seconds"] for answer in answers))
        for answer in answers:
            self.first += answer["first"]
            self.gaps += answer["gaps"]
            self.rounds += answer["rounds"]
            self.rss_mb = max(self.rss_mb, answer["rss_mb"])

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def tokens_per_round(self) -> float:
        return statistics.mean(self.rounds) if self.rounds else 0.0

    def row(self) -> dict[str, float]:
        """Milliseconds and megabytes."""
        milliseconds = np.array(self.gaps or [np.nan]) * 1000
        return {
            "tokens_per_second": round(self.rate, 1),
            "first_token_ms": round(1000 * statistics.median(self.first), 1) if self.first else float("nan"),
            "p50_token_ms": round(float(np.percentile(milliseconds, 50)), 1),
            "p99_token_ms": round(float(np.percentile(milliseconds, 99)), 1),
            "rss_mb": round(self.rss_mb),
        }


Measured = dict[tuple[str, int], Passes]


def measure(
    engines: Sequence[EngineProcess],
    prompts: Sequence[list[int]],
    batches: Sequence[int],
    passes: int,
    tokens: int,
    deadline: float,
) -> Measured:
    """Alternating passes until `passes` are counted or the clock passes `deadline` (time.monotonic())."""
    measured: Measured = {(engine.spec.name, batch): Passes() for engine in engines for batch in batches}
    for number in range(passes + 1):
        for turn in range(len(engines)):
            # Another engine begins each pass.
            engine = engines[(turn + number) % len(engines)]
            for batch in batches:
                if time.monotonic() > deadline:
                    return measured
                chosen = rotated(prompts, number * sum(batches) + batch, ALONE if batch == 1 else batch)
                groups = [[prompt] for prompt in chosen] if batch == 1 else [chosen]
                answers = [engine.play(group, max_tokens=tokens if number else WARM_UP_TOKENS) for group in groups]
                if number:
                    measured[engine.spec.name, batch].add(answers)
        print(f"pass {number} of {passes} (0 warms up)", file=sys.stderr, flush=True)
    return measured


def rotated(prompts: Sequence[list[int]], start: int, count: int) -> list[list[int]]:
    return [prompts[(start + place) % len(prompts)] for place in range(count)]


def write_csv(measured: Measured, file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(["engine", "batch", "pass", "tokens_per_second"])
        for (name, batch), passes in measured.items():
            writer.writerows([name, batch, number, f"{rate:.2f}"] for number, rate in enumerate(passes.rates, start=1))


def plot(measured: Measured, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted({name for (name, _), passes in measured.items() if passes.rates})
    batches = sorted({batch for _, batch in measured})
    figure, axes = pyplot.subplots(1, len(batches), figsize=(11, 0.45 * len(names) + 1.2), sharey=True, squeeze=False)
    for axis, batch in zip(axes[0], batches, strict=True):
        rates = [measured[name, batch].rates for name in names]
        middles = [statistics.median(rate) if rate else 0.0 for rate in rates]
        spread = np.array([[m - min(r, default=m), max(r, default=m) - m] for m, r in zip(middles, rates, strict=True)])
        axis.barh(names, middles, xerr=spread.T, color="#4878a8", error_kw={"lw": 1})
        axis.set_title(f"batch {batch}", fontsize=10)
        axis.set_xlabel("tokens/s", fontsize=9)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
