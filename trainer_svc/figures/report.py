"""The curves of a run as pictures, and its figures as summary.json."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer_svc.figures.general import Change
from trainer_svc.figures.health import health
from trainer_svc.figures.heldout import HeldOut, Measured, standard_error
from trainer_svc.figures.picture import ACCENT, INK, QUIET, label, panels, save


def write_report(
    directory: Path,
    history: Sequence[Mapping[str, Any]],
    before: Mapping[int, Measured],
    after: Mapping[int, Measured],
    by_step: Mapping[int, float],
    held_out: HeldOut | None,
    general: Mapping[str, Change],
    stage: Mapping[str, Any],
    ledger: Sequence[Mapping[str, Any]],
) -> list[Path]:
    """Returns the pictures' paths; summary.json lies beside them. `by_step`: mean held-out rewards."""
    directory.mkdir(parents=True, exist_ok=True)
    if any("reward_mean" not in point for point in history):
        pictures = [_supervised(directory, history, general)]
    else:
        pictures = [_learning(directory, history, before, after, by_step, held_out)]
        pictures.append(save(health(history), directory / "health.png"))
    summary = {
        "steps": len(history),
        "held_out": held_out.as_columns() if held_out else None,
        "held_out_by_step": dict(by_step),
        "general": dict(general),
        "stage": dict(stage),
        "ledger": list(ledger),
        "history": list(history),
        "pictures": [path.name for path in pictures],
    }
    (directory / "summary.json").write_text(json.dumps(summary, indent=2), encoding="utf-8")
    return pictures


def _learning(
    directory: Path,
    history: Sequence[Mapping[str, Any]],
    before: Mapping[int, Measured],
    after: Mapping[int, Measured],
    by_step: Mapping[int, float],
    held_out: HeldOut | None,
) -> Path:
    figure, (curve, bars) = panels(1, 2, (10, 4), width_ratios=[2, 1])
    steps = [point["step"] for point in history]
    mean = [point["reward_mean"] for point in history]
    spread = [point["reward_std"] for point in history]
    curve.plot(steps, mean, color=ACCENT, marker="o", markersize=3)
    low = [m - s for m, s in zip(mean, spread, strict=True)]
    high = [m + s for m, s in zip(mean, spread, strict=True)]
    curve.fill_between(steps, low, high, color=ACCENT, alpha=0.15, linewidth=0)
    if len(by_step) > 2:  # before and after alone are the bars
        curve.plot(*zip(*sorted(by_step.items()), strict=True), color=INK, marker="s", markersize=4, label="held out")
        curve.legend(frameon=False)
    label(curve, "Reward in training (mean, ± deviation within a group)", "step", "reward")
    if held_out is not None:
        paired = sorted(before.keys() & after.keys())
        errors = [standard_error([side[i].reward for i in paired]) for side in (before, after)]
        values = [held_out.mean_before, held_out.mean_after]
        bars.bar(["before", "after"], values, yerr=errors, color=[QUIET, ACCENT], capsize=5)
        gain = held_out.mean_after - held_out.mean_before
        title = (
            f"Held-out reward, n = {held_out.count}\npaired gain {gain:+.3f} ± {held_out.diff_standard_error:.3f} (SE)"
        )
        label(bars, title, "", "reward, ±1 SE")
    return save(figure, directory / "learning.png")


def _supervised(directory: Path, history: Sequence[Mapping[str, Any]], general: Mapping[str, Change]) -> Path:
    """Of a stage without rewards: the loss, the distance from the reference, and perplexities before and after."""
    figure, (loss, distance, bars) = panels(1, 3, (11, 3.6))
    steps = [point["step"] for point in history]
    loss.plot(steps, [point["loss"] for point in history], color=ACCENT, marker="o", markersize=3)
    label(loss, "Loss in training", "step", "nats a token")
    distance.plot(steps, [point["extra"]["reference_kl"] for point in history], color=INK, marker="o", markersize=3)
    label(distance, "KL from the frozen reference", "step", "nats a token")
    perplexities = {name: change for name, change in general.items() if name.startswith("perplexity_")}
    places = range(len(perplexities))
    for offset, colour, side in ((-0.2, QUIET, "before"), (0.2, ACCENT, "after")):
        values = [float(change["before" if side == "before" else "after"]) for change in perplexities.values()]
        bars.bar([place + offset for place in places], values, width=0.38, color=colour, label=side)
    bars.set_xticks(list(places), [name.removeprefix("perplexity_") for name in perplexities])
    if perplexities:
        bars.legend(frameon=False)
    label(bars, "Perplexity, held out", "", "")
    return save(figure, directory / "supervised.png")
