"""The held-out measurement: the same cases, personas and seeds before and after, compared pair by pair."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from anamnesis.common.v1 import rollout_pb2

# Measured beside the reward and never part of it.
UNTRAINED = "coherence"


@dataclass(frozen=True)
class Measured:
    reward: float
    untrained: float
    components: dict[str, float]


@dataclass(frozen=True)
class HeldOut:
    mean_before: float
    mean_after: float
    diff_standard_error: float
    count: int
    untrained_before: float
    untrained_after: float

    def as_columns(self) -> dict[str, float]:
        return asdict(self)


def measured(trajectory: rollout_pb2.Trajectory) -> Measured:
    components = {component.name: component.value for component in trajectory.rewards}
    return Measured(trajectory.reward, components.get(UNTRAINED, 0.0), components)


def compare(before: Mapping[int, Measured], after: Mapping[int, Measured]) -> HeldOut | None:
    """Over the pairs that were completed both times; None when there is none. One pair has no standard error: 0."""
    pairs = [(before[i], after[i]) for i in sorted(before.keys() & after.keys())]
    if not pairs:
        return None
    n = len(pairs)
    differences = [b.reward - a.reward for a, b in pairs]
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1) if n > 1 else 0.0
    return HeldOut(
        mean_before=sum(a.reward for a, _ in pairs) / n,
        mean_after=sum(b.reward for _, b in pairs) / n,
        diff_standard_error=math.sqrt(variance / n),
        count=n,
        untrained_before=sum(a.untrained for a, _ in pairs) / n,
        untrained_after=sum(b.untrained for _, b in pairs) / n,
    )


def standard_error(values: list[float]) -> float:
    n = len(values)
    if n < 2:
        return 0.0
    mean = sum(values) / n
    return math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)
