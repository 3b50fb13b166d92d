"""A persona is a function of its seed, and each trait changes what is said, by statistics over seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator_svc.cases.library import CaseLibrary
from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.patient import Patient, PatientSettings
from simulator_svc.personas.effects import Effects, effects_of
from simulator_svc.personas.model import EmotionalState, Level, Persona, Personality

CASE = CaseLibrary.load().get("community-pneumonia")
PATIENT = Patient(None, PatientSettings())
INTROVERT = Persona(personality=Personality.ISTP, emotional_state=EmotionalState.STOIC)
EXTRAVERT = Persona(personality=Personality.ENFP, emotional_state=EmotionalState.STOIC)
TEST, TREATMENT, DIAGNOSIS = (
    "I would like to order an MRI.",
    "I would give you an antibiotic.",
    "It could be an infection called bronchitis.",
)


async def replies(persona: Persona, doctor: str, seeds: int = 150) -> list[str]:
    dialogue = [Turn(Speaker.DOCTOR, doctor)]
    return [(await PATIENT.respond(CASE, persona, seed, dialogue, None)).text for seed in range(seeds)]


async def share(persona: Persona, doctor: str, *words: str) -> float:
    said = await replies(persona, doctor)
    return sum(any(_is_said(word, text.lower()) for word in words) for text in said) / len(said)


def _is_said(words: str, text: str) -> bool:
    """A particle ("so,") is one at the beginning only."""
    return text.startswith(words) if words.endswith(",") else words in text


def own_words(persona: Persona, other: Persona) -> list[str]:
    """What the one may say of himself, and the other may not."""

    def said(effects: Effects) -> set[str]:
        return {text.lower() for rows in (effects.leads, effects.remarks) for row in rows for text in row}

    return list(said(effects_of(persona)) - said(effects_of(other)))


@pytest.mark.parametrize("personality", Personality)
def test_each_of_the_sixteen_types_has_effects(personality: Personality) -> None:
    effects = effects_of(Persona(personality=personality))
    assert effects.facts_per_turn >= 1
    assert len(effects.leads) >= 4 and len(effects.remarks) >= 4


def test_every_trait_has_its_own_words_and_enough_of_them_not_to_sound_canned() -> None:
    voices: dict[str, set[str]] = {}
    for personality in Personality:
        for letter, row in zip(personality, effects_of(Persona(personality=personality)).remarks, strict=False):
            voices[letter] = set(row)
    for mood in EmotionalState:
        voices[mood] = set(effects_of(Persona(emotional_state=mood)).remarks[4])
    assert set(voices) == {*"eisntfjp", *EmotionalState}
    everything = [text for voice in voices.values() for text in voice]
    assert len(everything) == len(set(everything))
    assert all(len(voice) >= 8 for voice in voices.values())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Personality.ESTJ, Personality.ISTJ),
        (Personality.INTJ, Personality.ISTJ),
        (Personality.ISFJ, Personality.ISTJ),
        (Personality.ISTP, Personality.ISTJ),
    ],
)
async def test_each_letter_of_the_type_is_heard_and_only_in_those_who_have_it(
    one: Personality, other: Personality
) -> None:
    has, lacks = replace(INTROVERT, personality=one), replace(INTROVERT, personality=other)
    for persona, opposite in ((has, lacks), (lacks, has)):
        voice = own_words(persona, opposite)
        assert await share(persona, "When did it start?", *voice) >= 0.05
        assert await share(opposite, "When did it start?", *voice) == 0


@pytest.mark.parametrize("mood", EmotionalState)
async def test_each_mood_is_heard(mood: EmotionalState) -> None:
    other = EmotionalState.CALM if mood is EmotionalState.STOIC else EmotionalState.STOIC
    persona = replace(EXTRAVERT, emotional_state=mood)
    voice = own_words(persona, replace(EXTRAVERT, emotional_state=other))
    assert await share(persona, "When did it start?", *voice) >= 0.02


async def test_an_introvert_leaves_answers_short_and_a_learned_patient_contracts_nothing() -> None:
    quiet = " ".join(await replies(INTROVERT, "Do you have any allergies?"))
    assert "No allergies" in quiet and "I have no allergies" not in quiet
    for persona, wanted, unwanted in (
        (replace(INTROVERT, education=Level.HIGH), "I cannot get", "can't get"),
        (INTROVERT, "I can't get", "cannot"),
    ):
        said = " ".join(await replies(persona, "How bad is it?"))
        assert wanted in said and unwanted not in said


async def test_a_quiet_patient_tells_a_long_story_in_turns_and_the_rest_when_asked_again() -> None:
    asked = "Do you smoke, do you drink alcohol, what is your work, who do you live with, and do you have allergies?"
    first = await PATIENT.respond(CASE, INTROVERT, 1, [Turn(Speaker.DOCTOR, asked)], None)
    dialogue = [Turn(Speaker.DOCTOR, asked), Turn(Speaker.PATIENT, first.text), Turn(Speaker.DOCTOR, asked)]
    again = await PATIENT.respond(CASE, INTROVERT, 1, dialogue, None)
    assert len(first.stated) == effects_of(INTROVERT).facts_per_turn + 2
    assert again.stated - first.stated
    talkative = await PATIENT.respond(CASE, EXTRAVERT, 1, [Turn(Speaker.DOCTOR, asked)], None)
    assert talkative.stated > first.stated


async def test_an_introvert_answers_shorter_than_an_extravert() -> None:
    for question in ("Anything else?", "Tell me more about your symptoms."):
        short = [len(text.split()) for text in await replies(INTROVERT, question)]
        long = [len(text.split()) for text in await replies(EXTRAVERT, question)]
        assert sum(long) > 1.5 * sum(short)


def test_an_open_patient_volunteers_more_in_the_opening() -> None:
    shy, open_ = (PATIENT.open(CASE, persona, 1) for persona in (INTROVERT, EXTRAVERT))
    assert len(open_.stated) > len(shy.stated) >= 1


async def test_an_anxious_patient_asks_for_reassurance() -> None:
    anxious = replace(INTROVERT, emotional_state=EmotionalState.ANXIOUS)
    wanted = (
        "serious?",
        "nothing serious",
        "worried?",
        "all right, doctor?",
        "dangerous",
        "promise me",
        "if it was bad",
    )
    assert await share(anxious, "When did it start?", *wanted) >= 0.15
    assert await share(INTROVERT, "When did it start?", *wanted) == 0


async def test_little_means_make_a_patient_ask_what_it_costs() -> None:
    poor, rich = replace(INTROVERT, means=Level.LOW), replace(INTROVERT, means=Level.HIGH)
    wanted = ("cost me", "afford", "expensive", "who pays", "cheaper", "for less", "come to, roughly")
    for offered in (TEST, TREATMENT):
        assert await share(poor, offered, *wanted) > 0.4
        assert await share(rich, offered, *wanted) == 0
    assert await share(rich, TEST, "privately", "best specialist", "sooner") > 0.2


async def test_high_education_makes_a_patient_ask_for_evidence() -> None:
    learned = replace(INTROVERT, education=Level.HIGH)
    for offered in (TREATMENT, DIAGNOSIS):
        wanted = ("evidence", "research", "studies", "rationale", "certain are you", "explain it?", "based on")
        assert await share(learned, offered, *wanted) > 0.25
        assert await share(INTROVERT, offered, *wanted) == 0


async def test_low_literacy_asks_for_simple_words_and_high_literacy_uses_the_terms() -> None:
    low, high = (replace(INTROVERT, health_literacy=level) for level in (Level.LOW, Level.HIGH))
    assert await share(low, DIAGNOSIS, "simple words", "plain words", "when it's at home") > 0.4
    assert await share(high, DIAGNOSIS, "simple words", "plain words", "when it's at home") == 0
    assert await share(high, TEST, "sensitive", "management", "false positives") > 0.2
    assert await share(low, TEST, "sensitive", "management", "false positives") == 0


async def test_work_and_place_are_asked_about_by_those_who_have_them() -> None:
    working = replace(INTROVERT, occupation="cook", region="an island")
    idle = replace(INTROVERT, occupation="", region="a big city")
    assert await share(working, TREATMENT, "go on working", "sign me off", "them at work") > 0.05
    assert await share(idle, TREATMENT, "go on working", "sign me off", "them at work") == 0
    assert await share(working, TEST, "travel far", "nearer", "get there") > 0.08
    assert await share(idle, TEST, "travel far", "nearer", "get there") == 0


async def test_nobody_says_the_same_remark_twice_in_a_consultation() -> None:
    for seed in range(20):
        dialogue: list[Turn] = []
        for question in ("When did it start?", "Where is it?", "Any allergies?", "Do you smoke?") * 4:
            dialogue.append(Turn(Speaker.DOCTOR, f"{question} {len(dialogue)}"))
            turn = await PATIENT.respond(CASE, EXTRAVERT, seed, dialogue, 64)
            dialogue.append(Turn(Speaker.PATIENT, turn.text))
        said = " ".join(turn.text for turn in dialogue if turn.speaker is Speaker.PATIENT)
        remarks = [text for row in effects_of(EXTRAVERT).remarks for text in row]
        assert max(said.count(text) for text in remarks) == 1
