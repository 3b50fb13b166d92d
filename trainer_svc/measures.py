"""A step's figures: as StepMetrics for events and plots, and as OpenTelemetry metrics."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import metrics

from trainer_svc.engine import StepResult
from trainer_svc.groups import FreshMember

_meter = metrics.get_meter(__name__)
_gauges = {
    name: _meter.create_gauge(f"anamnesis.trainer.{name}")
    for name in ("reward_mean", "length_mean", "tokens_per_second", "mismatch_kl", "staleness", "clip_fraction",
                 "entropy", "loss", "gradient_norm", "seconds")
}  # fmt: skip
_steps = _meter.create_counter("anamnesis.trainer.steps")
_trained = _meter.create_counter("anamnesis.trainer.trajectories.trained")


def step_metrics(
    step: int,
    result: StepResult,
    groups: Sequence[Sequence[FreshMember]],
    seconds_by_phase: Mapping[str, float],
    cpu_seconds: float,
) -> dict[str, Any]:
    """The fields of StepMetrics. reward_std is the mean over groups, since only spread within a group teaches."""
    members = [member for group in groups for member in group]
    rewards = [m.member.trajectory.reward for m in members]
    lengths = [len(m.member.sampled) for m in members]
    tokens = sum(len(m.trained) for m in members)
    seconds = sum(seconds_by_phase.values())
    return {
        "step": step,
        "reward_mean": _mean(rewards),
        "reward_std": _mean([_deviation([m.member.trajectory.reward for m in group]) for group in groups]),
        "length_mean": _mean(lengths),
        "tokens_per_second": sum(lengths) / max(seconds, 1e-9),
        "mismatch_kl": result.mismatch_kl,
        "staleness": sum(m.age * len(m.trained) for m in members) / max(1, tokens),
        "clip_fraction": result.clip_fraction,
        "entropy": result.entropy,
        "loss": result.loss,
        "gradient_norm": result.gradient_norm,
        "seconds": seconds,
        "groups": len(groups),
        "trajectories": len(members),
        "reward_components": _component_means(members),
        "seconds_by_phase": dict(seconds_by_phase),
        "extra": {
            "cpu_seconds": cpu_seconds,
            "truncated_fraction": result.truncated_fraction,
            "length_bonus": result.bonus_mean,
            **_rollout_seconds(members),
        },
    }


def record(figures: Mapping[str, Any]) -> None:
    for name, gauge in _gauges.items():
        gauge.set(figures[name])
    _steps.add(1)
    _trained.add(figures["trajectories"])


def _component_means(members: Sequence[FreshMember]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for member in members:
        for component in member.member.trajectory.rewards:
            values[component.name].append(component.value)
    return {name: _mean(of_name) for name, of_name in sorted(values.items())}


def _rollout_seconds(members: Sequence[FreshMember]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for member in members:
        for timing in member.member.trajectory.timings:
            values[f"rollout_{timing.phase}_seconds"].append(timing.duration.ToTimedelta().total_seconds())
    return {name: _mean(of_name) for name, of_name in sorted(values.items())}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _deviation(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(_mean([(value - mean) ** 2 for value in values]))
