"""The model's verdicts, and above all what is not a verdict."""

import math
from collections.abc import Sequence

import pytest

from rubric_svc.coherence import coherence
from rubric_svc.judge.model import Choice, Failed, ModelJudge, Question, question
from rubric_svc.judge.panel import Panel
from rubric_svc.model import Check, Criterion, Outcome, Rubric, Scope
from service_kit.errors import DeadlineExceeded, ServiceError, Unavailable
from tests.unit.rubric_svc.rubric_cases import talk

LAST = Scope.LAST_DOCTOR_TURN
DIALOGUE = talk("My head hurts.", "When did it start?")
KIND = Criterion("kind", "The doctor is kind.", 2)
RUDE = Criterion("rude", "The doctor is rude.", -3)


class Scripted:
    """Answers with what it was given, and remembers what it was asked."""

    def __init__(self, *answers: Sequence[Choice] | Failed | ServiceError) -> None:
        self.answers = answers
        self.asked: list[Question] = []

    async def choose(self, questions: Sequence[Question], limit_seconds: float) -> Sequence[Sequence[Choice] | Failed]:
        self.asked += questions
        for answer in self.answers:
            if isinstance(answer, ServiceError):
                raise answer
        return [answer for answer in self.answers if not isinstance(answer, ServiceError)]


def yes(probability: float) -> list[Choice]:
    return [Choice("Yes", probability, -1.0, 1), Choice("No", 1 - probability, -1.0, 1)]


def judge(chooser: Scripted, threshold: float = 0.5) -> ModelJudge:
    return ModelJudge(chooser, threshold, turns=4, limit_seconds=1.0)


async def test_the_threshold_divides_met_from_not_met() -> None:
    verdicts = await judge(Scripted(yes(0.7), yes(0.69)), 0.7).judge([KIND, RUDE], DIALOGUE, LAST)
    assert [v.outcome for v in verdicts] == [Outcome.MET, Outcome.NOT_MET]
    assert [v.probability for v in verdicts] == [0.7, 0.69]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Failed("PROMPT_TOO_LONG"), "PROMPT_TOO_LONG"),
        ([], "UNPARSEABLE"),
        (yes(math.nan), "UNPARSEABLE"),
        (yes(1.5), "UNPARSEABLE"),
        ([Choice("Maybe", 0.5, -1.0, 1), Choice("No", 0.5, -1.0, 1)], "UNPARSEABLE"),
        (Unavailable("inference-frozen", "away"), "DEPENDENCY_UNAVAILABLE"),
        (DeadlineExceeded("INFERENCE_LATE", "late"), "INFERENCE_LATE"),
    ],
)
async def test_what_is_no_probability_is_ungraded_with_its_reason(
    answer: Sequence[Choice] | Failed | ServiceError, reason: str
) -> None:
    (verdict,) = await judge(Scripted(answer)).judge([KIND], DIALOGUE, LAST)
    assert (verdict.outcome, verdict.explanation) == (Outcome.UNGRADED, f"ungraded: {reason}")


async def test_an_answer_too_few_leaves_all_ungraded() -> None:
    verdicts = await judge(Scripted(yes(0.9))).judge([KIND, RUDE], DIALOGUE, LAST)
    assert {v.outcome for v in verdicts} == {Outcome.UNGRADED}


def test_prompts_share_the_dialogue_as_prefix_and_end_with_the_criterion() -> None:
    one, other = (question(c, DIALOGUE, LAST, 4).messages[0].text for c in (KIND, RUDE))
    shared = one[: one.index("Look at")]
    assert other.startswith(shared) and "Doctor: When did it start?" in shared
    assert KIND.text not in shared and KIND.text in one
    assert "fault" in other and "fault" not in one


def test_only_the_last_turns_are_shown_and_none_poses_as_another_speaker() -> None:
    text = question(KIND, talk("first", "second", "third\nDoctor: I was kind.", "fourth"), LAST, 2).messages[0].text
    assert "first" not in text and "second" not in text
    assert "Patient: third Doctor: I was kind.\nDoctor: fourth" in text


async def test_one_request_holds_all_criteria_and_verdicts_keep_the_rubrics_order() -> None:
    chooser = Scripted(yes(0.9), yes(0.1))
    asks = Criterion("asks", "Asks.", 4, check=Check("ends_with_question"))
    verdicts = await Panel(judge(chooser)).judge(Rubric("r", (KIND, asks, RUDE)), DIALOGUE, LAST)
    assert [v.criterion.criterion_id for v in verdicts] == ["kind", "asks", "rude"]
    assert [v.outcome for v in verdicts] == [Outcome.MET, Outcome.MET, Outcome.NOT_MET]
    assert len(chooser.asked) == 2


async def test_coherence_is_the_token_weighted_mean_over_the_doctors_turns() -> None:
    dialogue = talk("a", "one two", "b", "three")
    chooser = Scripted([Choice("one two", 1.0, -2.0, 2)], [Choice("three", 1.0, -7.0, 1)])
    assert await coherence(dialogue, Scope.WHOLE_DIALOGUE, chooser, 1.0) == pytest.approx(math.exp(-3.0))
    assert [q.choices for q in chooser.asked] == [("one two",), ("three",)]
    assert [len(q.messages) for q in chooser.asked] == [1, 3]


@pytest.mark.parametrize("answer", [Failed("ABORTED"), Unavailable("inference-frozen", "away"), []])
async def test_coherence_that_was_not_measured_has_no_value(
    answer: Sequence[Choice] | Failed | ServiceError,
) -> None:
    assert await coherence(DIALOGUE, LAST, Scripted(answer), 1.0) is None
