"""The study of learning as a picture: what each finished run gained on held-out cases, and its curves of rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from tests.benchmarks.study import SMOOTHED_STEPS, Result, jobs, of_experiment


def plot(found: Sequence[Result], path: Path) -> None:
    """Held-out reward after less before, with its standard error, a dot a seed; training reward; and the held-out
    reward over the seconds of training, where a run was measured on its way."""
    names = list(dict.fromkeys(job.experiment for job in jobs()))
    figure, (gains, curves, times) = plt.subplots(1, 3, figsize=(15, 4.2), constrained_layout=True)
    for place, name in enumerate(names):
        finished = of_experiment(found, name)
        color = f"C{place}"
        gains.errorbar(
            [place + 0.12 * (number - 1) for number in range(len(finished))],
            [result.difference for result in finished],
            yerr=[result.standard_error for result in finished],
            fmt="o",
            color=color,
            capsize=3,
        )
        for number, result in enumerate(finished):
            steps = range(SMOOTHED_STEPS, len(result.steps) + 1)
            curves.plot(steps, result.smoothed, color=color, alpha=0.8, label=name if number == 0 else None)
            if result.held_out:
                seconds = [0.0, *(one.trained for one in result.held_out)]
                rewards = [result.held_out_before, *(one.reward for one in result.held_out)]
                times.plot(seconds, rewards, color=color, alpha=0.8, marker=".", label=name if number == 0 else None)
    gains.axhline(0, color="grey", linewidth=0.8)
    gains.set_xticks(range(len(names)), names)
    gains.set_title("held-out reward, after less before (one seed each, ± SE)")
    curves.set_title(f"training reward, mean of {SMOOTHED_STEPS} steps")
    curves.set_xlabel("step")
    curves.legend()
    times.set_title("held-out reward")
    times.set_xlabel("seconds of training")
    if times.lines:
        times.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
