"""The score against an independent re-computation, and its error."""

import random

import numpy as np
import pytest

from rubric_svc.model import Criterion, Dimension, Outcome, Verdict
from rubric_svc.score import mean_with_error, score


def _random_verdicts(chance: random.Random) -> list[Verdict]:
    return [
        Verdict(
            Criterion(
                str(index), "x", chance.choice([p for p in range(-10, 11) if p]), Dimension(chance.randrange(0, 8))
            ),
            chance.choices([Outcome.MET, Outcome.NOT_MET, Outcome.UNGRADED], weights=[4, 4, 1])[0],
            0.5,
            "",
        )
        for index in range(chance.randrange(1, 20))
    ]


def _independent(verdicts: list[Verdict]) -> tuple[float | None, float]:
    """Straight from the definition, with arrays."""
    points = np.array([v.criterion.points for v in verdicts], dtype=float)
    met = np.array([v.outcome is Outcome.MET for v in verdicts])
    graded = np.array([v.outcome is not Outcome.UNGRADED for v in verdicts])
    positive = points[(points > 0) & graded].sum()
    share = float(np.abs(points[~graded]).sum() / np.abs(points).sum())
    return (float(points[met].sum() / positive) if positive else None), share


@pytest.mark.parametrize("seed", range(300))
def test_score_equals_an_independent_computation(seed: int) -> None:
    verdicts = _random_verdicts(random.Random(seed))
    found = score(verdicts, void_share=0.3)
    value, share = _independent(verdicts)
    assert found.ungraded_share == pytest.approx(share, abs=1e-12)
    assert found.void is (value is None or share > 0.3)
    if value is not None:
        assert found.value == pytest.approx(value, abs=1e-12)
    for part in found.dimensions:
        own = [v for v in verdicts if v.criterion.dimension is part.dimension]
        assert part.value == pytest.approx(_independent(own)[0], abs=1e-12)


def _verdict(points: int, outcome: Outcome) -> Verdict:
    return Verdict(Criterion(f"{points}{outcome}", "x", points), outcome, 1.0, "")


def test_a_score_may_be_negative_and_is_not_clipped() -> None:
    found = score([_verdict(5, Outcome.NOT_MET), _verdict(-10, Outcome.MET)], void_share=0.3)
    assert found.value == -2.0 and not found.void


def test_an_ungraded_penalty_does_not_raise_a_reward_it_voids_it() -> None:
    found = score([_verdict(5, Outcome.MET), _verdict(-10, Outcome.UNGRADED)], void_share=0.3)
    assert found.void and found.ungraded_share == pytest.approx(10 / 15)


def test_ungraded_is_in_neither_sum() -> None:
    verdicts = [_verdict(6, Outcome.MET), _verdict(2, Outcome.UNGRADED), _verdict(4, Outcome.NOT_MET)]
    found = score(verdicts, void_share=0.3)
    assert (found.points_met, found.points_possible, found.value) == (6, 10, 0.6)
    assert not found.void


def test_a_rubric_of_penalties_alone_has_no_score() -> None:
    assert score([_verdict(-3, Outcome.NOT_MET)], void_share=0.3).void


def test_the_mean_is_clipped_and_its_error_is_the_bootstraps() -> None:
    values = [random.Random(3).gauss(0.4, 0.2) for _ in range(100)]
    found = mean_with_error(values, seed=1)
    assert found.value == pytest.approx(np.mean(values))
    assert found.standard_error == pytest.approx(np.std(values) / 10, rel=0.15)
    assert found == mean_with_error(values, seed=1)
    assert mean_with_error([-1.0, -2.0], seed=1).value == 0.0
    assert mean_with_error([3.0], seed=1) == type(found)(1.0, 0.0, 1)
