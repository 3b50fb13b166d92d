"""The Termination Gate: should the dialogue end after this turn of the doctor, and why?

Rules alone, over words in units/data/termination.toml; no model is asked yet. Where they are unsure they lean to going
on: a diagnosis without a plan, a plan without a diagnosis, or an open question keeps the consultation alive; the turn
limit bounds it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from simulator_svc.dialogue import Ending
from simulator_svc.units.claims import split_sentences, words
from simulator_svc.units.cues import phrase_pattern

_RULES = Path(__file__).parent / "data" / "termination.toml"
# Two turns that share this part of their words say the same.
_SAME = 0.85


@dataclass(frozen=True, slots=True)
class _Rules:
    diagnosis: re.Pattern[str]
    undecided: re.Pattern[str]
    plan: re.Pattern[str]
    farewell: re.Pattern[str]
    any_questions: re.Pattern[str]


@cache
def _rules() -> _Rules:
    data = tomllib.loads(_RULES.read_text(encoding="utf-8"))
    return _Rules(**{name: phrase_pattern(data[name]) for name in _Rules.__dataclass_fields__})


class TerminationGate:
    def __init__(self, max_doctor_turns: int, loop_repeats: int) -> None:
        self._limit = max_doctor_turns
        self._repeats = loop_repeats

    def decide(self, doctor: Sequence[str], max_doctor_turns: int | None = None) -> Ending | None:
        """The doctor's turns so far, the last one to be answered. None: the consultation goes on."""
        last = doctor[-1]
        concluded = any(map(gives_diagnosis, doctor))
        asks_whether_all_is_clear = offers_questions(last)
        asks = asks_something(last)
        if concluded and gives_plan(last) and not asks:
            return Ending.DIAGNOSIS_AND_PLAN
        if concluded and any(map(gives_plan, doctor)) and asks_whether_all_is_clear and not asks:
            return Ending.QUESTIONS_ANSWERED
        if says_farewell(last) and not asks:
            return Ending.FAREWELL
        if sum(same_turn(last, earlier) for earlier in doctor[:-1]) >= self._repeats:
            return Ending.LOOP
        if len(doctor) >= (max_doctor_turns or self._limit):
            return Ending.TURN_LIMIT
        return None


def gives_diagnosis(turn: str) -> bool:
    """A sentence that asserts what the illness is; right or wrong is the judge's business."""
    rules = _rules()
    return any(
        rules.diagnosis.search(spoken) and not rules.undecided.search(spoken)
        for sentence in split_sentences(turn)
        if not sentence.endswith("?") and (spoken := _spoken(sentence))
    )


def gives_plan(turn: str) -> bool:
    return any(
        _rules().plan.search(_spoken(sentence)) for sentence in split_sentences(turn) if not sentence.endswith("?")
    )


def says_farewell(turn: str) -> bool:
    return bool(_rules().farewell.search(_spoken(turn)))


def offers_questions(turn: str) -> bool:
    return bool(_rules().any_questions.search(_spoken(turn)))


def asks_something(turn: str) -> bool:
    """A question that waits for an answer; "Do you have any questions?" is none."""
    return any(
        sentence.endswith("?") and not _rules().any_questions.search(_spoken(sentence))
        for sentence in split_sentences(turn)
    )


def same_turn(one: str, other: str) -> bool:
    first, second = set(words(one)), set(words(other))
    if not first or not second:
        return first == second
    return len(first & second) / len(first | second) >= _SAME


def _spoken(sentence: str) -> str:
    return " ".join(words(sentence))
