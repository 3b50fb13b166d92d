"""Turns that must not be learned from are named, and proper doctor's turns are left alone."""

from __future__ import annotations

import pytest

from simulator_svc.rollout.filters import Filters, is_over_long


@pytest.fixture(scope="module")
def filters() -> Filters:
    return Filters.load()


@pytest.mark.parametrize(
    "turn",
    [
        "When did the pain start, and did anything bring it on?",
        "I understand this worries you. I am sorry to hear about your pain.",
        "I have a few more questions about your chest pain.",
        "I'm going to ask about your medication. Do you take anything for your heart?",
        "You said 'my chest hurts when I climb stairs'. Does it spread to the arm?",
        "You told me “I have been coughing for weeks”. Is there any blood?",
        "Thank you for telling me. I would like to examine your abdomen.",
        "I think that you have a migraine. I suggest rest, and come back if it gets worse.",
        "Is there a family history? For example, has your father had a heart attack?",
        "I feel we should do an ECG now.",
        "I noticed that you are short of breath.",
        "",
    ],
)
def test_a_doctors_turn_passes(filters: Filters, turn: str) -> None:
    assert filters.reason(turn, []) is None


@pytest.mark.parametrize(
    "turn",
    [
        "Doctor: How long?\nPatient: Since Monday.",
        "**Patient:** It hurts here.",
        "User: what should I do?",
        "Thank you, doctor. That helps a lot.",
        "Hello doctor, I need help.",
        "My chest hurts when I breathe in.",
        "I've been having this pain for three days.",
        "I have been feeling weak since yesterday.",
        "I am having trouble sleeping.",
        "I have a terrible headache and want something for it.",
        "I\u2019ve had a fever since Sunday.",
    ],
)
def test_a_turn_spoken_as_the_patient_is_role_inversion(filters: Filters, turn: str) -> None:
    assert filters.reason(turn, []) == "role_inversion"


def test_a_turn_said_again_nearly_verbatim_is_repeated(filters: Filters) -> None:
    first = "Can you tell me when the pain started and whether it moves anywhere else?"
    again = "Can you tell me when the pain started, and whether it moves anywhere else"
    assert filters.reason(again, ["Good morning.", first]) == "repeated_turn"


def test_a_different_question_of_the_same_form_is_not_repeated(filters: Filters) -> None:
    assert (
        filters.reason("Does anything make the pain worse?", ["Does anything make the pain better or shorter?"]) is None
    )


def test_short_courtesies_may_come_again(filters: Filters) -> None:
    assert filters.reason("Thank you, I see.", ["Thank you, I see."]) is None


@pytest.mark.parametrize(
    ("tokens", "new", "limit", "over"),
    [(0, 96, 2048, False), (1952, 96, 2048, False), (1953, 96, 2048, True), (10**6, 96, 0, False)],
)
def test_over_long_is_what_does_not_fit_the_limit(tokens: int, new: int, limit: int, over: bool) -> None:
    assert is_over_long(tokens, new, limit) is over
