"""How far a judge's verdicts agree with labels, as HealthBench's meta-evaluation and the report measure it.

Ungraded pairs (either side) are counted and left out. Kappa is 0 where chance alone explains everything (both sides
constant and alike): there no agreement beyond chance can be shown. Macro F1 averages over the classes that occur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rubric_svc.model import Dimension, Outcome


@dataclass(frozen=True, slots=True)
class Pair:
    predicted: Outcome
    label: Outcome
    dimension: Dimension = Dimension.UNSPECIFIED


RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Interval:
    """The middle 95 % over bootstrap resamples of the pairs (percentile method)."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    percent_agreement: Interval
    cohen_kappa: Interval
    macro_f1: Interval


@dataclass(frozen=True, slots=True)
class Agreement:
    dimension: Dimension
    count: int
    ungraded: int
    percent_agreement: float
    cohen_kappa: float
    macro_f1: float
    intervals: Intervals | None = None


def measure(pairs: Sequence[Pair], dimension: Dimension = Dimension.UNSPECIFIED) -> Agreement:
    counts = Counter((p.predicted, p.label) for p in pairs if Outcome.UNGRADED not in (p.predicted, p.label))
    n = counts.total()
    values = _of_counts(counts)
    return Agreement(dimension, n, len(pairs) - n, values.percent_agreement, values.cohen_kappa, values.macro_f1)


@dataclass(frozen=True, slots=True)
class _Values:
    percent_agreement: float
    cohen_kappa: float
    macro_f1: float


def _of_counts(counts: Mapping[tuple[Outcome, Outcome], int]) -> _Values:
    """Of how often each (predicted, label) occurs."""
    n = sum(counts.values())
    if n == 0:
        return _Values(0.0, 0.0, 0.0)
    outcomes = (Outcome.MET, Outcome.NOT_MET)
    both = {o: counts.get((o, o), 0) for o in outcomes}
    predicted = {o: sum(c for (p, _), c in counts.items() if p is o) for o in outcomes}
    labelled = {o: sum(c for (_, label), c in counts.items() if label is o) for o in outcomes}
    observed = sum(both.values()) / n
    expected = sum(predicted[o] / n * labelled[o] / n for o in outcomes)
    kappa = (observed - expected) / (1 - expected) if expected < 1 else 0.0
    # 2 tp / (2 tp + fp + fn), of the classes that occur on either side.
    f1 = [2 * both[o] / (predicted[o] + labelled[o]) for o in outcomes if predicted[o] + labelled[o]]
    return _Values(100 * observed, kappa, sum(f1) / len(f1))


def measure_by_dimension(pairs: Iterable[Pair], *, seed: int = 0) -> tuple[Agreement, list[Agreement]]:
    """Overall, and each dimension that occurs, with intervals."""
    pairs = list(pairs)
    present = sorted({pair.dimension for pair in pairs} - {Dimension.UNSPECIFIED})
    parts = [(pairs, Dimension.UNSPECIFIED), *(([p for p in pairs if p.dimension is d], d) for d in present)]
    overall, *dimensions = (with_intervals(measure(*part), part[0], seed=seed) for part in parts)
    return overall, dimensions


def with_intervals(measured: Agreement, pairs: Sequence[Pair], *, seed: int, resamples: int = RESAMPLES) -> Agreement:
    """Resampled by how often each of the four (predicted, label) occurs, which is the same and quick for many pairs."""
    graded = [pair for pair in pairs if Outcome.UNGRADED not in (pair.predicted, pair.label)]
    if not graded:
        return measured
    kinds = sorted({(pair.predicted, pair.label) for pair in graded})
    shares = [sum((p.predicted, p.label) == kind for p in graded) / len(graded) for kind in kinds]
    drawn = np.random.default_rng(seed).multinomial(len(graded), shares, size=resamples)
    found = [_of_counts(dict(zip(kinds, (int(n) for n in counts), strict=True))) for counts in drawn]
    return replace(
        measured,
        intervals=Intervals(
            _middle([one.percent_agreement for one in found]),
            _middle([one.cohen_kappa for one in found]),
            _middle([one.macro_f1 for one in found]),
        ),
    )


def _middle(values: list[float]) -> Interval:
    values.sort()
    last = len(values) - 1
    return Interval(values[round(_TAIL * last)], values[round((1 - _TAIL) * last)])
