"""The patient whole, and with one unit switched off: what is that unit for?

Only here can a unit be switched off, and only in this process: no setting of the service lets an unchecked reply out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from simulator_svc.cases.model import Case
from simulator_svc.dialogue import Ending, Turn
from simulator_svc.evaluate.choices import Unit
from simulator_svc.evaluate.patients import LocalPatient, Reply
from simulator_svc.language import LanguageModel
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.personas.model import Persona
from simulator_svc.units.fact_unit import Answer, FactUnit
from simulator_svc.units.termination_gate import TerminationGate


def patient_without(unit: Unit | None, language: LanguageModel | None, settings: PatientSettings) -> LocalPatient:
    """None: the whole patient."""
    if unit is Unit.GATE:
        return LocalPatient(Patient(language, settings, gate=_NeverEnds()))
    if unit is Unit.AFFECT:
        return _Impersonal(Patient(None, settings))
    if unit is Unit.FACT:
        return LocalPatient(Patient(language, settings, facts=_Unchecked()))
    return LocalPatient(Patient(None if unit is Unit.MODEL else language, settings))


class _NeverEnds(TerminationGate):
    def __init__(self) -> None:
        super().__init__(max_doctor_turns=1, loop_repeats=1)

    def decide(
        self, dialogue: Sequence[Turn], names: tuple[str, ...] = (), max_doctor_turns: int | None = None
    ) -> Ending | None:
        return None

    def doubt(self, dialogue: Sequence[Turn], names: tuple[str, ...] = ()) -> Ending | None:
        return None


class _Unchecked(FactUnit):
    """Says the draft as it came instead of the statement, and checks nothing."""

    def faithful_part(self, draft: str, answer: Answer) -> Answer | None:
        return replace(answer, worded=(draft,), spoken=()) if draft else None

    def released(self, answer: Answer) -> tuple[str, frozenset[str]]:
        said = " ".join((*answer.worded, *answer.spoken)) or answer.neutral
        text = " ".join(part for part in (said, answer.ask_back) if part)
        return text, frozenset(fact.fact_id for fact in answer.facts)


class _Impersonal(LocalPatient):
    """Every persona speaks as the default one does: what is called for, and no feeling."""

    async def open(self, case: Case, persona: Persona, seed: int) -> Reply:
        return await super().open(case, Persona(), seed)

    async def respond(self, case: Case, persona: Persona, seed: int, dialogue: Sequence[Turn]) -> Reply:
        return await super().respond(case, Persona(), seed, dialogue)
