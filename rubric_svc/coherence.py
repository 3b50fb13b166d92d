"""How natural the doctor's words are to a model that is never trained: e to the mean log-probability a token.

    coherence = exp( sum_i logprob(turn_i) / sum_i tokens(turn_i) )

Invariant: measured beside the score, never part of it. Where any turn could not be measured there is no value: a mean
over the turns that happened to work would not be comparable.
"""

from __future__ import annotations

import logging
import math

from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.model import Choice, Chooser, Failed, Question, shared_prefix
from rubric_svc.model import Dialogue, Scope
from service_kit.errors import ServiceError

log = logging.getLogger(__name__)
# What the contract lets a choice be.
_LONGEST = 8192


async def coherence(dialogue: Dialogue, scope: Scope, chooser: Chooser, limit_seconds: float) -> float | None:
    turns = [turn for turn in Evidence.of(dialogue, scope).judged if dialogue[turn.index].text.strip()]
    questions = [
        Question(dialogue[: turn.index], (dialogue[turn.index].text[:_LONGEST],), shared_prefix(dialogue))
        for turn in turns
        if turn.index > 0
    ]
    if not questions:
        return None
    try:
        answers = await chooser.choose(questions, limit_seconds)
    except ServiceError as error:
        log.warning("coherence not measured", extra={"reason": error.reason})
        return None
    scores: list[Choice] = []
    for answer in answers:
        if isinstance(answer, Failed) or len(answer) != 1 or answer[0].token_count == 0:
            log.warning("coherence not measured", extra={"reason": getattr(answer, "reason", "UNPARSEABLE")})
            return None
        scores.append(answer[0])
    mean = sum(score.logprob for score in scores) / sum(score.token_count for score in scores)
    return math.exp(mean) if math.isfinite(mean) else None
