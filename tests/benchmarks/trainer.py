"""`make bench-trainer`: the optimizer's step beside TRL's own, two processes beside one, the stages, and the study.

Tokens a second are trained tokens, medians of passes that alternate, each side in a process of its own. The stages and
the intake of trajectories are measured by modules beside this one; learning is read from the finished results of
`make study-learning`. What is not there or did not finish is null.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks import recorded
from tests.benchmarks.study import ablation, results, seeds_improved
from tests.training_ranks import play_steps

MODEL = Path(".anamnesis/models/smollm2-135m-instruct")
SIDE_SECONDS = 600.0
# Steps of the same model with one process and with two.
RANKS_STEPS = 2
RANKS_SECONDS = 600.0
# Of one of TRL's micro-batches; 0: as many as fit the budget.
TRL_ROWS = (0, 1, 2, 4)

STAGES = (
    "sft_pass_before",
    "sft_pass_after",
    *(f"{probe}_ppl_ratio_{kl}" for probe in ("general", "prose", "medical") for kl in ("kl", "nokl")),
)


def one_side(side: str, budget: int, steps: int, threads: int, rows: int = 0) -> dict[str, float] | None:
    command = [sys.executable, "-m", "tests.benchmarks.trainer_step", side, "--rows", str(rows)]
    command += ["--model", str(MODEL), "--budget", str(budget), "--steps", str(steps), "--threads", str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SIDE_SECONDS, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        print(f"incomplete: {side}: {str(error.stderr)[-2000:]}", file=sys.stderr)
        return None
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def trls_best_rows(budget: int, threads: int, console: Console) -> int:
    """Rows of TRL's micro-batch that train the most tokens a second, of those that fit the budget; 0: all that fit."""
    found = {rows: one_side("trl", budget, 1, threads, rows) for rows in TRL_ROWS}
    rates = {rows: one["tokens_per_second"] for rows, one in found.items() if one is not None}
    for rows, rate in rates.items():
        console.print(f"TRL with {rows or 'as many as fit'} rows a micro-batch: {rate:.2f} tokens/s", highlight=False)
    return max(rates, key=lambda rows: rates[rows], default=0)


def beside_trl(passes: int, budget: int, steps: int, threads: int, console: Console) -> dict[str, float | None]:
    if not recorded.PATH.exists():
        console.print(f"incomplete: no recorded trajectories, {recorded.PATH.name}", highlight=False)
        return dict.fromkeys(("tok_s_ours", "tok_s_trl", "ratio", "rss_ratio"))
    rows = trls_best_rows(budget, threads, console)
    measured: dict[str, list[dict[str, float]]] = defaultdict(list)
    for number in range(passes):
        for side in ("ours", "trl") if number % 2 == 0 else ("trl", "ours"):
            found = one_side(side, budget, steps, threads, rows)
            console.print(f"pass {number + 1}, {side}: {found or 'incomplete'}", highlight=False)
            if found is not None:
                measured[side].append(found)
    if not measured["ours"] or not measured["trl"]:
        return dict.fromkeys(("tok_s_ours", "tok_s_trl", "ratio", "rss_ratio"))

    def middle(side: str, name: str) -> float:
        return statistics.median(of_pass[name] for of_pass in measured[side])

    table = Table("", "trained tokens/s", "peak RSS", "loss of the first step", "passes")
    for side in ("ours", "trl"):
        table.add_row(
            side,
            f"{middle(side, 'tokens_per_second'):.2f}",
            f"{middle(side, 'peak_rss_mib'):.0f} MiB",
            f"{middle(side, 'first_loss'):.6f}",
            str(len(measured[side])),
        )
    console.print(table)
    ours, trl = middle("ours", "tokens_per_second"), middle("trl", "tokens_per_second")
    return {
        "tok_s_ours": round(ours, 2),
        "tok_s_trl": round(trl, 2),
        "ratio": round(ours / trl, 3),
        "rss_ratio": round(middle("ours", "peak_rss_mib") / middle("trl", "peak_rss_mib"), 3),
    }


def two_processes_beside_one(console: Console) -> float | None:
    """The greatest difference between the losses, of DDP and of FSDP2."""
    settings = {"schedule.groups_per_step": "2", "optimizer.pack_tokens": "1024"}
    try:
        alone = play_steps(1, "ddp", MODEL, RANKS_STEPS, RANKS_SECONDS, settings)
        differences = {
            sharding: alone.furthest_from(play_steps(2, sharding, MODEL, RANKS_STEPS, RANKS_SECONDS, settings))
            for sharding in ("ddp", "fsdp2")
        }
    except (AssertionError, subprocess.TimeoutExpired) as error:
        console.print(f"incomplete: two processes: {str(error)[-2000:]}", markup=False)
        return None
    for sharding, difference in differences.items():
        console.print(f"two processes, {sharding}: loss differs by at most {difference:.2e}", highlight=False)
    return max(differences.values())


def measured_beside(module: str, names: tuple[str, ...], console: Console) -> dict[str, Any]:
    """The figures of another benchmark module's `measure`, null where it is missing or does not finish."""
    nothing = dict.fromkeys(names)
    if importlib.util.find_spec(module) is None:
        console.print(f"incomplete: there is no {module}", highlight=False)
        return nothing
    try:
        found = importlib.import_module(module).measure()
    except Exception as error:  # one part's failure must not hide the others' figures
        console.print(f"incomplete: {module}: {type(error).__name__}: {error}", markup=False)
        return nothing
    return {name: found.get(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--budget", type=int, default=4096, help="tokens of a micro-batch, on both sides")
    parser.add_argument("--threads", type=int, default=2, help="of a side")
    parser.add_argument("--only-step", action="store_true", help="nothing but the step beside TRL's")
    arguments = parser.parse_args()
    console = Console()
    figures: dict[str, Any] = beside_trl(
        arguments.passes, arguments.budget, arguments.steps, arguments.threads, console
    )
    if not arguments.only_step:
        figures |= measured_beside("tests.benchmarks.trainer_ingest", ("ingest_per_s",), console)
        figures["ddp_max_abs_diff"] = two_processes_beside_one(console)
        found = results()
        for name in ("rl2", "rl3"):
            figures[f"seeds_improved_{name}"] = seeds_improved(found, name)
        console.print(f"improved against plain GRPO: {ablation(found, 'rl3', 'plain_grpo') or 'not run'}")
        figures |= measured_beside("tests.benchmarks.trainer_stages", STAGES, console)
    print(f"figures: {json.dumps(figures)}")


if __name__ == "__main__":
    main()
