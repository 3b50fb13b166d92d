"""Which curves alarm somebody, when, and how often."""

from typing import Any

import pytest

from trainer_svc.config import Alerts
from trainer_svc.tracking.alerts import alerts

LIMITS = Alerts(window=2, reward_drop=0.2, entropy_share=0.2, mismatch_kl=0.1, judge_disagreement=0.15)


def told(**curves: list[float]) -> list[tuple[int, str]]:
    """The step and name of each alert of a run with these curves; the others stay healthy."""
    length = len(next(iter(curves.values())))
    healthy = {"reward_mean": [0.5] * length, "entropy": [2.0] * length, "mismatch_kl": [0.01] * length}
    history: list[dict[str, Any]] = []
    found = []
    for step in range(length):
        history.append({name: values[step] for name, values in {**healthy, **curves}.items()})
        found += [(step, alert.name) for alert in alerts(history, LIMITS)]
    return found


def test_a_healthy_run_alarms_nobody() -> None:
    assert told(reward_mean=[0.1, 0.2, 0.15, 0.3, 0.25, 0.4, 0.35, 0.5]) == []


@pytest.mark.parametrize(
    ("curve", "name"),
    [
        ({"reward_mean": [0.5, 0.5, 0.6, 0.6, 0.2, 0.2, 0.2, 0.2]}, "reward_collapse"),
        ({"entropy": [2.0, 2.0, 1.5, 1.0, 0.1, 0.1, 0.1, 0.1]}, "entropy_collapse"),
        ({"mismatch_kl": [0.01, 0.01, 0.02, 0.01, 0.3, 0.3, 0.3, 0.3]}, "mismatch_kl"),
    ],
)
def test_a_curve_that_goes_wrong_is_told_once(curve: dict[str, list[float]], name: str) -> None:
    ((step, found),) = told(**curve)
    assert found == name and step in (4, 5)


def test_what_came_back_and_fell_again_is_told_again() -> None:
    found = told(mismatch_kl=[0.0, 0.3, 0.3, 0.0, 0.0, 0.3, 0.3])
    assert [name for _, name in found] == ["mismatch_kl", "mismatch_kl"]


def test_a_single_step_alarms_nobody_and_a_supervised_stage_has_no_rewards() -> None:
    assert told(mismatch_kl=[0.0, 0.0, 0.15, 0.0, 0.0, 0.0]) == []
    assert alerts([{"step": 1, "loss": 2.0}] * 8, LIMITS) == []


def disagreeing(*shares: float | None) -> list[dict[str, Any]]:
    return [
        {"step": i, "reward_components": {} if s is None else {"judge_disagreement": s}} for i, s in enumerate(shares)
    ]


def test_a_second_judge_alarms_somebody_when_it_disagrees_more_than_at_first_and_not_because_it_always_does() -> None:
    assert alerts(disagreeing(0.5, 0.5, 0.5, 0.6, 0.6), LIMITS) == []
    rising = disagreeing(0.1, 0.2, None, 0.2, 0.3, None, 0.4)
    assert [len(alerts(rising[:steps], LIMITS)) for steps in range(1, 8)] == [0, 0, 0, 0, 0, 0, 1]
    (alert,) = alerts(rising, LIMITS)
    assert alert.name == "judge_disagreement" and "35.0%" in alert.detail and "15.0%" in alert.detail
