"""The picture of a run's health shows what the steps measured, and leaves nothing out."""

from typing import Any

import numpy
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from trainer_svc.figures.health import health

PLAIN = ("length_mean", "entropy", "mismatch_kl", "clip_fraction", "staleness", "gradient_norm")
EXTRA = ("truncated_fraction", "masked_fraction", "importance_weight", "truncated_importance_weight")


def point(step: int, dropped: dict[str, float], reference_kl: float = 0.0) -> dict[str, Any]:
    return {
        "step": step,
        **{name: step + place / 10 for place, name in enumerate(PLAIN)},
        "seconds_by_phase": {"rollout": 3.0 * step, "train": 2.0, "publish": 0.5},
        "extra": {
            **{name: step + place / 100 for place, name in enumerate(EXTRA)},
            "reference_kl": reference_kl,
            **{f"dropped:{reason}": count for reason, count in dropped.items()},
        },
    }


def panel(figure: Figure, title: str) -> Axes:
    (axis,) = [axis for axis in figure.axes if axis.get_title() == title]
    return axis


def curves(axis: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): numpy.asarray(line.get_ydata()).tolist() for line in axis.lines}


def bars(axis: Axes) -> dict[str, list[float]]:
    return {str(part.get_label()): [bar.get_height() for bar in part] for part in axis.containers}


def test_curves_and_parts_are_those_of_the_steps() -> None:
    figure = health([point(1, {"no_spread": 4.0}), point(2, {"filtered:repeated_turn": 1.0, "no_spread": 2.0})])
    assert len(figure.axes) == 9
    assert list(curves(panel(figure, "Entropy")).values()) == [[1.1, 2.1]]
    assert curves(panel(figure, "Importance weight")) == {"before truncation": [1.02, 2.02], "after": [1.03, 2.03]}
    assert list(curves(panel(figure, "KL")).values()) == [[1.2, 2.2]]
    dropped = bars(panel(figure, "Dropped, by reason"))
    assert dropped == {"no_spread": [4.0, 2.0], "filtered:repeated_turn": [0.0, 1.0]}
    assert bars(panel(figure, "Time of a step, by phase")) == {
        "rollout": [3.0, 6.0], "train": [2.0, 2.0], "publish": [0.5, 0.5]
    }  # fmt: skip


def test_a_reference_has_its_curve_where_there_is_one() -> None:
    assert len(curves(panel(health([point(1, {}, 0.2), point(2, {}, 0.3)]), "KL"))) == 2


def test_many_reasons_are_told_by_the_largest_and_the_rest_together() -> None:
    reasons = {f"reason{n}": float(n) for n in range(1, 10)}
    shown = bars(panel(health([point(1, reasons)]), "Dropped, by reason"))
    assert list(shown)[:2] == ["reason9", "reason8"] and "others" in shown
    assert sum(heights[0] for heights in shown.values()) == pytest.approx(sum(reasons.values()))
