"""What a set of consultations amounts to. Intervals resample consultations, as turns of one depend on each other."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from simulator_svc.dialogue import ReplySource
from simulator_svc.evaluate.cast import axes_of
from simulator_svc.evaluate.doctors.base import Question
from simulator_svc.evaluate.patients import Reply
from simulator_svc.evaluate.play import Consultation
from simulator_svc.evaluate.scorers.intervals import Estimate, ratio
from simulator_svc.evaluate.scorers.naturalness import Naturalness, naturalness
from simulator_svc.evaluate.scorers.personification import Personification, Session, personification
from simulator_svc.evaluate.scorers.turns import TurnScore, score_turn


@dataclass(frozen=True, slots=True)
class ScoredTurn:
    question: Question
    reply: Reply
    score: TurnScore

    @property
    def answered(self) -> float | None:
        """The share of the facts asked for that is in the reply; of an open question: whether any is."""
        if not self.question.calls_for:
            return None
        if self.question.open:
            return float(bool(self.score.states & (self.question.may_state or frozenset())))
        return len(self.score.states & self.question.calls_for) / len(self.question.calls_for)


@dataclass(frozen=True)
class Scored:
    """A consultation with the scores of its turns, the opening among them."""

    consultation: Consultation
    turns: tuple[ScoredTurn, ...]


@dataclass(frozen=True)
class Measured:
    consultations: int
    broken: Mapping[str, int]
    turns: int
    refused: Mapping[str, int]
    # Over labelled turns.
    privacy: Estimate
    fact: Estimate
    diagnosis_named: int
    answer_recall: Estimate
    # Every fact that any question called for, open ones too.
    recall_of_every_fact: Estimate
    personification: Personification | None
    # Of the scripts that come to a closing turn: those that ended before it, at it, and not even then.
    ended_early: Estimate
    ended_in_time: Estimate
    never_ended: Estimate
    endings: Mapping[str, int]
    fallback_share: Estimate
    rewrites_per_turn: Estimate
    sources: Mapping[str, int]
    latency_seconds: tuple[float, float] | None
    # Of the replies that are no fall-back.
    natural: Naturalness | None


def score(consultation: Consultation) -> Scored:
    """What was told in earlier turns may be said again."""
    case = consultation.engagement.case
    told: frozenset[str] = frozenset()
    scored = []
    for question, reply in _said(consultation):
        unlabelled = question.may_state is None
        everything = frozenset(fact.fact_id for fact in case.facts)
        may_state = everything if question.may_state is None else question.may_state | told
        found = score_turn(case, question.text, reply.text, may_state)
        scored.append(ScoredTurn(question, reply, found))
        told |= found.states | (frozenset() if unlabelled else found.leaks)
    return Scored(consultation, tuple(scored))


def measure(played: Sequence[Scored], seed: int = 0, *, persona: bool = True) -> Measured:
    """`persona`: the classifier, which takes longer than all the rest, is asked too."""
    turns = [turn for scored in played for turn in scored.turns]
    closed = [scored for scored in played if _reached_end(scored)]
    return Measured(
        consultations=len(played),
        broken=dict(Counter(s.consultation.broken for s in played if s.consultation.broken)),
        turns=len(turns),
        refused=dict(Counter(reason for s in played for reason in s.consultation.refused)),
        privacy=_over(played, lambda t: None if t.question.may_state is None else float(not t.score.leaks), seed),
        fact=_over(played, lambda t: float(not t.score.wrong), seed),
        diagnosis_named=sum(bool(turn.score.diagnosis) for turn in turns),
        answer_recall=_over(played, lambda turn: turn.answered, seed),
        recall_of_every_fact=ratio([_every_fact(scored) for scored in played], seed),
        personification=personification(list(map(_session, played)), seed) if persona else None,
        ended_early=ratio([(float(_when(scored) == "early"), 1) for scored in closed], seed),
        ended_in_time=ratio([(float(_when(scored) == "in time"), 1) for scored in closed], seed),
        never_ended=ratio([(float(_when(scored) == "never"), 1) for scored in closed], seed),
        endings=dict(Counter(str(turn.reply.ending) for turn in turns if turn.reply.ending)),
        fallback_share=_over(played, lambda t: float(t.reply.source is ReplySource.PLAIN_STATEMENT), seed),
        rewrites_per_turn=_over(played, lambda t: float(t.reply.rewrites), seed),
        sources=dict(Counter(str(turn.reply.source) for turn in turns)),
        latency_seconds=_latency([turn.reply.seconds for scored in played for turn in scored.turns[1:]]),
        natural=naturalness([t.reply.text for t in turns if t.reply.source is not ReplySource.PLAIN_STATEMENT]),
    )


def _said(consultation: Consultation) -> Iterator[tuple[Question, Reply]]:
    if consultation.opening is not None:
        yield Question("", about="opening"), consultation.opening
    yield from consultation.turns


def _over(played: Sequence[Scored], value: Callable[[ScoredTurn], float | None], seed: int) -> Estimate:
    """The mean over turns; those of which `value` is None do not count."""
    sessions = []
    for scored in played:
        counted = [found for turn in scored.turns if (found := value(turn)) is not None]
        sessions.append((sum(counted), float(len(counted))))
    return ratio(sessions, seed)


def _every_fact(scored: Scored) -> tuple[float, float]:
    called = [(len(turn.score.states & turn.question.calls_for), len(turn.question.calls_for)) for turn in scored.turns]
    return float(sum(stated for stated, _ in called)), float(sum(wanted for _, wanted in called))


def _reached_end(scored: Scored) -> bool:
    """A script that ran to its closing turn, or that the patient ended before."""
    consultation = scored.consultation
    if consultation.broken or consultation.engagement.kind not in ("scripted", "labelled") or not consultation.turns:
        return False
    last, reply = consultation.turns[-1]
    return last.closes or reply.ending is not None


def _when(scored: Scored) -> str:
    last, reply = scored.consultation.turns[-1]
    if not last.closes:
        return "early"
    return "in time" if reply.ending else "never"


def _session(scored: Scored) -> Session:
    who = scored.consultation.engagement
    return Session(who.case.case_id, axes_of(who.persona), [turn.reply.text for turn in scored.turns])


def _latency(seconds: Sequence[float]) -> tuple[float, float] | None:
    """Median and 95th percentile."""
    if len(seconds) < 2:
        return None
    cut = statistics.quantiles(seconds, n=20)
    return cut[9], cut[18]
