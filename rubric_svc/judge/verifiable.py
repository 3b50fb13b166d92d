"""Verdicts by transparent matching: the same words always give the same verdict, and the verdict quotes them."""

from __future__ import annotations

import math

from opentelemetry import trace

from rubric_svc.judge.evidence import DoctorTurn, Evidence
from rubric_svc.judge.matchers import MATCHERS
from rubric_svc.judge.matchers.base import SHARE, read_terms
from rubric_svc.judge.text import Span
from rubric_svc.model import Check, Criterion, Outcome, Verdict
from service_kit.spans import traced

_tracer = trace.get_tracer(__name__)
_QUOTED = 120


def validate(check: Check) -> None:
    """Raises WrongTerms, which says what is wrong with the matcher or its terms."""
    read_terms(check.matcher, check.terms)


def judge(criteria: list[Criterion], evidence: Evidence) -> list[Verdict]:
    with traced(_tracer, "rubric.judge.verifiable") as span:
        span.set_attribute("rubric.criteria", len(criteria))
        return [verdict(criterion, evidence) for criterion in criteria]


def verdict(criterion: Criterion, evidence: Evidence) -> Verdict:
    found = find(criterion.check, evidence)
    terms = read_terms(criterion.check.matcher, criterion.check.terms)
    needed = max(1, math.ceil(terms.option(SHARE, 0.0) * len(evidence.judged)))
    met = len(found) >= needed
    if met:
        explanation = "; ".join(f'turn {turn.number}: "{_quote(turn, span)}"' for turn, span in found[:3])
    elif found:
        explanation = f"in {len(found)} of {len(evidence.judged)} turns, {needed} needed"
    else:
        explanation = f"{criterion.check.matcher}: nothing found"
    return Verdict(criterion, Outcome.MET if met else Outcome.NOT_MET, float(met), explanation)


def find(check: Check, evidence: Evidence) -> list[tuple[DoctorTurn, Span]]:
    """The judged turns that show it, and the words that do."""
    terms = read_terms(check.matcher, check.terms)
    matcher = MATCHERS[check.matcher]
    spans = ((turn, matcher.find(evidence, turn, terms)) for turn in evidence.judged)
    return [(turn, span) for turn, span in spans if span is not None]


def _quote(turn: DoctorTurn, span: Span) -> str:
    words = " ".join(span.of(turn.text).split())
    return words if len(words) <= _QUOTED else words[: _QUOTED - 1] + "\u2026"
