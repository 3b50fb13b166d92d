"""How far a judge's verdicts agree with labels, as HealthBench's meta-evaluation and the report measure it.

Ungraded pairs (either side) are counted and left out. Kappa is 0 where chance alone explains everything (both sides
constant and alike): there no agreement beyond chance can be shown. Macro F1 averages over the classes that occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rubric_svc.model import Dimension, Outcome


@dataclass(frozen=True, slots=True)
class Pair:
    predicted: Outcome
    label: Outcome
    dimension: Dimension = Dimension.UNSPECIFIED


@dataclass(frozen=True, slots=True)
class Agreement:
    dimension: Dimension
    count: int
    ungraded: int
    percent_agreement: float
    cohen_kappa: float
    macro_f1: float


def measure(pairs: Sequence[Pair], dimension: Dimension = Dimension.UNSPECIFIED) -> Agreement:
    graded = [(p.predicted, p.label) for p in pairs if Outcome.UNGRADED not in (p.predicted, p.label)]
    n = len(graded)
    if n == 0:
        return Agreement(dimension, 0, len(pairs), 0.0, 0.0, 0.0)
    observed = sum(predicted is label for predicted, label in graded) / n
    expected = sum(
        (sum(predicted is outcome for predicted, _ in graded) / n) * (sum(label is outcome for _, label in graded) / n)
        for outcome in (Outcome.MET, Outcome.NOT_MET)
    )
    kappa = (observed - expected) / (1 - expected) if expected < 1 else 0.0
    f1 = [value for outcome in (Outcome.MET, Outcome.NOT_MET) if (value := _f1(graded, outcome)) is not None]
    return Agreement(dimension, n, len(pairs) - n, 100 * observed, kappa, sum(f1) / len(f1))


def measure_by_dimension(pairs: Iterable[Pair]) -> tuple[Agreement, list[Agreement]]:
    """Overall, and each dimension that occurs."""
    pairs = list(pairs)
    present = sorted({pair.dimension for pair in pairs} - {Dimension.UNSPECIFIED})
    return measure(pairs), [measure([p for p in pairs if p.dimension is d], d) for d in present]


def _f1(graded: Sequence[tuple[Outcome, Outcome]], outcome: Outcome) -> float | None:
    """2 tp / (2 tp + fp + fn); None where the class occurs on neither side."""
    predicted = sum(p is outcome for p, _ in graded)
    labelled = sum(label is outcome for _, label in graded)
    both = sum(p is outcome and label is outcome for p, label in graded)
    return 2 * both / (predicted + labelled) if predicted + labelled else None
