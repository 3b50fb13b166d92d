"""Protobuf to plain Python and back, for the messages that the server and the rollout worker share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.simulator.v1 import simulator_pb2
from service_kit.errors import InvalidArgument
from simulator_svc.cases.library import CaseLibrary
from simulator_svc.cases.model import Case, Category, Disclosure, Fact, Sex, Split
from simulator_svc.dialogue import Ending, ReplySource, Speaker, Turn
from simulator_svc.patient import PatientTurn
from simulator_svc.personas.model import EmotionalState, Level, Persona, Personality

E = TypeVar("E", bound=StrEnum)


def _from_enum(kind: type[E], prefix: str, name: str) -> E:
    return kind[name.removeprefix(prefix)]


def case_from_proto(case: patient_pb2.PatientCase) -> Case:
    facts = tuple(
        Fact(
            fact_id=fact.fact_id,
            category=_from_enum(Category, "FACT_CATEGORY_", patient_pb2.FactCategory.Name(fact.category)),
            text=fact.text,
            disclosure=_from_enum(Disclosure, "DISCLOSURE_", patient_pb2.Disclosure.Name(fact.disclosure)),
            spoken=fact.spoken,
            cues=tuple(fact.cues),
        )
        for fact in case.facts
    )
    return Case(
        case_id=case.case_id,
        title=case.title,
        specialty=case.specialty,
        age_years=case.age_years,
        sex=_from_enum(Sex, "SEX_", patient_pb2.Sex.Name(case.sex)) if case.sex else None,
        split=_from_enum(Split, "CASE_SPLIT_", patient_pb2.CaseSplit.Name(case.split)) if case.split else None,
        facts=facts,
        diagnosis_names=tuple(case.diagnosis_names),
        source=case.source,
        prevalence=case.prevalence,
    )


def case_to_proto(case: Case) -> patient_pb2.PatientCase:
    return patient_pb2.PatientCase(
        case_id=case.case_id,
        title=case.title,
        specialty=case.specialty,
        age_years=case.age_years,
        sex=sex_to_proto(case.sex),
        split=split_to_proto(case.split),
        facts=[
            patient_pb2.Fact(
                fact_id=fact.fact_id,
                category=patient_pb2.FactCategory.Value(f"FACT_CATEGORY_{fact.category.name}"),
                text=fact.text,
                disclosure=patient_pb2.Disclosure.Value(f"DISCLOSURE_{fact.disclosure.name}"),
                spoken=fact.spoken,
                cues=fact.cues,
            )
            for fact in case.facts
        ],
        diagnosis_names=case.diagnosis_names,
        source=case.source,
        prevalence=case.prevalence,
    )


def sex_to_proto(sex: Sex | None) -> patient_pb2.Sex.ValueType:
    return patient_pb2.Sex.Value(f"SEX_{sex.name}") if sex else patient_pb2.SEX_UNSPECIFIED


def split_to_proto(split: Split | None) -> patient_pb2.CaseSplit.ValueType:
    return patient_pb2.CaseSplit.Value(f"CASE_SPLIT_{split.name}") if split else patient_pb2.CASE_SPLIT_UNSPECIFIED


def split_from_proto(split: patient_pb2.CaseSplit.ValueType) -> Split | None:
    return _from_enum(Split, "CASE_SPLIT_", patient_pb2.CaseSplit.Name(split)) if split else None


def persona_from_proto(persona: patient_pb2.Persona) -> Persona:
    """What the caller left unspecified takes the model's own default."""
    usual = Persona()
    level = patient_pb2.Level.Name
    return Persona(
        personality=_from_enum(Personality, "PERSONALITY_", patient_pb2.Personality.Name(persona.personality))
        if persona.personality
        else usual.personality,
        emotional_state=_from_enum(
            EmotionalState, "EMOTIONAL_STATE_", patient_pb2.EmotionalState.Name(persona.emotional_state)
        )
        if persona.emotional_state
        else usual.emotional_state,
        health_literacy=_from_enum(Level, "LEVEL_", level(persona.health_literacy))
        if persona.health_literacy
        else usual.health_literacy,
        occupation=persona.occupation,
        education=_from_enum(Level, "LEVEL_", level(persona.education)) if persona.education else usual.education,
        region=persona.region,
        means=_from_enum(Level, "LEVEL_", level(persona.means)) if persona.means else usual.means,
    )


def persona_to_proto(persona: Persona) -> patient_pb2.Persona:
    return patient_pb2.Persona(
        personality=patient_pb2.Personality.Value(f"PERSONALITY_{persona.personality.name}"),
        emotional_state=patient_pb2.EmotionalState.Value(f"EMOTIONAL_STATE_{persona.emotional_state.name}"),
        health_literacy=patient_pb2.Level.Value(f"LEVEL_{persona.health_literacy.name}"),
        occupation=persona.occupation,
        education=patient_pb2.Level.Value(f"LEVEL_{persona.education.name}"),
        region=persona.region,
        means=patient_pb2.Level.Value(f"LEVEL_{persona.means.name}"),
    )


def dialogue_from_proto(dialogue: dialogue_pb2.Dialogue) -> list[Turn]:
    """Doctor is the ASSISTANT, patient the USER; instructions to a model (SYSTEM) are no part of a consultation."""
    speakers = {dialogue_pb2.ROLE_ASSISTANT: Speaker.DOCTOR, dialogue_pb2.ROLE_USER: Speaker.PATIENT}
    return [Turn(speakers[m.role], m.content) for m in dialogue.messages if m.role in speakers]


def dialogue_to_proto(dialogue: Sequence[Turn]) -> dialogue_pb2.Dialogue:
    roles = {Speaker.DOCTOR: dialogue_pb2.ROLE_ASSISTANT, Speaker.PATIENT: dialogue_pb2.ROLE_USER}
    return dialogue_pb2.Dialogue(
        messages=[dialogue_pb2.Message(role=roles[turn.speaker], content=turn.text) for turn in dialogue]
    )


def ending_to_proto(ending: Ending | None) -> simulator_pb2.Ending.ValueType:
    return simulator_pb2.Ending.Value(f"ENDING_{ending.name}") if ending else simulator_pb2.ENDING_UNSPECIFIED


def source_to_proto(source: ReplySource) -> simulator_pb2.ReplySource.ValueType:
    return simulator_pb2.ReplySource.Value(f"REPLY_SOURCE_{source.name}")


def disclosed_to_proto(turn: PatientTurn) -> simulator_pb2.Disclosed:
    return simulator_pb2.Disclosed(
        allowed_fact_ids=sorted(turn.allowed),
        stated_fact_ids=sorted(turn.stated),
        source=source_to_proto(turn.source),
        rewrites=turn.rewrites,
    )


def resolve_case(reference: patient_pb2.CaseReference, library: CaseLibrary) -> Case:
    """The case a reference means. NotFound for an unknown id, InvalidArgument for an inline case no one can play."""
    if reference.WhichOneof("reference") == "case_id":
        return library.get(reference.case_id)
    case = case_from_proto(reference.inline)
    identifiers = [fact.fact_id for fact in case.facts]
    if len(set(identifiers)) != len(identifiers):
        raise InvalidArgument("case.inline.facts", "two facts have the same fact_id")
    return case
