"""The scripted doctor: an open question, labelled questions of every sort, then diagnosis and plan."""

from __future__ import annotations

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random

from simulator_svc.cases.model import Case, Category
from simulator_svc.evaluate.doctors.base import Question
from simulator_svc.evaluate.doctors.questions import questions

_CLOSINGS = Path(__file__).parent.parent / "data" / "closings.toml"


def consultations(case: Case, turns: int, random: Random) -> Iterator[list[Question]]:
    """Endless: the case's questions dealt out over consultations of so many turns, each with a closing turn of its own.

    A phrasing that was asked comes back only after all others.
    """
    topics = list(questions(case))
    asked = {phrasings[0].about: 0 for phrasings in topics}
    while True:
        script: list[Question] = []
        random.shuffle(topics)
        # The least asked first, so that every topic has its turn before any has two.
        topics.sort(key=lambda phrasings: asked[phrasings[0].about])
        for phrasings in topics[: turns - 1]:
            about = phrasings[0].about
            script.append(phrasings[asked[about] % len(phrasings)])
            asked[about] += 1
        # Examinations and tests come last, as they do.
        script.sort(key=lambda question: question.about in _ordered(case, topics))
        yield [*script, closing(case, random)]


def closing(case: Case, random: Random) -> Question:
    plan = next((fact.text for fact in case.facts if fact.category is Category.MANAGEMENT), "Rest and drink plenty.")
    text = random.choice(_closings()).replace("{diagnosis}", case.diagnosis_names[0]).replace("{plan}", plan)
    return Question(text, about="closing", closes=True)


def read_labels(path: Path) -> tuple[dict[str, list[Question]], float]:
    """Questions that two readers labelled apart, by case, with what both of them say; and how often they say the same.

    Called for: the facts that both name. What either names may be stated. A question on which they share nothing
    although both name something is left out.
    """
    found: defaultdict[str, list[Question]] = defaultdict(list)
    agreements: list[bool] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        first, second = frozenset(row["calls_for"]), frozenset(row["second"])
        agreements.append(first == second)
        if first & second or first == second:
            found[row["case_id"]].append(Question(row["question"], first & second, first | second, about="labelled"))
    return dict(found), sum(agreements) / max(1, len(agreements))


def _ordered(case: Case, topics: Sequence[Sequence[Question]]) -> frozenset[str]:
    probed = {fact.fact_id for fact in case.facts if fact.category in (Category.EXAMINATION, Category.TEST)}
    return frozenset(phrasings[0].about for phrasings in topics if phrasings[0].calls_for & probed)


@cache
def _closings() -> tuple[str, ...]:
    return tuple(tomllib.loads(_CLOSINGS.read_text(encoding="utf-8"))["closings"])
