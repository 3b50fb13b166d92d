"""What the trained judge sees of a criterion and a dialogue: numbers out of what the frozen deployment serves.

    x = [ c*t, c*s, |c-s|, c,  cos(c,t), cos(c,s), logit P(Yes), sign, overlap, asks, log sentences, log words ]

c, t and s are sentence embeddings of the criterion, of all that is judged, and of its sentence nearest to the
criterion; P(Yes) is the judge model's. Invariant: one row a criterion, float32, of the layout that LAYOUT names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.text import questions, sentences, words
from rubric_svc.model import Criterion

LAYOUT = "embeddings-and-probability/1"
Vector = NDArray[np.float32]
_MOST_SENTENCES = 48
_LONGEST = 4000
_SMALL_WORDS = frozenset(
    words("a an and are at by do does for he her his how in is it of on or she that the this to what")
)


class Embedder(Protocol):
    async def embed(self, texts: Sequence[str], limit_seconds: float) -> list[list[float]]:
        """Of unit length, in order. Raises ServiceError."""


async def features(
    criteria: Sequence[Criterion],
    evidence: Evidence,
    probabilities: Sequence[float],
    embedder: Embedder,
    limit_seconds: float,
) -> NDArray[np.float32]:
    """[criteria, columns]. Raises ServiceError."""
    judged = "\n".join(turn.text for turn in evidence.judged)
    spoken = [sentence.text for sentence in sentences(judged)][-_MOST_SENTENCES:] or [""]
    texts = [*(criterion.text for criterion in criteria), " ".join(judged.split())[-_LONGEST:], *spoken]
    vectors = np.asarray(await embedder.embed(texts, limit_seconds), dtype=np.float32)
    n = len(criteria)
    rows = [
        _row(criterion, vectors[index], vectors[n], vectors[n + 1 :], judged, probabilities[index])
        for index, criterion in enumerate(criteria)
    ]
    return np.stack(rows)


def _row(criterion: Criterion, c: Vector, t: Vector, spoken: NDArray[np.float32], judged: str, yes: float) -> Vector:
    s = spoken[int(np.argmax(spoken @ c))]
    asked = set(words(criterion.text)) - _SMALL_WORDS
    said = words(judged)
    inside = min(max(yes, 1e-4), 1 - 1e-4)
    scalars = (
        float(c @ t),
        float(c @ s),
        math.log(inside / (1 - inside)),
        1.0 if criterion.points > 0 else -1.0,
        len(asked & set(said)) / max(1, len(asked)),
        float(bool(questions(judged))),
        math.log1p(len(spoken)),
        math.log1p(len(said)),
    )
    return np.concatenate([c * t, c * s, np.abs(c - s), c, np.asarray(scalars, dtype=np.float32)])
