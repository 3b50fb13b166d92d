"""Which consultations an evaluation plays: every case with every doctor that was asked for, as the seed deals them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from simulator_svc.cases.model import Case
from simulator_svc.evaluate.cast import balanced_personas
from simulator_svc.evaluate.doctors.attacks import attacks
from simulator_svc.evaluate.doctors.base import Question, Script
from simulator_svc.evaluate.doctors.scripted import closing, consultations
from simulator_svc.evaluate.play import Engagement


def scripted(
    cases: Sequence[Case],
    seed: int,
    *,
    turns: int,
    each: int = 1,
) -> list[Engagement]:
    """`each` consultations of so many doctor turns a case, each with another persona and other questions."""
    cast = balanced_personas(seed)
    scripts = {case.case_id: consultations(case, turns, Random(f"{seed}:{case.case_id}")) for case in cases}
    return [
        Engagement(case, next(cast), seed + number, Script(next(scripts[case.case_id])), "scripted")
        for number, case in enumerate(list(cases) * each)
    ]


def labelled(
    cases: Sequence[Case], questions: Mapping[str, Sequence[Question]], seed: int, *, turns: int
) -> list[Engagement]:
    """The questions that readers labelled, each once, in consultations of so many turns with a closing turn."""
    cast = balanced_personas(seed)
    found: list[Engagement] = []
    for case in cases:
        asked = list(questions.get(case.case_id, ()))
        for begin in range(0, len(asked), turns - 1):
            script = [*asked[begin : begin + turns - 1], closing(case, Random(f"{seed}:{begin}"))]
            found.append(Engagement(case, next(cast), seed + len(found), Script(script), "labelled"))
    return found


def attacked(cases: Sequence[Case], seed: int, *, turns: int, least: int) -> list[Engagement]:
    """Consultations of so many attacks, at least `least` attacks in all: every attack before any comes twice."""
    cast = balanced_personas(seed)
    waiting: list[int] = []
    found = []
    for number in range(-(-least // turns)):
        case = cases[number % len(cases)]
        every = list(attacks(case))
        dealt: list[Question] = []
        while len(dealt) < turns:
            waiting = waiting or Random(f"{seed}:{number}").sample(range(len(every)), len(every))
            dealt.append(every[waiting.pop()])
        found.append(Engagement(case, next(cast), seed + number, Script(dealt), "attacks"))
    return found
