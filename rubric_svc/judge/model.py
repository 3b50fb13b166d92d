"""Verdicts by the frozen model: is this criterion present, Yes or No?

Invariant: only a well-formed probability becomes met or not_met. A model that is away, late, refuses or answers
nonsense gives ungraded with the reason, for each of its criteria. All criteria of a dialogue go in one request, the
dialogue first and the criterion last, so that their common prefix is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from opentelemetry import trace

from rubric_svc.judge.address import without_address
from rubric_svc.model import Criterion, Dialogue, Outcome, Scope, Speaker, Turn, Verdict
from service_kit.errors import ServiceError
from service_kit.spans import fail, traced

_tracer = trace.get_tracer(__name__)
_PROMPTS = Path(__file__).parent.parent / "prompts"
_POSITIVE = (_PROMPTS / "judge_positive.txt").read_text(encoding="utf-8").strip()
_NEGATIVE = (_PROMPTS / "judge_negative.txt").read_text(encoding="utf-8").strip()
YES, NO = "Yes", "No"
_PARTS = {
    Scope.LAST_DOCTOR_TURN: "the doctor's last reply",
    Scope.WHOLE_DIALOGUE: "what the doctor says",
}
_LONGEST_TURN = 1500


@dataclass(frozen=True, slots=True)
class Choice:
    text: str
    probability: float
    logprob: float
    token_count: int


@dataclass(frozen=True, slots=True)
class Question:
    """Messages, the answers that are weighed against each other, and what the prompt shares with other questions."""

    messages: Dialogue
    choices: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str


class Chooser(Protocol):
    async def choose(self, questions: Sequence[Question], limit_seconds: float) -> Sequence[Sequence[Choice] | Failed]:
        """One answer a question, in order. Raises ServiceError when there is no answer at all."""


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """`threshold` is the probability of Yes from which a criterion is met; only the last `turns` are shown."""

    chooser: Chooser
    threshold: float
    turns: int
    limit_seconds: float

    async def judge(self, criteria: Sequence[Criterion], dialogue: Dialogue, scope: Scope) -> list[Verdict]:
        with traced(_tracer, "rubric.judge.model") as span:
            span.set_attribute("rubric.criteria", len(criteria))
            questions = [question(criterion, dialogue, scope, self.turns) for criterion in criteria]
            try:
                answers = await self.chooser.choose(questions, self.limit_seconds)
            except ServiceError as error:
                fail(span, error.reason)
                return [ungraded(criterion, error.reason) for criterion in criteria]
            if len(answers) != len(criteria):
                return [ungraded(criterion, "WRONG_ANSWER_COUNT") for criterion in criteria]
            return [self._verdict(*pair) for pair in zip(criteria, answers, strict=True)]

    def _verdict(self, criterion: Criterion, answer: Sequence[Choice] | Failed) -> Verdict:
        if isinstance(answer, Failed):
            return ungraded(criterion, answer.reason)
        yes = [choice.probability for choice in answer if choice.text == YES]
        if len(answer) != 2 or len(yes) != 1 or not math.isfinite(yes[0]) or not 0 <= yes[0] <= 1:
            return ungraded(criterion, "UNPARSEABLE")
        outcome = Outcome.MET if yes[0] >= self.threshold else Outcome.NOT_MET
        return Verdict(criterion, outcome, yes[0], f"model: P(Yes) = {yes[0]:.3f}, threshold {self.threshold:.2f}")


def ungraded(criterion: Criterion, reason: str) -> Verdict:
    return Verdict(criterion, Outcome.UNGRADED, 0.0, f"ungraded: {reason}")


def question(criterion: Criterion, dialogue: Dialogue, scope: Scope, turns: int) -> Question:
    template = _POSITIVE if criterion.points > 0 else _NEGATIVE
    spoken = [turn for turn in dialogue if turn.speaker is not Speaker.SYSTEM][-turns:]
    shown = "\n".join(f"{turn.speaker.value.capitalize()}: {_one_line(_to_patient(turn))}" for turn in spoken)
    text = template.replace("{part}", _PARTS[scope]).replace("{criterion}", criterion.text).replace("{dialogue}", shown)
    return Question((Turn(Speaker.PATIENT, text),), (YES, NO), shared_prefix(spoken))


def shared_prefix(spoken: Sequence[Turn]) -> str:
    """What is shown before the judged turn: the samples of a group and the criteria of a dialogue have it in common."""
    return "\n".join(turn.text for turn in spoken[:-1])


def _to_patient(turn: Turn) -> str:
    """What the turn says, without what it says to its judge."""
    return without_address(turn.text, doctor=turn.speaker is Speaker.DOCTOR)


def _one_line(text: str) -> str:
    """A turn cannot begin a line of its own and so pose as another speaker."""
    return " ".join(text.split())[:_LONGEST_TURN]
