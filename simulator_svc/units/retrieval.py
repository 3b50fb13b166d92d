"""Which facts of the history does a question call for?

A question of the present illness (when, where, how bad) means the main complaint, unless it names something else; then
it means that, and nothing where the patient does not have it. Everything else is a list of things asked for
(listing.py), if only of one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from simulator_svc.cases.model import Category, Fact
from simulator_svc.units.case_index import PRESENT, CaseIndex, IndexedFact
from simulator_svc.units.cues import question_cues
from simulator_svc.units.listing import CONTEXTS, Listing, corrected, is_home
from simulator_svc.units.present_illness import PresentIllness
from simulator_svc.units.topics import HISTORY, topics_of
from simulator_svc.words import words

# "When you cough, does anything come up?"
_CIRCUMSTANCE = re.compile(r"\s*(?:and |so )?(?:when|if|after|while) (?:you|it|the)\b")


@dataclass(frozen=True, slots=True)
class Called:
    facts: tuple[Fact, ...]
    # The question was understood, though the case may have nothing to answer it with.
    understood: bool


def asked_facts(index: CaseIndex, sentence: str, last: Collection[str]) -> Called:
    """What a question calls for of the history. `last`: the ids of the facts of the patient's turn before."""
    found: dict[str, Fact] = {}
    understood = False
    clauses = question_cues().clauses.split(sentence.lower().replace("\u2019", "'"))
    if len(clauses) > 1 and _CIRCUMSTANCE.match(clauses[0]):
        clauses = clauses[1:]
    themes = topics_of(HISTORY).of(" ".join(words(sentence.partition(":")[0]))) if ":" in sentence else frozenset()
    named: frozenset[str] = frozenset()
    for place, clause in enumerate(clauses):
        question = _Clause(index, clause, last, themes if place else frozenset(), named)
        named = topics_of(HISTORY).of(" ".join(words(clause)))
        facts = question.called_for()
        found.update((each.fact.fact_id, each.fact) for each in facts)
        understood = understood or question.understood
    return Called(tuple(found.values()), understood)


class _Clause:
    """One question. It is tried as one about the present illness, then as a list of things asked for."""

    def __init__(
        self, index: CaseIndex, clause: str, last: Collection[str], theme: frozenset[str], named: frozenset[str]
    ) -> None:
        """`theme`: what stands before a colon, "your periods: how long, how heavy"; `named`: in the clause before."""
        self._index = index
        self._cues = question_cues()
        self._clause = clause
        self._last = last
        self._theme = theme
        self._named = named
        self._spoken = corrected(index, words(clause))
        self.understood = False

    def called_for(self) -> list[IndexedFact]:
        matches = {c: match for c, pattern in self._cues.categories.items() if (match := pattern.search(self._spoken))}
        recurs = self._cues.recurrence.search(self._spoken)
        spans = [match.span() for match in (*matches.values(), *([recurs] if recurs else []))]
        if precise := self._precise(spans):
            self.understood = True
            return precise
        categories = list(matches)
        if Category.TIMING in matches and matches[Category.TIMING].group().startswith("how long"):
            categories = [category for category in categories if category is not Category.ONSET]
        contexts = [context for context in CONTEXTS if context in categories and not is_home(context, self._spoken)]
        # "A similar problem in the family" is none of the patient's own past.
        if recurs and Category.FAMILY not in contexts:
            self.understood = True
            return PresentIllness(self._index, self._spoken, self._last, self._theme).recurrent()
        present = [category for category in PRESENT if category in categories]
        if present and not set(contexts) & {Category.FAMILY, Category.ALLERGY}:
            self.understood = True
            return PresentIllness(self._index, self._spoken, self._last, self._theme).called_for(present)
        listing = Listing(self._index, self._clause, self._spoken, self._named)
        facts = listing.called_for()
        self.understood = listing.understood
        return facts

    def _precise(self, spans: Sequence[tuple[int, int]]) -> list[IndexedFact]:
        """A fact's own cue of several words goes before a category's: "how long are they stiff"."""
        return [
            each
            for each in self._index.history
            if each.fact.category is not Category.CHIEF_COMPLAINT
            for match in each.cues.finditer(self._spoken)
            if " " in match.group() and any(match.start() < end and begin < match.end() for begin, end in spans)
        ][:1]
