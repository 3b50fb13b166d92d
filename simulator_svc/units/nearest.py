"""What a question calls for by its meaning: "can you read the blackboard" is about the vision.

What words found and what is near in meaning are weighed together (ranking.py). Facts' embeddings are made once a case.
Without embeddings, or when they are late, words alone decide; an order and an invitation to tell are left to words.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict

from service_kit.errors import ServiceError
from simulator_svc.cases.model import Case
from simulator_svc.language import LanguageModel
from simulator_svc.units.case_index import case_index
from simulator_svc.units.questions import Asked
from simulator_svc.units.ranking import CaseVectors, category_questions, chosen, features, parts_of, weights

_MOST_PARTS = 6
_MOST_LETTERS = 256
_MOST_CASES = 128


class Nearest:
    def __init__(self, language: LanguageModel | None) -> None:
        self._language = language
        # The cases asked about last.
        self._known: OrderedDict[Case, CaseVectors] = OrderedDict()

    async def weighed(self, case: Case, doctor: str, question: Asked) -> Asked:
        """The question with the facts that it likely calls for. Never raises: what comes too late is not weighed."""
        index = case_index(case)
        history = [known.fact for known in index.history]
        ordered = any(fact not in history for fact in question.facts)
        if self._language is None or not history or not question.question:
            return question
        if ordered or question.invited or question.conclusion:
            return question
        parts = [part[:_MOST_LETTERS] for part in parts_of(doctor)[:_MOST_PARTS]]
        known = self._known.get(case)
        texts = [] if known else [*(f.text for f in history), *(f.words for f in history)]
        texts += [] if known else category_questions().values()
        try:
            vectors = [array("f", vector) for vector in await self._language.embed([*parts, *texts])]
        except ServiceError:
            return question
        if known is None:
            count, rest = len(history), vectors[len(parts) :]
            known = CaseVectors(rest[:count], rest[count : 2 * count], rest[2 * count :])
            self._known[case] = known
            if len(self._known) > _MOST_CASES:
                self._known.popitem(last=False)
        hits = {fact.fact_id for fact in question.facts}
        rows = features(index, parts, vectors[: len(parts)], known, hits)
        return question.with_only(chosen(index, [weights().likelihood(row) for row in rows], question.facts))
