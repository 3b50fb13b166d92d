"""What a criterion is judged on: the doctor's turns in scope, and what was said before each of them.

Invariant: what a turn says to its judge is not among it (judge/address.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from rubric_svc.judge.address import without_address
from rubric_svc.judge.text import plain
from rubric_svc.model import Dialogue, Scope, Speaker


@dataclass(frozen=True, slots=True)
class DoctorTurn:
    """`number` counts the doctor's turns of the dialogue from 1; `index` is the message's place in it."""

    number: int
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Evidence:
    dialogue: Dialogue
    judged: tuple[DoctorTurn, ...]
    doctor: tuple[DoctorTurn, ...]

    @classmethod
    def of(cls, dialogue: Dialogue, scope: Scope) -> Evidence:
        doctor = tuple(
            DoctorTurn(number, index, plain(without_address(turn.text, doctor=True)))
            for number, (index, turn) in enumerate(
                ((i, t) for i, t in enumerate(dialogue) if t.speaker is Speaker.DOCTOR), start=1
            )
        )
        return cls(dialogue, doctor[-1:] if scope is Scope.LAST_DOCTOR_TURN else doctor, doctor)

    def before(self, turn: DoctorTurn) -> list[DoctorTurn]:
        return [earlier for earlier in self.doctor if earlier.number < turn.number]

    def patient_before(self, turn: DoctorTurn) -> str:
        """The patient's last words before the turn."""
        said = [t.text for t in self.dialogue[: turn.index] if t.speaker is Speaker.PATIENT]
        return plain(said[-1]) if said else ""
