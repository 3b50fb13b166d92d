"""A clinical sentence becomes one that a patient says, and keeps its numbers, sides and negations."""

from __future__ import annotations

import pytest

from simulator_svc.cases.model import Category, Sex
from simulator_svc.cases.wording import Voice, keeps, spoken

WOMAN, MAN = Voice(35, Sex.FEMALE), Voice(60, Sex.MALE)
BOY, BABY = Voice(2, Sex.MALE), Voice(0, None)
C = Category


@pytest.mark.parametrize(
    ("text", "category", "label", "voice", "said"),
    [
        ("Double vision", C.CHIEF_COMPLAINT, "", WOMAN, "I have double vision."),
        ("Patient reports pain in her left knee.", C.SITE, "", WOMAN, "I have pain in my left knee."),
        ("She states that the pain is worse at night.", C.AGGRAVATING, "", WOMAN, "The pain is worse at night."),
        ("The patient reports experiencing nausea.", C.ASSOCIATED, "", MAN, "I have been experiencing nausea."),
        ("He complains of chest pain.", C.ASSOCIATED, "", MAN, "I have chest pain."),
        ("Denies chest pain or fever.", C.ASSOCIATED, "", MAN, "I have had no chest pain or fever."),
        (
            "Patient denies any palpitations, and reports fatigue.",
            C.ASSOCIATED,
            "",
            MAN,
            "I have had no palpitations, and report fatigue.",
        ),
        ("Denies smoking.", C.SOCIAL, "", MAN, "I have not been smoking."),
        ("He does not drink alcohol.", C.SOCIAL, "", MAN, "I do not drink alcohol."),
        ("He smokes 2 packs a day and drinks wine.", C.SOCIAL, "", MAN, "I smoke 2 packs a day and drink wine."),
        ("Works as a teacher.", C.SOCIAL, "", WOMAN, "I work as a teacher."),
        ("Non-smoker, drinks wine occasionally.", C.SOCIAL, "", WOMAN, "I am a non-smoker, drink wine occasionally."),
        (
            "Hypertension and type 2 diabetes",
            C.PAST_HISTORY,
            "",
            MAN,
            "I have a history of hypertension and type 2 diabetes.",
        ),
        (
            "No significant past medical history.",
            C.PAST_HISTORY,
            "",
            MAN,
            "I have no significant past medical history.",
        ),
        ("Metformin 500 mg twice daily", C.MEDICATION, "", MAN, "I take metformin 500 mg twice daily."),
        ("Penicillin", C.ALLERGY, "", MAN, "I am allergic to penicillin."),
        ("No known drug allergies", C.ALLERGY, "", MAN, "I have no known drug allergies."),
        ("His father died of a stroke at 61.", C.FAMILY, "", MAN, "My father died of a stroke at 61."),
        ("Her mother says she smokes.", C.FAMILY, "", WOMAN, "My mother says she smokes."),
        ("95/60 mmHg", C.EXAMINATION, "blood pressure", WOMAN, "They told me my blood pressure is 95/60 mmHg."),
        ("His temperature is 38.2°C.", C.EXAMINATION, "", MAN, "They told me that my temperature is 38.2°C."),
        ("Normal throughout.", C.EXAMINATION, "reflexes", MAN, "They told me about my reflexes: normal throughout."),
        ("Bilious vomiting", C.CHIEF_COMPLAINT, "", BOY, "My son has bilious vomiting."),
        ("Denies fever.", C.ASSOCIATED, "", BOY, "My son has had no fever."),
        ("The mother reports that the infant has a rash.", C.ASSOCIATED, "", BABY, "My child has a rash."),
        ("90/50 mmHg", C.EXAMINATION, "blood pressure", BOY, "They told me my son's blood pressure is 90/50 mmHg."),
    ],
)
def test_is_said_in_the_speaker_s_own_person(
    text: str, category: Category, label: str, voice: Voice, said: str
) -> None:
    assert spoken(text, category, label, voice) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Pain for 3 days.", "I have had pain for 8 days."),
        ("Pain in the left knee.", "I have pain in the right knee."),
        ("No fever.", "I have fever."),
        ("Fever.", "I have no fever."),
        ("Denies fever.", "I have fever."),
        ("Blood pressure 95/60.", "It is 95."),
    ],
)
def test_a_lost_or_changed_number_side_or_negation_is_noticed(text: str, said: str) -> None:
    assert not keeps(text, said)


def test_what_no_rule_can_keep_is_quoted() -> None:
    said = spoken("Denies that he denies nothing.", Category.ASSOCIATED, "", MAN)
    assert keeps("Denies that he denies nothing.", said)


def test_it_is_one_sentence() -> None:
    assert spoken("Takes aspirin 81 mg q.d. since 2010.", Category.MEDICATION, "", MAN).count(". ") == 0
