"""A rubric from a case, a persona and the dialogue so far.

Invariant: a function of its arguments. The seed chooses among the criteria that the model judges and nothing else, so
that rubrics of one situation ask the same of every doctor. Every rubric holds each of the five core dimensions.
"""

from __future__ import annotations

import hashlib
import random

from opentelemetry import trace

from rubric_svc.generate.situation import MOST_ASKED, Situation, TopicState, assess
from rubric_svc.generate.templates import Moment, Template, Templates
from rubric_svc.judge.matchers.base import is_phrase
from rubric_svc.judge.verifiable import find
from rubric_svc.model import Case, Category, Check, Criterion, Dialogue, Dimension, Persona, Rubric, Scope
from service_kit.spans import traced

_tracer = trace.get_tracer(__name__)
_MOST_TERMS = 256
# What needs to be said or asked once.
_ONCE = frozenset({"asked_about", "states", "mentions", "orders"})


def generate(
    case: Case,
    persona: Persona,
    so_far: Dialogue,
    scope: Scope,
    seed: int,
    templates: Templates,
    *,
    model_criteria: int,
) -> Rubric:
    """`model_criteria` is how many of them the judge model answers."""
    with traced(_tracer, "rubric.generate") as span:
        whole = scope is Scope.WHOLE_DIALOGUE
        situation = assess(case, persona, () if whole else so_far, templates.topics)
        moment = Moment.WHOLE if whole else situation.moment(templates.points)
        criteria = [
            *_topics(situation, moment, templates),
            *(c for t in templates.general if (c := _general(t, case, situation, moment))),
            *_library(case, situation, moment, templates),
            *_model(templates.model, situation, moment, seed, model_criteria),
        ]
        span.set_attribute("rubric.moment", moment)
        span.set_attribute("rubric.criteria", len(criteria))
        return Rubric(_identity(case, moment, criteria), tuple(criteria))


def _topics(situation: Situation, moment: Moment, templates: Templates) -> list[Criterion]:
    """The most relevant topics that are still open, and a light penalty on those that are not."""
    points = templates.points
    ranked = sorted(situation.topics, key=lambda state: -state.topic.weight)
    if moment is Moment.WHOLE:
        chosen = _with_warning_signs(ranked, points.whole_topics)
        return [_topic(state, points.whole_topic) for state in chosen]
    still_open = [state for state in ranked if state.open]
    rewarded = [_topic(state, worth) for state, worth in zip(still_open, points.fragment_topics, strict=False)]
    asked = [state for state in situation.topics if state.asked and state.topic.again]
    if not asked:
        return rewarded
    again = Criterion(
        "asks_again",
        f"Asks again about {_listed([state.topic.about for state in asked])}.",
        points.asks_again,
        Dimension.CONSULTATION_LOGIC,
        ("topic",),
        Check("asked_about", (MOST_ASKED, *(f"@{state.topic.name}" for state in asked))),
    )
    return [*rewarded, again]


def _with_warning_signs(ranked: list[TopicState], count: int) -> list[TopicState]:
    """The first `count`; the case's warning signs are never among those left out."""
    chosen = ranked[:count]
    missing = [s for s in ranked[count:] if s.topic.category is Category.RED_FLAG]
    return [*chosen[: count - len(missing)], *missing]


def _topic(state: TopicState, points: int) -> Criterion:
    known = " ".join(fact.text for fact in state.facts)[:300]
    return Criterion(
        f"topic.{state.topic.name}",
        f"Asks about {state.topic.about} (this case: {known})",
        points,
        state.topic.dimension,
        ("topic", state.topic.name),
        Check(state.check.matcher, state.check.terms[:_MOST_TERMS]),
    )


def _general(template: Template, case: Case, situation: Situation, moment: Moment) -> Criterion | None:
    if moment not in template.points or not template.when <= situation.conditions:
        return None
    terms: list[str] = []
    for term in template.check.terms:
        if term.startswith("{"):
            filled = _of_case(term, case)
            if not filled:
                return None
            terms.extend(filled)
        else:
            terms.append(term)
    text = template.text.replace("{diagnosis}", case.diagnosis_names[0] if case.diagnosis_names else "")
    check = Check(template.check.matcher, tuple(terms[:_MOST_TERMS]))
    tags = tuple(sorted(template.when))
    return Criterion(template.template_id, text, template.points[moment], template.dimension, tags, check)


def _library(case: Case, situation: Situation, moment: Moment, templates: Templates) -> list[Criterion]:
    """Those of the library that this case calls for most. What was said or asked already earns nothing again.

    A weighted draw that the case decides, not chance, so that each criterion that fits has its cases (Efraimidis and
    Spirakis 2006: the largest u^(1/w), u from the case's and the criterion's names).
    """
    points = templates.points
    fitting = sorted(
        (t for t in templates.library if _general(t, case, situation, moment)),
        key=lambda t: -(_share(case.case_id, t.template_id) ** (1 / _relevance(t))),
    )
    rewards = [t for t in fitting if t.points[moment] > 0 and not _done(t, situation)]
    penalties = [t for t in fitting if t.points[moment] < 0]
    chosen = [*rewards[: points.library_rewards[moment]], *penalties[: points.library_penalties[moment]]]
    return [criterion for t in chosen if (criterion := _general(t, case, situation, moment))]


def _relevance(template: Template) -> float:
    """Each reason to hold the criterion, of persona, case or dialogue, counts as much as its weight."""
    return float(template.weight * (1 + len(template.when)) ** 2)


def _share(*names: str) -> float:
    """In (0, 1), the same for the same names."""
    digest = hashlib.sha256(":".join(names).encode()).digest()
    return (int.from_bytes(digest[:8]) + 1) / (2**64 + 2)


def _done(template: Template, situation: Situation) -> bool:
    return template.check.matcher in _ONCE and bool(find(template.check, situation.evidence))


def _of_case(placeholder: str, case: Case) -> list[str]:
    if placeholder == "{diagnoses}":
        found = list(case.diagnosis_names)
    else:
        category = Category.EXAMINATION if placeholder == "{examinations}" else Category.TEST
        found = [cue for fact in case.of(category) for cue in fact.cues]
    return [term for term in dict.fromkeys(found) if is_phrase(term)]


def _model(model: tuple[Template, ...], situation: Situation, moment: Moment, seed: int, count: int) -> list[Criterion]:
    fitting = [t for t in model if moment in t.points and t.when <= situation.conditions]
    chosen = random.Random(seed).sample(fitting, min(count, len(fitting)))
    return [Criterion(t.template_id, t.text, t.points[moment], t.dimension, ("model",)) for t in chosen]


def _identity(case: Case, moment: Moment, criteria: list[Criterion]) -> str:
    digest = hashlib.sha256(repr(criteria).encode()).hexdigest()[:16]
    return f"{case.case_id}:{moment}:{digest}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
