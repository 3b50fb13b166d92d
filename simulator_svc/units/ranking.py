"""How likely does a question call for a fact? A logistic model of what words found and what is near in meaning.

The features are the same when the weights are learnt (tests/benchmarks/simulator_ranking.py) and when the patient
answers, in plain arithmetic. Only facts of the history are ranked, so that no finding is told without an order.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import mul
from pathlib import Path

from simulator_svc.cases.model import Category, Fact
from simulator_svc.units.case_index import CaseIndex, IndexedFact
from simulator_svc.units.cues import question_cues
from simulator_svc.units.topics import HISTORY, one_spelling, topics_of
from simulator_svc.words import split_sentences, words

Vector = Sequence[float]

_DATA = Path(__file__).parent / "data"
WEIGHTS = _DATA / "ranking.json"
_LEAST_LETTERS = 3
_ENDINGS = ("ing", "ed", "ly", "es", "e")


@dataclass(frozen=True, slots=True)
class Weights:
    bias: float
    weights: tuple[float, ...]
    # A fact that words found stays from here on, one that they did not find is told from there on.
    keep: float
    tell: float

    def likelihood(self, features: Sequence[float]) -> float:
        return 1 / (1 + math.exp(-self.bias - sum(w * f for w, f in zip(self.weights, features, strict=True))))


@dataclass(frozen=True, slots=True)
class CaseVectors:
    """Of unit length; one for each fact of the history, and one for each category's question."""

    texts: Sequence[Vector]
    words: Sequence[Vector]
    categories: Sequence[Vector]


@cache
def weights() -> Weights:
    data = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return Weights(data["bias"], tuple(data["weights"]), data["keep"], data["tell"])


@cache
def category_questions() -> dict[Category, str]:
    data = tomllib.loads((_DATA / "ranking.toml").read_text(encoding="utf-8"))
    return {Category(name): text for name, text in data["categories"].items()}


def parts_of(doctor: str) -> list[str]:
    """The sentences of a turn, and the clauses of those that have several: each may ask for something else."""
    found: list[str] = []
    for sentence in split_sentences(doctor):
        clauses = [clause.strip() for clause in question_cues().clauses.split(sentence) if len(clause.split()) > 1]
        found += [sentence, *(clauses if len(clauses) > 1 else [])]
    return list(dict.fromkeys(found))


def features(
    index: CaseIndex, parts: Sequence[str], vectors: Sequence[Vector], known: CaseVectors, hits: Collection[str]
) -> list[list[float]]:
    """One row for each fact of the history. `vectors`: one a part. `hits`: the ids of the facts that words found."""
    spoken = [" ".join(words(part)) for part in parts]
    asked = [_stems(part) for part in spoken]
    topics = [topics_of(HISTORY).of(part) for part in spoken]
    told = [_fact_stems(fact) for fact in index.history]
    texts = [[_cosine(part, fact) for fact in known.texts] for part in vectors]
    lay = [[_cosine(part, fact) for fact in known.words] for part in vectors]
    near = [list(map(max, one, other)) for one, other in zip(texts, lay, strict=True)]
    categories = [[_cosine(part, each) for each in known.categories] for part in vectors]
    order = list(category_questions())
    rows: list[list[float]] = []
    for place, fact in enumerate(index.history):
        part = max(range(len(parts)), key=lambda each: near[each][place])
        likeness = near[part][place]
        rivals = [value for other, value in enumerate(near[part]) if other != place] or [0.0]
        shared = asked[part] & told[place]
        alone = sum(1 / sum(word in other for other in told) for word in shared)
        category = fact.fact.category
        like = categories[part][order.index(category)] if category in order else 0.0
        lead = like - max(v for c, v in zip(order, categories[part], strict=True) if c is not category)
        cue = float(any(fact.cues.search(each) for each in spoken))
        pattern = question_cues().categories.get(category)
        named = float(pattern is not None and any(pattern.search(each) for each in spoken))
        same = max(len(each & fact.topics) / max(1, len(each)) for each in topics)
        hit = float(fact.fact.fact_id in hits)
        row = [
            likeness,
            max((one[place] + other[place]) / 2 for one, other in zip(texts, lay, strict=True)),
            likeness - max(rivals),
            1 / (1 + sum(value > likeness for value in rivals)),
            max(near[part]),
            alone,
            len(shared) / max(1, len(asked[part])),
            like,
            lead,
            float(len(parts)),
        ]
        about = [cue, named, same, likeness, likeness - max(rivals), lead]
        found = [1.0, 1 / max(1, len(hits)), *about]
        rows.append(
            [
                *row,
                cue,
                named,
                same,
                *(hit * value for value in found),
                float(bool(hits) and not hit),
                *((0.0 if hits else value) for value in (likeness, likeness - max(rivals))),
                *(float(category is each) for each in order),
            ]
        )
    return rows


def _cosine(one: Vector, other: Vector) -> float:
    """Of vectors of unit length; what points away is not near."""
    product: float = sum(map(mul, one, other))
    return max(0.0, product)


@lru_cache(maxsize=8192)
def _fact_stems(fact: IndexedFact) -> frozenset[str]:
    return _stems(" . ".join([fact.spoken, *fact.fact.cues]))


def _stems(text: str) -> frozenset[str]:
    common = question_cues().common
    return frozenset(_stem(word) for word in words(text) if len(word) >= _LEAST_LETTERS and word not in common)


def _stem(word: str) -> str:
    word = one_spelling(word)
    ending = next((e for e in _ENDINGS if word.endswith(e) and len(word) - len(e) >= _LEAST_LETTERS), "")
    return word.removesuffix(ending)


def chosen(index: CaseIndex, likelihoods: Sequence[float], hits: Sequence[Fact]) -> list[Fact]:
    """What words found and is likely enough, in their order, then what they missed, the likeliest first."""
    limits = weights()
    likely = {fact.fact.fact_id: value for fact, value in zip(index.history, likelihoods, strict=True)}
    kept = [fact for fact in hits if likely.get(fact.fact_id, 1.0) >= limits.keep]
    found = [fact.fact for fact in index.history if likely[fact.fact.fact_id] >= limits.tell and fact.fact not in hits]
    return [*kept, *sorted(found, key=lambda fact: -likely[fact.fact_id])]
