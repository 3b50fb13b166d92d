"""The Termination Gate ends neither too early nor never, and says why."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from simulator_svc.dialogue import Ending, Speaker, Turn
from simulator_svc.evaluate.gate import GOES_ON, load_states, measure
from simulator_svc.units.termination_gate import TerminationGate

GATE = TerminationGate(max_doctor_turns=12, loop_repeats=2)
LABELS = Path(__file__).parents[3] / "benchmarks" / "labels" / "gate_states.jsonl"
TURNS: dict[str, list[list[str]]] = tomllib.loads(Path(__file__).with_name("gate_turns.toml").read_text("utf-8"))
SPEAKERS = {"D": Speaker.DOCTOR, "P": Speaker.PATIENT}


def doctor(*turns: str) -> list[Turn]:
    return [Turn(Speaker.DOCTOR, turn) for turn in turns]


@pytest.mark.parametrize(
    ("label", "script"), [(label, script) for label, scripts in TURNS.items() for script in scripts]
)
def test_it_hears_the_many_ways_to_end_and_to_go_on(label: str, script: list[str]) -> None:
    dialogue = [Turn(SPEAKERS[line[0]], line[3:]) for line in script]
    assert (GATE.decide(dialogue) or GOES_ON) == label


def test_the_development_part_of_the_labelled_states_is_a_floor() -> None:
    """The held-out third is printed by the benchmark and pins nothing, so that nobody tunes on it."""
    states = [state for state in load_states(LABELS) if not state.held_out]
    figures = measure(states)
    assert figures.states > 150 and figures.ends > 70
    assert figures.precision >= 0.97 and figures.recall >= 0.97
    assert figures.reason_accuracy >= 0.95


def test_a_figure_counts_what_ended_too_early_and_what_never_ended(tmp_path: Path) -> None:
    row = '{{"id": "{}", "dialogue": [{{"speaker": "doctor", "text": "{}"}}], "label": "{}", "second": "{}"}}'
    lines = [("a", "Goodbye.", "farewell"), ("b", "Goodbye.", "goes_on"), ("c", "Where is it?", "loop")]
    path = tmp_path / "states.jsonl"
    path.write_text("\n".join(row.format(name, text, label, label) for name, text, label in lines))
    figures = measure(load_states(path))
    assert (figures.ended, figures.too_early, figures.never, figures.same_reason) == (1, 1, 1, 1)
    assert figures.precision == 0.5 and figures.recall == 0.5


def test_a_line_that_is_no_state_is_named(tmp_path: Path) -> None:
    path = tmp_path / "states.jsonl"
    path.write_text('{"id": "a", "dialogue": [], "label": "goes_on"}\n{"id": "b", "dialogue": [], "label": "nap"}')
    with pytest.raises(ValueError, match=r"states\.jsonl, line 2"):
        load_states(path)


def test_a_rare_illness_of_the_case_is_heard_as_any_other() -> None:
    turns = doctor("It seems that Wegener's granules are at work. I recommend a blood test.")
    assert GATE.decide(turns) is None
    assert GATE.decide(turns, ("wegener's granules",)) is Ending.DIAGNOSIS_AND_PLAN


def test_a_question_left_open_by_diagnosis_and_plan_is_answered_first() -> None:
    told = doctor("You have gout. I'll give you colchicine. Are your kidneys all right?")
    assert GATE.decide(told) is None
    answered = [*told, Turn(Speaker.PATIENT, "They are."), *doctor("Good, then the colchicine is safe.")]
    assert GATE.decide(answered) is Ending.DIAGNOSIS_AND_PLAN


def test_the_turn_limit_bounds_it_and_the_request_may_set_its_own() -> None:
    turns = doctor("What is it like?", "Where is it?")
    assert GATE.decide(turns, max_doctor_turns=2) is Ending.TURN_LIMIT
    assert GATE.decide(turns, max_doctor_turns=3) is None
    assert GATE.decide(doctor(*(f"Question number {n}?" for n in range(12)))) is Ending.TURN_LIMIT


def test_empty_turns_are_a_loop_and_a_flood_is_read_in_time() -> None:
    assert GATE.decide(doctor("", "", "")) is Ending.LOOP
    assert GATE.decide(doctor("")) is None
    assert GATE.decide(doctor("it is , could be " * 20_000)) is None
