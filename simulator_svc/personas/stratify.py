"""Which patient meets which persona, so that a set of consultations is balanced rather than lucky.

Two things at once, both a function of the seed: the cases are drawn so that the strata (specialty, prevalence, age,
sex, comorbidity) of what was drawn stay level, and each block of sixteen draws meets each of the sixteen types once.
Both by minimisation (Pocock and Simon, Biometrics 1975): the next draw is the one that leaves the least imbalance, ties
by lot. A persona remains one that goes with the patient's age.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import TypeVar

from simulator_svc.cases.coverage import UNKNOWN, age_band
from simulator_svc.cases.model import Case, Category, Disclosure
from simulator_svc.personas.model import Persona, Personality
from simulator_svc.personas.sample import sample_persona

# So many personas are looked at for a draw; the least imbalanced is taken.
_CANDIDATES = 8
# With so many facts on past illness and medication a patient counts as one with comorbidity.
_COMORBID_FACTS = 4
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Draw:
    case: Case
    persona: Persona
    # For the patient's own words.
    seed: int


def stratified(cases: Sequence[Case], draws: int, seed: int) -> list[Draw]:
    """`draws` consultations over the cases. Raises ValueError without any case."""
    if not cases:
        raise ValueError("no case to draw from")
    random = Random(f"stratified:{seed}")
    types = _dealt(list(Personality), random)
    met: Counter[tuple[str, str]] = Counter()
    played: Counter[str] = Counter()
    told: Counter[tuple[str, str]] = Counter()
    chosen: list[Draw] = []
    for number in range(draws):
        # No case a second time before every case was played.
        least = min(played[case.case_id] for case in cases)
        open_cases = [case for case in cases if played[case.case_id] == least]
        case = min(_shuffled(open_cases, random), key=lambda case: _imbalance(strata(case), met))
        personality = next(types)
        candidates = [
            replace(sample_persona(random.getrandbits(32), case.age_years), personality=personality)
            for _ in range(_CANDIDATES)
        ]
        persona = min(candidates, key=lambda persona: _imbalance(_traits(persona), told))
        played[case.case_id] += 1
        met.update(strata(case).items())
        told.update(_traits(persona).items())
        chosen.append(Draw(case, persona, seed + number))
    return chosen


def strata(case: Case) -> dict[str, str]:
    return {
        "specialty": case.specialty,
        "prevalence": case.prevalence or UNKNOWN,
        "age": age_band(case.age_years),
        "sex": case.sex or UNKNOWN,
        "comorbidity": "yes" if comorbid(case) else "no",
    }


def comorbid(case: Case) -> bool:
    """By the number of its facts on past illness and medication: a case does not mark what counts as one."""
    told = (Category.PAST_HISTORY, Category.MEDICATION)
    return sum(f.category in told and f.disclosure is not Disclosure.NEVER for f in case.facts) >= _COMORBID_FACTS


def _traits(persona: Persona) -> dict[str, str]:
    return {
        "emotional_state": persona.emotional_state,
        "health_literacy": persona.health_literacy,
        "education": persona.education,
        "means": persona.means,
    }


def _imbalance(levels: dict[str, str], counted: Counter[tuple[str, str]]) -> int:
    """How often what it brings was there before."""
    return sum(counted[level] for level in levels.items())


def _shuffled(values: Sequence[T], random: Random) -> list[T]:
    return random.sample(values, len(values))


def _dealt(values: list[T], random: Random) -> Iterator[T]:
    for _ in count():
        random.shuffle(values)
        yield from list(values)
