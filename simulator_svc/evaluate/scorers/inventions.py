"""What a reply claims that the case does not have: a number, side, time, relative, body part, symptom or medicine.

Strict: denying what the case does not speak of is an invention too. Fears, wishes and questions claim nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from simulator_svc.cases.model import Case, Fact
from simulator_svc.evaluate.scorers.statements import Match, wordings
from simulator_svc.evaluate.scorers.text import Kind, Sentence, Token, read

# Belong to one fact: wrong beside the words of another.
_BOUND = frozenset({Kind.NUMBER, Kind.SIDE, Kind.TIME, Kind.FAMILY})
_NAMED = frozenset({Kind.BODY, Kind.SYMPTOM, Kind.DRUG})


def invented(case: Case, sentences: Sequence[Sentence], found: Sequence[Match]) -> list[str]:
    """The claims without support, as "kind: word"."""
    claims = []
    for sentence in sentences:
        if sentence.asks or sentence.hedged:
            continue
        spoken_of = [match.fact for match in found if match.stems & sentence.content]
        supported = _claims_of(case, tuple(spoken_of))
        anywhere = _claims_of(case, case.facts)
        for token in sentence.tokens:
            allowed = supported if token.kind in _BOUND else anywhere if token.kind in _NAMED else None
            if allowed is not None and not _supports(allowed, token) and not _about_the_patient(case, token):
                claims.append(f"{token.kind}: {token.stem}")
    return claims


@lru_cache(maxsize=65536)
def _claims_of(case: Case, facts: tuple[Fact, ...]) -> frozenset[tuple[str, str]]:
    """(stem, unit) of every token of these facts."""
    return frozenset(
        (token.stem, token.unit) for fact in facts for wording in wordings(case, fact) for token in wording.tokens
    )


def _supports(claims: frozenset[tuple[str, str]], token: Token) -> bool:
    if token.kind is not Kind.NUMBER:
        return any(stem == token.stem for stem, _ in claims)
    return any(stem == token.stem and (not unit or not token.unit or unit == token.unit) for stem, unit in claims)


def _about_the_patient(case: Case, token: Token) -> bool:
    """Age and sex stand in the case's head, not in a fact."""
    if token.kind is Kind.NUMBER:
        return token.stem == str(case.age_years)
    return any(token.stem in sentence.content for sentence in read(case.title))
