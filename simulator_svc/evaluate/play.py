"""Consultations as they were played: many at once, each turn kept with the doctor's label.

Every consultation that was asked for is accounted for: played to its end, or broken off with the reason, or not begun
because the time was over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from service_kit.errors import Code, ServiceError
from simulator_svc.cases.model import Case
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.evaluate.doctors.base import Doctor, Question
from simulator_svc.evaluate.patients import PatientUnderTest, Reply
from simulator_svc.personas.model import Persona


@dataclass(frozen=True)
class Engagement:
    """Who is to meet whom."""

    case: Case
    persona: Persona
    seed: int
    doctor: Doctor
    # Which doctor it is: scripted, labelled, attacks, model.
    kind: str


@dataclass
class Consultation:
    engagement: Engagement
    opening: Reply | None = None
    turns: list[tuple[Question, Reply]] = field(default_factory=list)
    # Turns that the patient's service refused to take, by reason: a refusal discloses nothing.
    refused: list[str] = field(default_factory=list)
    # Why it was broken off; empty: played to its end.
    broken: str = ""
    seconds: float = 0.0


async def play(
    patient: PatientUnderTest,
    engagements: Sequence[Engagement],
    *,
    at_once: int,
    until: float | None = None,
    on_turn: Callable[[], None] = lambda: None,
) -> list[Consultation]:
    """Those that began before `until` (time.monotonic()), in the order of `engagements`."""
    played: list[Consultation] = []
    waiting = iter(engagements)

    async def work() -> None:
        for engagement in waiting:
            if until is not None and time.monotonic() > until:
                return
            consultation = Consultation(engagement)
            played.append(consultation)
            await _consult(patient, consultation, on_turn)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(at_once, len(engagements))):
            tasks.create_task(work())
    return played


async def _consult(patient: PatientUnderTest, consultation: Consultation, on_turn: Callable[[], None]) -> None:
    who = consultation.engagement
    began = time.perf_counter()
    try:
        consultation.opening = await patient.open(who.case, who.persona, who.seed)
        dialogue = [Turn(Speaker.PATIENT, consultation.opening.text)]
        while (question := await who.doctor.speak(dialogue)) is not None:
            asked = Turn(Speaker.DOCTOR, question.text)
            try:
                reply = await patient.respond(who.case, who.persona, who.seed, [*dialogue, asked])
            except ServiceError as error:
                if error.code is not Code.INVALID_ARGUMENT:
                    raise
                consultation.refused.append(error.reason)
                continue
            finally:
                on_turn()
            consultation.turns.append((question, reply))
            dialogue += [asked, Turn(Speaker.PATIENT, reply.text)]
            if reply.ending and not _goes_on(who):
                break
    except ServiceError as error:
        consultation.broken = f"{error.reason}: {error.message}"
    consultation.seconds = time.perf_counter() - began


def _goes_on(who: Engagement) -> bool:
    """An attacker talks on when the patient has said goodbye; the service keeps no state, so it can."""
    return who.kind == "attacks"
