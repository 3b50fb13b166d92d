"""What the trained judge sees of a criterion and a dialogue: numbers out of what the frozen deployment serves.

    x = [ logit P(Yes), sign, cos(c, t), max cos(c, s) | likeness to the exemplars | the reply's surface ]

c, t and s are sentence embeddings of the criterion, of all that is judged, and of each of its sentences; P(Yes) is the
judge model's; the exemplars are replies with a label (judge/exemplars.py). Invariant: one row a criterion, float32, of
the layout that LAYOUT names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rubric_svc.judge.evidence import Evidence
from rubric_svc.judge.text import sentences, words
from rubric_svc.model import Criterion

LAYOUT = "exemplars-and-surface/2"
Vector = NDArray[np.float32]
_MOST_SENTENCES = 48
_LONGEST = 4000
_LONG_WORD = 8
_SMALL_WORDS = frozenset(
    words(
        "a an and are as at be but by do does for have he her his how i if in is it not of on or she that the this to "
        "we what with you your"
    )
)
# How a reply speaks, each as its share of the words: to the patient, of himself, denials, reasons, doubts, courtesy,
# order.
_MANNERS = tuple(
    frozenset(words(line))
    for line in (
        "you your",
        "i i'm we we'll i'd i'll",
        "not no never don't can't",
        "because so since that's therefore means",
        "or perhaps could may might probably likely",
        "please sorry thank understand worried glad good",
        "if first then after until before",
    )
)


class Embedder(Protocol):
    async def embed(self, texts: Sequence[str], limit_seconds: float) -> list[list[float]]:
        """Of unit length, in order. Raises ServiceError."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A criterion beside a reply. `sentences` [n, d] and `whole` [d] are the reply's; `plain` are its own columns."""

    criterion_id: str
    plain: Vector
    sentences: NDArray[np.float32]
    whole: Vector


async def see(
    criteria: Sequence[Criterion],
    evidence: Evidence,
    probabilities: Sequence[float],
    embedder: Embedder,
    limit_seconds: float,
) -> list[Seen]:
    """One a criterion, in order. Raises ServiceError."""
    judged = "\n".join(turn.text for turn in evidence.judged)
    spoken = [sentence.text for sentence in sentences(judged)][-_MOST_SENTENCES:] or [""]
    last = evidence.judged[-1].text if evidence.judged else ""
    before = evidence.patient_before(evidence.judged[-1]) if evidence.judged else ""
    texts = [*(one.text for one in criteria), " ".join(judged.split())[-_LONGEST:], last, before, *spoken]
    vectors = np.asarray(await embedder.embed(texts, limit_seconds), dtype=np.float32)
    n = len(criteria)
    whole, turn, patient, own = vectors[n], vectors[n + 1], vectors[n + 2], vectors[n + 3 :]
    surface = [*_surface(judged, len(spoken), before), float(turn @ patient), _coherence(own)]
    return [
        Seen(
            criterion.criterion_id,
            np.asarray([*_asked(criterion, vectors[index], whole, own, yes), *surface], dtype=np.float32),
            own,
            whole,
        )
        for index, (criterion, yes) in enumerate(zip(criteria, probabilities, strict=True))
    ]


def _asked(criterion: Criterion, c: Vector, whole: Vector, own: NDArray[np.float32], yes: float) -> list[float]:
    inside = min(max(yes, 1e-4), 1 - 1e-4)
    sign = 1.0 if criterion.points > 0 else -1.0
    return [math.log(inside / (1 - inside)), sign, float(c @ whole), float((own @ c).max())]


def _coherence(own: NDArray[np.float32]) -> float:
    """The mean likeness of each sentence to the next."""
    return float(np.sum(own[:-1] * own[1:], axis=1).mean()) if len(own) > 1 else 0.5


def _surface(judged: str, spoken: int, before: str) -> list[float]:
    said = words(judged)
    count = max(1, len(said))
    patients = set(words(before)) - _SMALL_WORDS
    return [
        math.log1p(len(said)),
        math.log1p(spoken),
        judged.count("?") / spoken,
        sum(len(word) > _LONG_WORD for word in said) / count,
        judged.count(",") / count,
        judged.count("!") / count,
        len(re.findall(r"\d", judged)) / count,
        len(set(said)) / count,
        len(patients & set(said)) / max(1, len(patients)),
        *(sum(word in manner for word in said) / count for manner in _MANNERS),
    ]
