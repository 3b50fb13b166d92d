"""What passes between patient and doctor in one consultation, without protobuf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Speaker(StrEnum):
    DOCTOR = "doctor"
    PATIENT = "patient"


@dataclass(frozen=True, slots=True)
class Turn:
    speaker: Speaker
    text: str


class Ending(StrEnum):
    """Why a consultation ended."""

    DIAGNOSIS_AND_PLAN = "diagnosis_and_plan"
    FAREWELL = "farewell"
    QUESTIONS_ANSWERED = "questions_answered"
    LOOP = "loop"
    TURN_LIMIT = "turn_limit"


class ReplySource(StrEnum):
    """How a reply left the Fact Unit. Only PLAIN_STATEMENT is a fall-back."""

    MODEL = "model"
    REWRITTEN = "rewritten"
    PLAIN_STATEMENT = "plain_statement"
    COMPOSED = "composed"


def doctor_turns(dialogue: Sequence[Turn]) -> list[str]:
    return [turn.text for turn in dialogue if turn.speaker is Speaker.DOCTOR]
