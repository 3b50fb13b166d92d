"""HealthBench's score: points of met criteria, penalties included, over the points of positive criteria.

    value = sum(points of met) / sum(points of positive)        unclipped for one example
    mean  = clip(mean(value), 0, 1)                             over examples

Invariant: an ungraded criterion is in neither sum. Where more than `void_share` of the rubric's absolute points is
ungraded, or no graded criterion is positive, the score is void: it has no value and must not become a reward.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rubric_svc.model import Dimension, DimensionScore, Outcome, Score, Verdict

RESAMPLES = 1000


def score(verdicts: Sequence[Verdict], *, void_share: float) -> Score:
    graded = [verdict for verdict in verdicts if verdict.outcome is not Outcome.UNGRADED]
    met, possible = _sums(graded)
    total = sum(abs(verdict.criterion.points) for verdict in verdicts)
    missing = total - sum(abs(verdict.criterion.points) for verdict in graded)
    ungraded_share = missing / total if total else 1.0
    void = ungraded_share > void_share or possible == 0
    return Score(
        value=met / possible if possible else 0.0,
        points_met=met,
        points_possible=possible,
        ungraded_share=ungraded_share,
        void=void,
        verdicts=tuple(verdicts),
        dimensions=tuple(_by_dimension(graded)),
    )


def _sums(graded: Sequence[Verdict]) -> tuple[float, float]:
    met = sum(verdict.criterion.points for verdict in graded if verdict.outcome is Outcome.MET)
    possible = sum(verdict.criterion.points for verdict in graded if verdict.criterion.points > 0)
    return float(met), float(possible)


def _by_dimension(graded: Sequence[Verdict]) -> list[DimensionScore]:
    """A dimension without positive points has no value and is left out, as HealthBench does with axes and themes."""
    scores = []
    for dimension in Dimension:
        met, possible = _sums([verdict for verdict in graded if verdict.criterion.dimension is dimension])
        if possible:
            scores.append(DimensionScore(dimension, met / possible, possible))
    return scores


@dataclass(frozen=True, slots=True)
class Mean:
    value: float
    standard_error: float
    count: int


def clipped_mean(values: Sequence[float]) -> float:
    return min(1.0, max(0.0, statistics.fmean(values)))


def mean_with_error(values: Sequence[float], *, seed: int, resamples: int = RESAMPLES) -> Mean:
    """The clipped mean over examples and the standard deviation of it over bootstrap resamples."""
    if not values:
        raise ValueError("the mean of no examples")
    chance = random.Random(seed)
    means = [clipped_mean(chance.choices(values, k=len(values))) for _ in range(resamples)]
    return Mean(clipped_mean(values), statistics.pstdev(means), len(values))
