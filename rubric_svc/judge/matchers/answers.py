"""Matchers of tasks whose answers are right or wrong: a choice, a number, a text, a constraint on form.

Their terms are literal. What counts is the answer that the doctor commits to, the last one where there are several.
"""

from __future__ import annotations

import json
import re
from typing import Any

from rubric_svc.judge import instructions
from rubric_svc.judge.evidence import DoctorTurn, Evidence
from rubric_svc.judge.matchers.base import Terms, WrongTerms, matcher
from rubric_svc.judge.text import Span

# "The answer is B", "Answer: (B)", "**B.**" alone.
_CHOICE = re.compile(
    r"\b(?:answer|choice|option)\b(?:\s+(?:is|would be|must be))?\s*:?\s*[*(\[\"']*([A-Z])\b(?![a-z'])", re.I
)
_LETTER_ALONE = re.compile(r"^\s*[*(\[]*([A-Z])[*)\].:]*\s*$", re.M)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_COMMITTED = re.compile(r"\banswer\b(?:\s+(?:is|would be|must be))?\s*:?\s*[^\d\n-]{0,12}(-?\d[\d,]*(?:\.\d+)?)", re.I)
_PIECE = "|"


@matcher(needs_terms=True, literal=True)
def answers_choice(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Commits to the letter that is the first term, or, naming no letter, gives the other term's words alone."""
    letter, *words = terms.literal
    named = list(_CHOICE.finditer(turn.text)) or list(_LETTER_ALONE.finditer(turn.text))
    if named:
        return _span(named[-1], 1) if named[-1][1].upper() == letter.upper() else None
    bare = turn.text.strip().rstrip(".").lower()
    return Span(0, len(turn.text)) if words and bare == words[0].rstrip(".").lower() else None


@matcher(needs_terms=True, literal=True)
def answers_number(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """The number after "answer", or the last one of the turn, equals the term."""
    found = list(_COMMITTED.finditer(turn.text))
    span = _span(found[-1], 1) if found else None
    if span is None:
        numbers = list(_NUMBER.finditer(turn.text))
        span = _span(numbers[-1], 0) if numbers else None
    if span is None:
        return None
    return span if _value(span.of(turn.text)) == _value(terms.literal[0]) else None


@matcher(needs_terms=True, literal=True)
def answers_exactly(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """The turn, or what follows its last "answer is", is one of the terms; case, articles and full stop are free."""
    start = max((match.end() for match in re.finditer(r"\banswer(?: is|:)\s*", turn.text, re.I)), default=0)
    given = _plain_answer(turn.text[start:])
    return Span(start, len(turn.text)) if any(_plain_answer(term) == given for term in terms.literal) else None


def _instruction(terms: Terms) -> tuple[str, dict[str, Any]]:
    """Raises WrongTerms, also for arguments that the constraint does not take."""
    name, *pieces = terms.literal
    if name not in instructions.CHECKS:
        raise WrongTerms(f"there is no constraint {name!r}")
    try:
        arguments = json.loads("".join(piece.removeprefix(_PIECE) for piece in pieces) or "{}")
        instructions.follows(name, arguments, "Any answer.")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise WrongTerms(f"the arguments of {name} are not what it takes") from error
    return name, arguments


@matcher(needs_terms=True, literal=True, read=_instruction)
def follows_instruction(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """The constraint that is the first term holds; the others, each behind a bar, join to its arguments as JSON."""
    name, arguments = _instruction(terms)
    return Span(0, len(turn.text)) if instructions.follows(name, arguments, turn.text) else None


def _span(match: re.Match[str], group: int) -> Span:
    return Span(match.start(group), match.end(group))


def _value(text: str) -> float | None:
    try:
        return float(text.replace(",", "").rstrip("."))
    except ValueError:
        return None


def _plain_answer(text: str) -> str:
    words = re.sub(r"[^\w\s%/.-]", " ", text.lower()).strip(" .").split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))
