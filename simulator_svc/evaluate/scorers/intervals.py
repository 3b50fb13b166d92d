"""Intervals by the bootstrap, resampling whole sessions: turns of one consultation are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio of sums with its 95 % interval; `value` is None where nothing was measured."""

    value: float | None
    low: float | None
    high: float | None
    count: float

    def __str__(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return "-"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def ratio(sessions: Sequence[tuple[float, float]], seed: int = 0) -> Estimate:
    """sum(numerators) / sum(denominators) over sessions of (numerator, denominator)."""
    counted = [session for session in sessions if session[1]]
    if not counted:
        return Estimate(None, None, None, 0)
    random = Random(f"bootstrap:{seed}")
    drawn = sorted(_share(random.choices(counted, k=len(counted))) for _ in range(RESAMPLES))
    low, high = drawn[int(0.025 * RESAMPLES)], drawn[int(0.975 * RESAMPLES) - 1]
    return Estimate(_share(counted), low, high, sum(denominator for _, denominator in counted))


def _share(sessions: Sequence[tuple[float, float]]) -> float:
    return sum(one for one, _ in sessions) / sum(whole for _, whole in sessions)
