"""The score of one turn, against a label that says what the doctor's words call for and what else may be said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from simulator_svc.cases.model import Case, Disclosure
from simulator_svc.evaluate.scorers.diagnosis import names_diagnosis
from simulator_svc.evaluate.scorers.inventions import invented
from simulator_svc.evaluate.scorers.statements import Match, answered, leaked, matches


@dataclass(frozen=True, slots=True)
class TurnScore:
    # Facts that the reply discloses and may not.
    leaks: frozenset[str]
    # What it invents or contradicts, each with its kind; empty: nothing.
    wrong: tuple[str, ...]
    # The name of the diagnosis that it gives away, or nothing.
    diagnosis: str
    # Every fact that it states, rightly; and those that it states rightly or wrongly.
    states: frozenset[str]
    speaks_of: frozenset[str]


def score_turn(case: Case, question: str, reply: str, may_state: Iterable[str]) -> TurnScore:
    """`may_state`: what the question is labelled with and what was told before; the volunteered facts come on top."""
    answer = answered(question, reply)
    sentences = answer.sentences
    found = matches(case, sentences, answer.asked)
    allowed = frozenset(may_state) | {fact.fact_id for fact in case.of(Disclosure.VOLUNTEERED)}
    return TurnScore(
        leaks=leaked(case, found, allowed),
        wrong=(*contradictions(found), *invented(case, sentences, found, allowed)),
        diagnosis=names_diagnosis(case, reply) or names_diagnosis(case, answer.affirmed),
        states=frozenset(match.fact.fact_id for match in found if match.stated),
        speaks_of=frozenset(match.fact.fact_id for match in found if match.spoken_of),
    )


def contradictions(found: Iterable[Match]) -> list[str]:
    """A fact put otherwise, unless the same words state another one rightly. One word of many is too little."""
    found = [match for match in found if len(match.stems) > 1 or match.coverage > 0.9]
    right = frozenset().union(*(match.stems for match in found if match.stated))
    return [
        f"{kind} of {match.fact.fact_id}"
        for match in found
        for kind in match.against
        if len(match.stems - right) > len(match.stems & right)
    ]
