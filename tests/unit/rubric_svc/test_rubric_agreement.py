"""Agreement against numbers worked out by hand."""

import pytest

from rubric_svc.agreement import Pair, measure, measure_by_dimension
from rubric_svc.model import Dimension, Outcome

M, N, U = Outcome.MET, Outcome.NOT_MET, Outcome.UNGRADED


def _pairs(both_met: int, only_predicted: int, only_label: int, neither: int) -> list[Pair]:
    return [Pair(M, M)] * both_met + [Pair(M, N)] * only_predicted + [Pair(N, M)] * only_label + [Pair(N, N)] * neither


def test_the_textbook_table() -> None:
    # Cohen's table: 20, 5, 10, 15. observed 35/50, expected 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa (0.7 - 0.5) / 0.5.
    found = measure(_pairs(20, 5, 10, 15))
    assert found.percent_agreement == pytest.approx(70)
    assert found.cohen_kappa == pytest.approx(0.4)
    # F1 met 40 / 55, F1 not met 30 / 45.
    assert found.macro_f1 == pytest.approx((40 / 55 + 30 / 45) / 2)


def test_perfect_and_opposite() -> None:
    assert (measure(_pairs(3, 0, 0, 3)).cohen_kappa, measure(_pairs(3, 0, 0, 3)).macro_f1) == (1.0, 1.0)
    assert (measure(_pairs(0, 3, 3, 0)).cohen_kappa, measure(_pairs(0, 3, 3, 0)).macro_f1) == (-1.0, 0.0)


def test_one_class_alone_shows_no_agreement_beyond_chance() -> None:
    found = measure(_pairs(4, 0, 0, 0))
    assert (found.percent_agreement, found.cohen_kappa, found.macro_f1) == (100.0, 0.0, 1.0)


def test_ungraded_is_counted_and_left_out() -> None:
    found = measure([*_pairs(1, 0, 0, 1), Pair(U, M), Pair(N, U)])
    assert (found.count, found.ungraded, found.percent_agreement) == (2, 2, 100.0)


def test_nothing_graded_gives_zeros() -> None:
    found = measure([Pair(U, M)])
    assert (found.count, found.ungraded, found.percent_agreement, found.macro_f1) == (0, 1, 0.0, 0.0)


def test_dimensions_are_measured_each_by_itself() -> None:
    first, second = Dimension.TREATMENT, Dimension.COMMUNICATION
    overall, parts = measure_by_dimension([Pair(M, M, first), Pair(N, N, first), Pair(M, N, second)])
    assert overall.count == 3
    assert [(p.dimension, p.count, p.percent_agreement) for p in parts] == [(first, 2, 100.0), (second, 1, 0.0)]
