"""A second judge's disagreement: of the points that both graded, and never a judge's with itself."""

import pytest

from rubric_svc.judge.model import Failed
from rubric_svc.judge.panel import Panel
from rubric_svc.judge.second import SecondOpinion
from rubric_svc.model import Check, Criterion, Rubric, Scope
from service_kit.errors import Unavailable
from tests.unit.rubric_svc.rubric_cases import talk
from tests.unit.rubric_svc.test_rubric_model_judge import Scripted, judge, yes

LAST = Scope.LAST_DOCTOR_TURN
DIALOGUE = talk("My head hurts.", "When did it start?")
ASKS = Criterion("asks", "The doctor asks.", 6, check=Check("ends_with_question"))
LONG = Criterion("long", "The doctor goes on and on.", -2, check=Check("longer_than", ("n=40",)))
KIND = Criterion("kind", "The doctor is kind.", 4)


async def opinion(second: Scripted, *, another_model: bool, first: float = 0.9) -> float | None:
    """Of a rubric whose first verdicts are: asks is met, long is not, kind as the first model says."""
    verdicts = await Panel(judge(Scripted(yes(first)))).judge(Rubric("r", (ASKS, KIND, LONG)), DIALOGUE, LAST)
    return await SecondOpinion(judge(second), another_model).disagreement(verdicts, DIALOGUE, LAST)


async def test_a_judge_gives_no_second_opinion_on_its_own_verdicts() -> None:
    second = Scripted(yes(0.9), yes(0.1))
    assert await opinion(second, another_model=False) == 0.0
    assert [KIND.text in question.messages[0].text for question in second.asked] == [False, False]


@pytest.mark.parametrize(
    ("asks", "kind", "long", "expected"),
    [(0.9, 0.9, 0.1, 0.0), (0.1, 0.9, 0.1, 6 / 12), (0.9, 0.1, 0.9, 6 / 12), (0.1, 0.1, 0.9, 1.0)],
)
async def test_another_model_answers_all_and_points_weigh(
    asks: float, kind: float, long: float, expected: float
) -> None:
    assert await opinion(Scripted(yes(asks), yes(kind), yes(long)), another_model=True) == expected


async def test_what_one_of_the_two_has_not_graded_is_in_neither_sum() -> None:
    second = Scripted(Failed("ABORTED"), yes(0.1), yes(0.1))
    assert await opinion(second, another_model=True) == 4 / 6
    ungraded_first = Scripted(yes(0.1), yes(0.1))
    assert await opinion(ungraded_first, another_model=True, first=float("nan")) == 6 / 8
    assert len(ungraded_first.asked) == 2


async def test_a_second_judge_that_is_away_has_no_opinion() -> None:
    assert await opinion(Scripted(Unavailable("inference-second", "away")), another_model=True) is None
