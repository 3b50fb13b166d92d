"""From candidates to what joins the rubric: filters, clusters of the same intent, one of each, the weightiest few.

Invariant: nothing joins that the rubric has in other words already, that speaks to a judge, or that is no statement
about a doctor; the order of candidates decides between equals, so the same candidates give the same selection.
"""

from __future__ import annotations

from collections.abc import Sequence

from rubric_svc.judge.address import without_address
from rubric_svc.judge.features import Embedder
from rubric_svc.judge.text import words
from rubric_svc.likeness import Likeness, likeness
from rubric_svc.model import Criterion

_FEWEST_WORDS, _MOST_WORDS = 3, 60


def usable(criterion: Criterion) -> bool:
    """A statement of some words, that does not talk to the judge or ask something."""
    text = criterion.text
    spoken = words(text)
    if not _FEWEST_WORDS <= len(spoken) <= _MOST_WORDS or "?" in text or not text[:1].isupper():
        return False
    return without_address(text, doctor=False) == text and len(set(spoken)) * 2 > len(spoken)


async def refine(
    rubric: Sequence[Criterion], candidates: Sequence[Criterion], most: int, embedder: Embedder, limit_seconds: float
) -> tuple[list[Criterion], str]:
    """At most `most` of the candidates, and by what intents were compared."""
    kept = [candidate for candidate in candidates if usable(candidate)]
    if not kept:
        return [], ""
    alike = await likeness([c.text for c in (*rubric, *kept)], embedder, limit_seconds)
    clusters = _clusters(len(rubric), len(kept), alike)
    best = [max((kept[i] for i in cluster), key=lambda c: abs(c.points)) for cluster in clusters]
    chosen = sorted(best, key=lambda c: -abs(c.points))[:most]
    return [candidate for candidate in kept if candidate in chosen], alike.measure


def _clusters(known: int, count: int, alike: Likeness) -> list[list[int]]:
    """Candidates of one intent together; those like anything that the rubric has are left out."""
    clusters: list[list[int]] = []
    for i in range(count):
        if any(alike.alike(known + i, j) for j in range(known)):
            continue
        mine = next((c for c in clusters if any(alike.alike(known + i, known + j) for j in c)), None)
        if mine is None:
            clusters.append([i])
        else:
            mine.append(i)
    return clusters
