"""The score of a turn that is itself a rubric: its agreement with an expert's rubric for the same patient.

Invariant: a turn that is no rubric scores 0, as one that agrees in nothing does. Where intents cannot be compared by
embeddings the score is void: by words alone the same rubric would have another score, and a group no common baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rubric_svc import score as definition
from rubric_svc.generate.written import UNPARSEABLE, NoRubric, criteria_of
from rubric_svc.judge.features import Embedder
from rubric_svc.judge.model import ungraded
from rubric_svc.likeness import EMBEDDINGS
from rubric_svc.model import Criterion, Outcome, Rubric, Score, Verdict
from rubric_svc.rubric_agreement import rubric_agreement


@dataclass(frozen=True, slots=True)
class Expert:
    """What a turn that is a rubric is held against."""

    rubric: Rubric


async def score_rubric(turn: str, expert: Rubric, embedder: Embedder, limit_seconds: float) -> Score:
    """`value` is RubricAgreement.reward; the verdicts, and the sums of their points, say what of the expert's is there.

    An expert's fault that the turn has is a merit of the turn, so here every criterion's points are positive.
    """
    wanted = [replace(criterion, points=abs(criterion.points)) for criterion in expert.criteria]
    try:
        criteria = criteria_of(turn)
    except NoRubric:
        return definition.score([_missing(one, UNPARSEABLE) for one in wanted], void_share=0.0)
    found = await rubric_agreement(Rubric("written", criteria), expert, embedder, limit_seconds)
    if found.measure != EMBEDDINGS[0]:
        return definition.score([ungraded(one, "NO_EMBEDDINGS") for one in wanted], void_share=0.0)
    verdicts = [
        Verdict(one, Outcome.MET, 1.0, f'"{match.text}"') if match else _missing(one, "nothing of this intent")
        for one, match in zip(wanted, found.matches, strict=True)
    ]
    return replace(definition.score(verdicts, void_share=0.0), value=found.reward)


def _missing(criterion: Criterion, why: str) -> Verdict:
    return Verdict(criterion, Outcome.NOT_MET, 0.0, why)
