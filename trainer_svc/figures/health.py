"""Whether a run of RL is well, in one picture of small multiples: what is sampled, how far it is from the policy that
learns from it, where trajectories and time go.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer_svc.figures.picture import ACCENT, INK, PARTS, QUIET, label, panels

History = Sequence[Mapping[str, Any]]
_DROPPED = "dropped:"
_OTHERS = "others"
# Title, unit, and the curves: a figure of the step or of its `extra`, with its name where there are several.
_CURVES = (
    ("Length of a turn", "tokens", {"length_mean": ""}),
    ("Entropy", "nats a token", {"entropy": ""}),
    ("KL", "nats a token", {"mismatch_kl": "sampler ‖ trainer", "reference_kl": "trainer ‖ reference"}),
    (
        "Tokens held back",
        "share",
        {"clip_fraction": "clipped", "truncated_fraction": "weight truncated", "masked_fraction": "masked"},
    ),
    (
        "Importance weight",
        "mean",
        {"importance_weight": "before truncation", "truncated_importance_weight": "after"},
    ),
    ("Staleness", "versions", {"staleness": ""}),
    ("Norm of the gradient", "", {"gradient_norm": ""}),
)


def health(history: History) -> Figure:
    figure, axes = panels(3, 3, (12, 8.5))
    steps = [point["step"] for point in history]
    for axis, (title, unit, curves) in zip(axes.flat, _CURVES, strict=False):
        for colour, (name, of_name) in zip((INK, ACCENT, QUIET), curves.items(), strict=False):
            values = [point[name] if name in point else point["extra"].get(name) for point in history]
            # A curve that is not of this run, such as the distance from a reference that it has none of.
            if name == "reference_kl" and not any(values):
                continue
            axis.plot(steps, values, color=colour, marker="o", markersize=3, label=of_name)
        if any(curves.values()):
            axis.legend(frameon=False, fontsize=8)
        label(axis, title, "step", unit)
    _stacked(axes.flat[7], steps, [_dropped(point) for point in history])
    label(axes.flat[7], "Dropped, by reason", "step", "trajectories")
    _stacked(axes.flat[8], steps, [point["seconds_by_phase"] for point in history])
    label(axes.flat[8], "Time of a step, by phase", "step", "seconds")
    return figure


def _dropped(point: Mapping[str, Any]) -> dict[str, float]:
    return {name.removeprefix(_DROPPED): count for name, count in point["extra"].items() if name.startswith(_DROPPED)}


def _stacked(axis: Axes, steps: Sequence[int], parts: Sequence[Mapping[str, float]]) -> None:
    """The largest parts by name, the rest together; nothing is left out."""
    totals: Counter[str] = Counter()
    for of_step in parts:
        totals.update(of_step)
    names = [name for name, _ in totals.most_common()]
    own = names if len(names) <= len(PARTS) else names[: len(PARTS) - 1]
    rows = {name: [of_step.get(name, 0.0) for of_step in parts] for name in own}
    if len(own) < len(names):
        rows[_OTHERS] = [sum(of_step.values()) - sum(_only(of_step, own)) for of_step in parts]
    floor = [0.0] * len(steps)
    for colour, (name, heights) in zip(PARTS, rows.items(), strict=False):
        axis.bar(steps, heights, bottom=floor, color=colour, width=0.8, label=name)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    if rows:
        axis.legend(frameon=False, fontsize=8)
    else:
        axis.text(0.5, 0.5, "none", ha="center", va="center", transform=axis.transAxes, color=QUIET)


def _only(of_step: Mapping[str, float], names: Iterable[str]) -> list[float]:
    return [of_step.get(name, 0.0) for name in names]
