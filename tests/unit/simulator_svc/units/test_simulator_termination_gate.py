"""The Termination Gate ends neither too early nor never, and says why."""

from __future__ import annotations

import pytest

from simulator_svc.dialogue import Ending
from simulator_svc.units.termination_gate import TerminationGate

GATE = TerminationGate(max_doctor_turns=12, loop_repeats=2)


@pytest.mark.parametrize(
    ("doctor", "ending"),
    [
        (["I think you have a kidney stone. I will prescribe ibuprofen."], Ending.DIAGNOSIS_AND_PLAN),
        (["This is likely pneumonia.", "I recommend an antibiotic and rest."], Ending.DIAGNOSIS_AND_PLAN),
        (["You have a migraine. I'll prescribe a tablet. Do you have any questions?"], Ending.DIAGNOSIS_AND_PLAN),
        (
            ["I suspect gout.", "We will do a blood test. Where is it?", "Is everything clear?"],
            Ending.QUESTIONS_ANSWERED,
        ),
        (["Goodbye and take care."], Ending.FAREWELL),
        (["When did it start?"] * 3, Ending.LOOP),
        (["", "", ""], Ending.LOOP),
        ([f"Question number {n}?" for n in range(12)], Ending.TURN_LIMIT),
    ],
)
def test_ends(doctor: list[str], ending: Ending) -> None:
    assert GATE.decide(doctor) is ending


@pytest.mark.parametrize(
    "doctor",
    [
        ["Hello, what brings you here?"],
        ["I think you have a kidney stone."],  # no plan yet
        ["I recommend rest and will prescribe a painkiller."],  # no diagnosis yet
        ["It sounds like you are in pain. I recommend that you tell me more."],
        ["I suspect gout. I will prescribe colchicine. Do you have any allergies?"],  # a question waits
        ["Do you have a fever? Do you take any treatment?"],
        ["If you have a fever, take a tablet."],
        ["When did it start?", "When did it start?"],  # asked twice only
        ["Do you take care of anyone at home?"],
        [""],
    ],
)
def test_goes_on(doctor: list[str]) -> None:
    assert GATE.decide(doctor) is None


def test_the_request_may_set_its_own_limit() -> None:
    assert GATE.decide(["What is it like?", "Where is it?"], 2) is Ending.TURN_LIMIT
    assert GATE.decide(["What is it like?", "Where is it?"], 3) is None


def test_it_always_ends() -> None:
    turns = [f"Tell me about thing {n}." for n in range(200)]
    assert GATE.decide(turns) is not None
