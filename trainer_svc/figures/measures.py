"""A step's figures: as StepMetrics for events and plots, and as OpenTelemetry metrics."""

from __future__ import annotations

import math
import resource
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics

from service_kit.errors import ServiceError
from trainer_svc.figures.heldout import Measured
from trainer_svc.flow.groups import FreshMember
from trainer_svc.records.ledger import Outcome

if TYPE_CHECKING:  # the engine imports torch
    from trainer_svc.learner.trainer import StepResult

_meter = metrics.get_meter(__name__)
# One point a step each: what the curves of a run show.
_gauges = {
    name: _meter.create_gauge(f"anamnesis.trainer.{name}", unit, description)
    for name, unit, description in (
        ("reward_mean", "1", "Mean reward of the trajectories trained on"),
        ("reward_std", "1", "Spread of the reward within a group, its mean over groups: what there is to learn from"),
        ("length_mean", "{token}", "Mean length of the sampled turns"),
        ("tokens_per_second", "{token}/s", "Sampled tokens of the step by its whole time"),
        ("mismatch_kl", "1", "KL of the sampler's distribution from the trainer's"),
        ("staleness", "{version}", "Mean age of the trained tokens, in versions of the policy"),
        ("clip_fraction", "1", "Share of tokens whose ratio was clipped"),
        ("entropy", "1", "Entropy of the policy, in nats a token"),
        ("loss", "1", "The objective, negated"),
        ("gradient_norm", "1", "Norm of the gradient before clipping"),
        ("seconds", "s", "Whole time of the step"),
    )
}
# What else a step has, in its `extra`.
_extra_gauges = {
    name: _meter.create_gauge(f"anamnesis.trainer.{name}", "1", description)
    for name, description in (
        ("truncated_fraction", "Share of tokens whose importance weight was truncated"),
        ("masked_fraction", "Share of tokens masked as too far off-policy"),
        ("importance_weight", "Mean ratio of trainer to sampler over the trained tokens, before truncation"),
        ("truncated_importance_weight", "Mean importance weight over the trained tokens, after truncation"),
    )
}
_components = _meter.create_gauge("anamnesis.trainer.reward_component", "1", "Mean of a component of the reward")
_held_out = _meter.create_gauge("anamnesis.trainer.held_out_reward", "1", "Mean reward on held-out cases")
_memory = _meter.create_gauge("anamnesis.trainer.memory", "By", "Greatest use of memory so far, by device")
_alerts = _meter.create_counter("anamnesis.trainer.alerts", "{alert}", "Alerts about a run's curves, by name")
_steps = _meter.create_counter("anamnesis.trainer.steps", "{step}", "Optimizer steps taken")
_trained = _meter.create_counter("anamnesis.trainer.trajectories.trained", "{trajectory}", "Trajectories trained on")
_dropped = _meter.create_counter(
    "anamnesis.trainer.trajectories.dropped", "{trajectory}", "Requests that ended without use, by purpose and reason"
)
_phases = _meter.create_histogram(
    "anamnesis.trainer.phase.duration",
    unit="s",
    description="Time of a step by phase",
    explicit_bucket_boundaries_advisory=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
)
_updates = _meter.create_counter(
    "anamnesis.trainer.weight_updates", "{update}", "New weights given to a policy replica, by outcome"
)
_active = _meter.create_gauge("anamnesis.trainer.run.active", "{run}", "1 while this process plays a run")


def step_metrics(
    step: int,
    result: StepResult,
    groups: Sequence[Sequence[FreshMember]],
    outcomes: Sequence[Outcome],
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
            "masked_fraction": result.masked_fraction,
            "importance_weight": result.weight,
            "truncated_importance_weight": result.truncated_weight,
            "reference_kl": result.reference_kl,
            "length_bonus": result.bonus_mean,
            **{f"dropped:{reason}": float(count) for reason, count in _reasons(outcomes).items()},
            **{f"memory_{device}_mb": size / 2**20 for device, size in _memory_used().items()},
            **_rollout_seconds(members),
        },
    }


def record(figures: Mapping[str, Any]) -> None:
    for name, gauge in _gauges.items():
        gauge.set(figures[name])
    for name, gauge in _extra_gauges.items():
        gauge.set(figures["extra"][name])
    for name, value in figures["reward_components"].items():
        _components.set(value, {"component": name})
    for device, size in _memory_used().items():
        _memory.set(size, {"device": device})
    _steps.add(1)
    _trained.add(figures["trajectories"])
    for phase, seconds in figures["seconds_by_phase"].items():
        _phases.record(seconds, {"phase": phase})


def record_supervised(figures: Mapping[str, Any]) -> None:
    """Of a stage without rewards: the figures that it has."""
    for name in figures.keys() & _gauges.keys():
        _gauges[name].set(figures[name])
    _steps.add(1)


def record_held_out(values: Mapping[int, Measured]) -> float | None:
    """Their mean reward; None where there are none."""
    if not values:
        return None
    mean = _mean([measured.reward for measured in values.values()])
    _held_out.set(mean)
    return mean


def count_alert(name: str) -> None:
    _alerts.add(1, {"alert": name})


def count_dropped(purpose: str, reason: str) -> None:
    _dropped.add(1, {"purpose": purpose, "reason": reason})


def count_update(error: ServiceError | None) -> None:
    _updates.add(1, {"outcome": "updated" if error is None else error.reason})


@contextmanager
def active_run() -> Iterator[None]:
    _active.set(1)
    try:
        yield
    finally:
        _active.set(0)


def _reasons(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(outcome.reason for outcome in outcomes if outcome.reason)


def _memory_used() -> dict[str, int]:
    """Peak bytes of this process, by device."""
    import torch

    used = {"cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if torch.cuda.is_available():
        used["gpu"] = torch.cuda.max_memory_allocated()
    return used


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
