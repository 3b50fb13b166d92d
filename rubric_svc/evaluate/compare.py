"""Two candidates on the same items: the paired difference of their means and its interval.

    d = clip(mean(b)) - clip(mean(a)),  over resamples that draw items, so that both sides always have the same ones

Only items that have a value on both sides are compared; the others are counted.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rubric_svc.evaluate.scores import Example
from rubric_svc.score import RESAMPLES, clipped_mean


@dataclass(frozen=True, slots=True)
class Difference:
    """`low` and `high` bound the middle 95 % of the resamples."""

    before: float
    after: float
    difference: float
    standard_error: float
    low: float
    high: float
    count: int
    unpaired: int


def compare(before: Sequence[Example], after: Sequence[Example], *, seed: int = 0) -> Difference:
    """Raises ValueError where no item has a value on both sides."""
    first = {scored.prompt_id: scored.value for scored in before if scored.value is not None}
    second = {scored.prompt_id: scored.value for scored in after if scored.value is not None}
    common = sorted(first.keys() & second.keys())
    if not common:
        raise ValueError("the two evaluations have no scored item in common")
    pairs = [(first[name], second[name]) for name in common]
    chance = random.Random(seed)
    drawn = sorted(_difference(chance.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    return Difference(
        before=clipped_mean([a for a, _ in pairs]),
        after=clipped_mean([b for _, b in pairs]),
        difference=_difference(pairs),
        standard_error=statistics.pstdev(drawn),
        low=drawn[round(0.025 * (RESAMPLES - 1))],
        high=drawn[round(0.975 * (RESAMPLES - 1))],
        count=len(pairs),
        unpaired=len(first.keys() ^ second.keys()),
    )


def _difference(pairs: Sequence[tuple[float, float]]) -> float:
    return clipped_mean([b for _, b in pairs]) - clipped_mean([a for a, _ in pairs])
