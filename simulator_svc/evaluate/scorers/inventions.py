"""What a reply claims that the case does not have: a number, side, time, relative, body part, symptom or medicine.

Strict: denying what the case does not speak of is an invention too. Fears, wishes and questions claim nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from simulator_svc.cases.model import Case, Fact
from simulator_svc.evaluate.scorers.statements import Match, wordings
from simulator_svc.evaluate.scorers.text import Kind, Sentence, Token, read, same_number

# Belong to one fact: wrong beside the words of another.
_BOUND = frozenset({Kind.NUMBER, Kind.SIDE, Kind.TIME, Kind.FAMILY})
_NAMED = frozenset({Kind.BODY, Kind.SYMPTOM, Kind.DRUG})


def invented(case: Case, sentences: Sequence[Sentence], found: Sequence[Match], may_state: frozenset[str]) -> list[str]:
    """The claims without support, as "kind: word". An answer in half a sentence is about what it may state."""
    claims = []
    for sentence in sentences:
        if sentence.asks or sentence.hedged:
            continue
        spoken_of = [match.fact for match in found if match.stems & sentence.content]
        spoken_of = spoken_of or [fact for fact in case.facts if fact.fact_id in may_state]
        for token in sentence.tokens:
            facts = tuple(spoken_of) if token.kind in _BOUND else case.facts if token.kind in _NAMED else None
            if facts is None or _about_the_patient(case, token):
                continue
            if not _supported(case, facts, token):
                claims.append(f"{token.kind}: {token.stem}")
            elif token.kind in _NAMED and not token.denied and _denied_everywhere(case, token.stem):
                claims.append(f"denied: {token.stem}")
    return claims


def _supported(case: Case, facts: tuple[Fact, ...], token: Token) -> bool:
    own = _tokens(case, facts)
    if token.kind is Kind.NUMBER:
        return any(same_number(token, other) for other in own if other.kind is Kind.NUMBER)
    return any(other.stem == token.stem for other in own)


def _denied_everywhere(case: Case, stem: str) -> bool:
    return all(token.denied for token in _tokens(case, case.facts) if token.stem == stem)


@lru_cache(maxsize=65536)
def _tokens(case: Case, facts: tuple[Fact, ...]) -> frozenset[Token]:
    return frozenset(token for fact in facts for wording in wordings(case, fact) for token in wording.tokens)


def _about_the_patient(case: Case, token: Token) -> bool:
    """Age and sex stand in the case's head, not in a fact."""
    if token.kind is Kind.NUMBER:
        return token.stem == str(case.age_years)
    return any(token.stem in sentence.content for sentence in read(case.title))
