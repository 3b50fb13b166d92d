"""The facts nearest in meaning to questions that no word answers: "can you read the blackboard" is about the vision.

It speaks only where words fail, and only for a fact that is both near and clearly nearer than the next one: a wrong
fact given away costs more than an "I don't know". Without embeddings, or when they are late, words alone decide.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from operator import mul

from service_kit.errors import ServiceError
from simulator_svc.cases.model import Case, Fact
from simulator_svc.language import LanguageModel
from simulator_svc.units.case_index import case_index

# Set on questions about the library's cases to train on, with all-MiniLM-L6-v2: no wrong fact of 50, 17 right ones.
# Asked for all of 399 others, it would name a fact for 226, of which 88 % are called for.
_LEAST_LIKENESS = 0.38
_LEAST_LEAD = 0.06
_MOST_QUESTIONS = 4
_MOST_LETTERS = 256
_MOST_CASES = 128

Vector = Sequence[float]


class Nearest:
    def __init__(self, language: LanguageModel | None) -> None:
        self._language = language
        # Each fact's two wordings, clinical and spoken. The cases asked about last.
        self._facts: OrderedDict[Case, list[tuple[Vector, Vector]]] = OrderedDict()

    async def facts(self, case: Case, questions: Sequence[str]) -> list[Fact]:
        """At most one fact a question. Never raises: what cannot be computed in time is not found."""
        questions = [question[:_MOST_LETTERS] for question in questions[:_MOST_QUESTIONS]]
        history = [known.fact for known in case_index(case).history]
        if self._language is None or not questions or not history:
            return []
        known = self._facts.get(case)
        wordings = [] if known else [text for fact in history for text in (fact.text, fact.words)]
        try:
            vectors = [array("f", vector) for vector in await self._language.embed([*questions, *wordings])]
        except ServiceError:
            return []
        if known is None:
            rest = vectors[len(questions) :]
            known = list(zip(rest[::2], rest[1::2], strict=True))
            self._facts[case] = known
            if len(self._facts) > _MOST_CASES:
                self._facts.popitem(last=False)
        return [fact for vector in vectors[: len(questions)] if (fact := _nearest(vector, history, known))]


def _nearest(question: Vector, facts: Sequence[Fact], vectors: Sequence[tuple[Vector, Vector]]) -> Fact | None:
    likeness = [max(_cosine(question, text), _cosine(question, spoken)) for text, spoken in vectors]
    first, *others = sorted(range(len(facts)), key=lambda place: -likeness[place])
    lead = likeness[first] - (likeness[others[0]] if others else 0.0)
    return facts[first] if likeness[first] >= _LEAST_LIKENESS and lead >= _LEAST_LEAD else None


def _cosine(one: Vector, other: Vector) -> float:
    """Of vectors of unit length."""
    product: float = sum(map(mul, one, other))
    return product
