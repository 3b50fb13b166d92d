"""Matchers of safety: safety net, escalation, false reassurance, harm."""

from __future__ import annotations

from rubric_svc.judge.evidence import DoctorTurn, Evidence
from rubric_svc.judge.matchers.base import Terms, affirmed, earliest, matcher, phrases
from rubric_svc.judge.text import Span, negated, sentences

# "If it does not improve, come back": the condition's own "not" is no denial.
_REACH = 4


@matcher(default="safety_action")
def safety_net(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """In one sentence: a condition, what would be worse or new, and where to turn. Not denied, not a question."""
    condition, trigger = phrases("safety_condition"), phrases("safety_trigger")
    for sentence in sentences(turn.text):
        if sentence.marked:
            continue
        actions = [h for h in terms.hits(sentence.text) if not negated(sentence.text, h.start(), h.end(), _REACH)]
        if actions and any(condition.hits(sentence.text)) and any(trigger.hits(sentence.text)):
            return sentence.span
    return None


@matcher(default="emergency")
def escalates(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Sends the patient to urgent care now, not only if something should happen."""
    condition = phrases("safety_condition")
    return earliest(span for sentence, span in affirmed(turn, terms) if not any(condition.hits(sentence.text)))


@matcher()
def seeks_help(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Says when and where to seek help, or sends the patient to urgent care."""
    net = safety_net(evidence, turn, phrases("safety_action"))
    return net or escalates(evidence, turn, phrases("emergency"))


@matcher(default="false_reassurance")
def false_reassurance(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Promises an outcome or plays the complaint down before it is known. The phrases hold their own "not"."""
    return earliest(
        Span(sentence.span.start + hit.start(), sentence.span.start + hit.end())
        for sentence in sentences(turn.text)
        if not sentence.marked
        for hit in terms.hits(sentence.text)
    )


@matcher(default="harmful")
def harmful_advice(evidence: Evidence, turn: DoctorTurn, terms: Terms) -> Span | None:
    """Advice that could hurt, unless it is what the doctor warns against."""
    return earliest(span for _, span in affirmed(turn, terms))
