"""Matchers of history taking: what is asked, how many questions, and whether they were asked before."""

from __future__ import annotations

from collections.abc import Iterator

from rubric_svc.judge import lexicon
from rubric_svc.judge.evidence import DoctorTurn, Evidence
from rubric_svc.judge.matchers.base import Terms, earliest, hits_in, matcher
from rubric_svc.judge.terms import occurrences
from rubric_svc.judge.text import Question, Span, questions, words

_ALIKE = 0.6


@matcher(options=("most",), needs_terms=True)
def asked_about(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """A question or a request to tell, that speaks of one of the terms, among the first `most` questions and topics."""
    most = terms.option("most", float("inf"))
    return earliest(
        span
        for number, question in enumerate(questions(turn.text))
        if number < most and question.clear
        for span in hits_in(turn.text, question.span, terms)
        if most == float("inf") or _topics_before(turn, span) < most
    )


def _topics_before(turn: DoctorTurn, hit: Span) -> int:
    """How many topics of the lexicon were touched before the hit."""
    opened = 0
    for topic in lexicon.built_in().topics:
        terms = lexicon.built_in().topics[topic].terms
        opened += any(
            question.span.start + match.end() <= hit.start
            for question in questions(turn.text)
            for match in occurrences(terms, question.text)
        )
    return opened


@matcher()
def ends_with_question(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """The last sentence asks, and is complete."""
    asked = questions(turn.text)
    if not asked or not turn.text.rstrip("\"')*] \n").endswith(("?", ".")):
        return None
    last = asked[-1]
    after = turn.text[last.span.end :]
    return last.span if not words(after) and last.clear and len(words(last.text)) > 1 else None


@matcher(options=("min", "max"))
def question_count(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """At least `min` (1 unless told) and at most `max` questions."""
    asked = questions(turn.text)
    if terms.option("min", 1) <= len(asked) <= terms.option("max", float("inf")):
        return Span(asked[0].span.start, asked[-1].span.end) if asked else Span(0, 0)
    return None


@matcher()
def repeats_question(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Asks what an earlier doctor turn asked, in nearly the same words."""
    earlier = [_content(q) for before in evidence.before(turn) for q in questions(before.text)]
    return earliest(
        question.span
        for question in questions(turn.text)
        if any(_alike(_content(question), known) for known in earlier)
    )


def _content(question: Question) -> frozenset[str]:
    return frozenset(words(question.text))


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return min(len(one), len(other)) >= 3 and len(one & other) / len(one | other) >= _ALIKE


@matcher(default="identifying")
def asks_for_identifying_data(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """A question or request for data that says who the patient is."""
    return earliest(_asked(turn, terms))


def _asked(turn: DoctorTurn, terms: Terms) -> Iterator[Span]:
    for question in questions(turn.text):
        yield from hits_in(turn.text, question.span, terms)
