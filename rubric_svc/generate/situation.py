"""Where a consultation stands: what was asked, what was told, and who the patient is.

Invariant: what counts as asked here is what asked_about would call met, so a rubric never rewards what it would
have rewarded before, and a doctor who asked is not told that he did not.
"""

from __future__ import annotations

from dataclasses import dataclass

from rubric_svc.generate.conditions import Condition, conditions, joined, told
from rubric_svc.generate.templates import Moment, Points, Topic
from rubric_svc.judge import lexicon
from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.matchers.base import is_phrase
from rubric_svc.judge.verifiable import find
from rubric_svc.model import Case, Check, Dialogue, Fact, Persona, Scope, Speaker

# A turn is a conversation, not a form: what is asked beyond so many questions or topics earns nothing.
MOST_ASKED = "most=6"


@dataclass(frozen=True, slots=True)
class TopicState:
    topic: Topic
    check: Check
    facts: tuple[Fact, ...]
    asked: bool
    told: bool

    @property
    def open(self) -> bool:
        return not self.asked and not self.told


@dataclass(frozen=True, slots=True)
class Situation:
    doctor_turns: int
    topics: tuple[TopicState, ...]
    conditions: frozenset[Condition]
    evidence: Evidence
    """All doctor turns so far."""

    def moment(self, points: Points) -> Moment:
        closed = sum(not state.open for state in self.topics)
        covered = closed / len(self.topics) if self.topics else 1.0
        if self.doctor_turns >= points.late_turns or covered >= points.late_covered:
            return Moment.LATE
        if self.doctor_turns >= points.early_turns or covered >= points.early_covered:
            return Moment.MIDDLE
        return Moment.EARLY


def assess(case: Case, persona: Persona, so_far: Dialogue, topics: tuple[Topic, ...]) -> Situation:
    evidence = Evidence.of(so_far, Scope.WHOLE_DIALOGUE)
    heard = joined([turn.text for turn in so_far if turn.speaker is Speaker.PATIENT])
    states = []
    for topic in topics:
        facts = tuple(case.of(topic.category))
        check = topic_check(topic, facts)
        if facts and len(check.terms) > 1:
            known = all(told(fact, heard) for fact in facts)
            states.append(TopicState(topic, check, facts, bool(find(check, evidence)), known))
    return Situation(len(evidence.doctor), tuple(states), conditions(case, persona, so_far), evidence)


def topic_check(topic: Topic, facts: tuple[Fact, ...]) -> Check:
    """The topic's own words, and those that ask about this case's facts."""
    own = [f"@{topic.name}"] if topic.name in lexicon.built_in().topics else []
    cues = tuple(dict.fromkeys(cue for fact in facts for cue in fact.cues if is_phrase(cue)))
    return Check("asked_about", (MOST_ASKED, *own, *cues))
