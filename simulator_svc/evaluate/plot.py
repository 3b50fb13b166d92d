"""The measurements as a picture: the shares by condition, and how well the persona shows, axis by axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes

from simulator_svc.evaluate.measure import Measured
from simulator_svc.evaluate.scorers.intervals import Estimate

matplotlib.use("Agg")
import matplotlib.pyplot as plt

_SHARES: dict[str, Callable[[Measured], Estimate]] = {
    "Privacy": lambda m: m.privacy,
    "Fact": lambda m: m.fact,
    "answer recall": lambda m: m.answer_recall,
    "ended in time": lambda m: m.ended_in_time,
    "fall-back": lambda m: m.fallback_share,
}


def plot(measured: Mapping[str, Measured], file: Path) -> None:
    figure, (shares, axes) = plt.subplots(1, 2, figsize=(13, 4.5), layout="constrained")
    _bars(shares, {name: {label: of(m) for label, of in _SHARES.items()} for name, m in measured.items()})
    shares.set_title("share of turns (ended in time: of consultations), 95 % intervals")
    known = {name: m.personification for name, m in measured.items() if m.personification}
    _bars(axes, {name: {axis: one.accuracy for axis, one in p.axes.items()} for name, p in known.items()})
    if known:
        chances = [one.chance for one in next(iter(known.values())).axes.values()]
        for place, chance in enumerate(chances):
            axes.hlines(chance, place - 0.45, place + 0.45, colors="black", linestyles="dotted")
    axes.set_title("persona recognised from the replies (dotted: chance)")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def _bars(axes: Axes, groups: Mapping[str, Mapping[str, Estimate]]) -> None:
    width = 0.8 / max(1, len(groups))
    labels = list(next(iter(groups.values()))) if groups else []
    for index, (name, estimates) in enumerate(groups.items()):
        for place, label in enumerate(labels):
            one = estimates.get(label)
            if one is None or one.value is None or one.low is None or one.high is None:
                continue
            axes.bar(
                place + (index - (len(groups) - 1) / 2) * width,
                one.value,
                width,
                yerr=[[max(0.0, one.value - one.low)], [max(0.0, one.high - one.value)]],
                color=f"C{index}",
                label=name if place == 0 else None,
                capsize=2,
            )
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set_ylim(0, 1.02)
    axes.legend()
