"""Matchers of diagnosis, tests, plan and treatment."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rubric_svc.judge.evidence import DoctorTurn, Evidence
from rubric_svc.judge.matchers.base import Terms, affirmed, earliest, hits_in, matcher, phrases
from rubric_svc.judge.text import Span, negated, questions, sentences

_DOSE = re.compile(
    r"\b\d+(?:[.,]\d+)?\s*(?:-\s*\d+\s*)?(?:mg|mcg|micrograms?|milligrams?|grams?|g|ml|units?|iu|tablets?|pills?|capsules?|puffs?|drops)\b"
    r"|\b(?:one|two|three|four|five|a|half a)?\s*hundred\s+(?:and\s+\w+\s+)?(?:mg|milligrams?|micrograms?)\b"
    r"|\b(?:one|two|three|four|five|ten|twenty|thirty|forty|fifty|half a)\s+"
    r"(?:mg|milligrams?|micrograms?|grams?|drops|spoons?)\b"
    r"|\b(?:one|two|three|half a)\s+(?:tablets?|pills?|capsules?|puffs?)\b",
    re.I,
)
_OF_A_DRUG = re.compile(r"mg|mcg|microgram|milligram|puff|iu", re.I)
_ASKED_BEFORE = re.compile(
    r"\b(?:have|has|had|did|do|does|was|were) (?:you|he|she|they|it|anyone|anybody|your)\b", re.I
)
_SO_IT_IS = re.compile(
    r"[\s,]*(?:is|it is|that's|that is|it's)?\s*(?:what|is what) (?:you have|you've got|this is|it is|we have here)",
    re.I,
)
_REPORTED = re.compile(
    r"\b(?:you(?:'re| are| were)(?: currently| already)? (?:taking|on)|you already take|you took|"
    r"you(?:'ve| have) (?:been|had|taken)|you (?:mentioned|said|told)|so you take)\b",
    re.I,
)


@matcher(needs_terms=True)
def named_diagnosis(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Names one of the terms as what the patient has or may have: not denied, not asked about, not history."""
    return earliest(_named(turn, terms))


def _named(turn: DoctorTurn, terms: Terms) -> Iterator[Span]:
    elsewhere = phrases("not_own_finding")
    for sentence, span in affirmed(turn, terms):
        if not any(elsewhere.hits(sentence.text)):
            yield span


@matcher(options=("before",))
def premature_diagnosis(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Names an illness (a term, or one of the lexicon's) as what the patient has, within the first `before` turns."""
    if turn.number > terms.option("before", float("inf")):
        return None
    conditions = Terms((*terms.lists, *phrases("condition").lists), ())
    certainty = phrases("certainty")
    for sentence, span in affirmed(turn, conditions):
        before = sentence.text[: span.start - sentence.span.start]
        after = sentence.text[span.end - sentence.span.start :]
        if any(phrases("not_own_finding").hits(sentence.text)):
            continue
        if any(not negated(before, hit.start(), hit.end()) for hit in certainty.hits(before)):
            return span
        if _SO_IT_IS.match(after):
            return span
    return None


@matcher(needs_terms=True)
def orders(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Orders, offers or asks leave for an examination or test; asking whether it was done before is history."""
    will = phrases("order")
    for sentence in sentences(turn.text):
        for span in hits_in(turn.text, sentence.span, terms):
            start = span.start - sentence.span.start
            before = sentence.text[:start]
            if negated(sentence.text, start, span.end - sentence.span.start):
                continue
            if any(will.hits(before)) and not _ASKED_BEFORE.search(before):
                return span
    return None


@matcher(default="plan")
def gives_plan(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Says what happens next: advice, treatment, a test, a follow-up."""
    return earliest(span for _, span in affirmed(turn, terms))


@matcher(default="drug")
def prescribes_with_dose(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """A drug with a dose in one sentence that is advice, not a question or what the patient takes already."""
    asked = questions(turn.text)
    for sentence in sentences(turn.text):
        dose = _DOSE.search(sentence.text)
        if dose is None or _REPORTED.search(sentence.text):
            continue
        # Milligrams are of a drug, whatever its name.
        drug = next(terms.hits(sentence.text), dose if _OF_A_DRUG.search(dose.group()) else None)
        if drug is None:
            continue
        if any(q.sentence == sentence.span for q in asked) or negated(sentence.text, drug.start(), drug.end()):
            continue
        start, end = min(dose.start(), drug.start()), max(dose.end(), drug.end())
        return Span(sentence.span.start + start, sentence.span.start + end)
    return None


@matcher(default="cost")
def discusses_cost(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Speaks of what care costs or whether the patient can afford it."""
    return earliest(span for s in sentences(turn.text) for span in hits_in(turn.text, s.span, terms))


@matcher(default="explains")
def explains(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Gives the reason for a question, a test or an advice."""
    return earliest(span for s in sentences(turn.text) for span in hits_in(turn.text, s.span, terms))
