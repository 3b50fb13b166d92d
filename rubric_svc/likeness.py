"""How alike criteria are in what they ask for: cosines of sentence embeddings, or shared words where there are none.

Invariant: the answer says which of the two it is, since their scales differ: each has its own bound for "the same".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubric_svc.judge.features import Embedder
from rubric_svc.judge.text import words
from service_kit.errors import ServiceError

log = logging.getLogger(__name__)
_SMALL_WORDS = frozenset(
    words("a an and are asks at by doctor does for has how in is it of on or patient that the to what whether")
)
_SHORTEST_STEM = 5


@dataclass(frozen=True, slots=True)
class Likeness:
    """[texts, texts] in [-1, 1]; `same` is the value from which two have one intent."""

    values: NDArray[np.float32]
    measure: str
    same: float

    def alike(self, one: int, other: int) -> bool:
        return bool(self.values[one, other] >= self.same)


# Of MiniLM, and of the share of words in common: paraphrases of criteria lie above, neighbours in a topic below.
EMBEDDINGS, WORDS = ("embeddings", 0.72), ("words", 0.6)


async def likeness(texts: Sequence[str], embedder: Embedder, limit_seconds: float) -> Likeness:
    try:
        vectors = np.asarray(await embedder.embed(texts, limit_seconds), dtype=np.float32)
    except ServiceError as error:
        log.warning("criteria are compared by their words", extra={"reason": error.reason})
        return by_words(texts)
    return Likeness(vectors @ vectors.T, *EMBEDDINGS)


def by_words(texts: Sequence[str]) -> Likeness:
    """Jaccard's index of the words' beginnings, small words left out."""
    stems = [frozenset(word[:_SHORTEST_STEM] for word in words(text) if word not in _SMALL_WORDS) for text in texts]
    values = [[len(a & b) / len(a | b) if a | b else 1.0 for b in stems] for a in stems]
    return Likeness(np.asarray(values, dtype=np.float32), *WORDS)
