"""A persona is a function of its seed, and each trait changes what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator_svc.cases.library import CaseLibrary
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.personas.effects import effects_of
from simulator_svc.personas.model import EmotionalState, Level, Persona, Personality
from simulator_svc.personas.sample import sample_persona

CASE = CaseLibrary.load().get("community-pneumonia")
PATIENT = Patient(None, PatientSettings())
INTROVERT = Persona(personality=Personality.ISTP, emotional_state=EmotionalState.STOIC)
EXTRAVERT = Persona(personality=Personality.ENFP, emotional_state=EmotionalState.STOIC)


async def replies(persona: Persona, doctor: str, seeds: int = 40) -> list[str]:
    dialogue = [Turn(Speaker.DOCTOR, doctor)]
    return [(await PATIENT.respond(CASE, persona, seed, dialogue, None)).text for seed in range(seeds)]


async def share(persona: Persona, doctor: str, *words: str) -> float:
    said = await replies(persona, doctor)
    return sum(any(word in text.lower() for word in words) for text in said) / len(said)


def test_the_same_seed_gives_the_same_persona_and_seeds_differ() -> None:
    assert sample_persona(7) == sample_persona(7)
    personas = [sample_persona(seed) for seed in range(400)]
    assert {persona.personality for persona in personas} == set(Personality)
    assert {persona.emotional_state for persona in personas} == set(EmotionalState)
    assert {persona.means for persona in personas} == set(Level)


@pytest.mark.parametrize("personality", Personality)
def test_each_of_the_sixteen_types_has_effects(personality: Personality) -> None:
    assert effects_of(Persona(personality=personality)).facts_per_turn >= 1


async def test_an_introvert_answers_shorter_than_an_extravert() -> None:
    question = "Do you have any other symptoms? Do you smoke? Any allergies?"
    short = [len(text.split()) for text in await replies(INTROVERT, question)]
    long = [len(text.split()) for text in await replies(EXTRAVERT, question)]
    assert sum(long) > 1.8 * sum(short)


async def test_an_anxious_patient_asks_for_reassurance() -> None:
    anxious = replace(INTROVERT, emotional_state=EmotionalState.ANXIOUS)
    wanted = ("serious", "worried", "all right")
    assert await share(anxious, "When did it start?", *wanted) > await share(INTROVERT, "When did it start?", *wanted)


async def test_little_means_make_a_patient_ask_what_a_test_costs() -> None:
    poor, rich = replace(INTROVERT, means=Level.LOW), replace(INTROVERT, means=Level.HIGH)
    assert await share(poor, "I would like to order an MRI.", "cost", "afford", "expensive") > 0.4
    assert await share(rich, "I would like to order an MRI.", "cost", "afford", "expensive") == 0


async def test_high_education_makes_a_patient_ask_for_evidence() -> None:
    learned = replace(INTROVERT, education=Level.HIGH)
    assert await share(learned, "I would give you an antibiotic.", "evidence", "research") > 0.2
    assert await share(INTROVERT, "I would give you an antibiotic.", "evidence", "research") == 0


def test_an_open_patient_volunteers_more_in_the_opening() -> None:
    shy, open_ = (PATIENT.open(CASE, persona, 1) for persona in (INTROVERT, EXTRAVERT))
    assert len(open_.stated) > len(shy.stated) >= 1
