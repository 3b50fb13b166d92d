"""Which facts of the history does a question call for?

A question of the present illness (when, where, how bad) means the main complaint, unless it names something else; then
it means that, and nothing where the patient does not have it. Everything else is found by what it speaks of: the cues
of a fact, its topics, the category as a whole, and last the words that one fact alone has.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from simulator_svc.cases.model import Category, Fact
from simulator_svc.units.case_index import PRESENT, CaseIndex, IndexedFact
from simulator_svc.units.claims import words
from simulator_svc.units.cues import question_cues, without
from simulator_svc.units.present_illness import PresentIllness
from simulator_svc.units.topics import HISTORY, PAIN, Kind, one_spelling, topics_of

# A question in one of these contexts is none about the rest of the history: "any family history of asthma".
_CONTEXTS = (Category.FAMILY, Category.ALLERGY, Category.MEDICATION)
# What a list may name within a context: "allergies to medicines or food".
_WITHIN: dict[Category, frozenset[Kind]] = {
    Category.FAMILY: frozenset({Kind.SYMPTOM, Kind.CONDITION, Kind.PART}),
    Category.ALLERGY: frozenset({Kind.MEDICINE, Kind.HABIT}),
    Category.MEDICATION: frozenset({Kind.MEDICINE}),
}
_YOU = re.compile(r"\b(?:you|your|you're|you've)\b")
# "When you cough, does anything come up?"
_CIRCUMSTANCE = re.compile(r"\s*(?:and |so )?(?:when|if|after|while) (?:you|it|the)\b")
# Where the next thing of a list begins.
LIST = re.compile(r",|;|/|\band\b|\bor\b|\bnor\b")


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
    for clause in clauses:
        question = _Clause(index, clause, last)
        facts = question.called_for()
        found.update((each.fact.fact_id, each.fact) for each in facts)
        understood = understood or question.understood
    return Called(tuple(found.values()), understood)


class _Clause:
    """One question. It is tried as one about the present illness, then as a list of things asked for."""

    def __init__(self, index: CaseIndex, clause: str, last: Collection[str]) -> None:
        self._index = index
        self._cues = question_cues()
        self._table = topics_of(HISTORY)
        self._clause = clause
        self._last = last
        self._spoken = self._corrected(words(clause))
        # "You said that it is green, is that right?" A premise may be false: only a fact that says it all answers.
        self._confirms = bool(self._cues.confirm.search(self._spoken))
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
        contexts = [context for context in _CONTEXTS if context in categories and not self._is_home(context)]
        # "A similar problem in the family" is none of the patient's own past.
        if recurs and Category.FAMILY not in contexts:
            self.understood = True
            return PresentIllness(self._index, self._spoken, self._last).recurrent()
        present = [category for category in PRESENT if category in categories]
        if present and not set(contexts) & {Category.FAMILY, Category.ALLERGY}:
            self.understood = True
            return PresentIllness(self._index, self._spoken, self._last).called_for(present)
        return self._listed()

    def _precise(self, spans: Sequence[tuple[int, int]]) -> list[IndexedFact]:
        """A fact's own cue of several words goes before a category's: "how long are they stiff"."""
        return [
            each
            for each in self._index.history
            if each.fact.category is not Category.CHIEF_COMPLAINT
            for match in each.cues.finditer(self._spoken)
            if " " in match.group() and any(match.start() < end and begin < match.end() for begin, end in spans)
        ][:1]

    def _listed(self) -> list[IndexedFact]:
        found: dict[str, IndexedFact] = {}
        for each in self._index.history:
            joined = [match.group() for match in each.cues.finditer(self._spoken) if LIST.search(match.group())]
            found.update((each.fact.fact_id, each) for _ in joined)  # "a cold or flu" is one thing
        # "Any heart trouble or sudden deaths in the family?"
        family = self._cues.categories[Category.FAMILY].search(self._spoken) and not self._is_home(Category.FAMILY)
        context = Category.FAMILY if family else None
        before: frozenset[str] = frozenset()
        for item in LIST.split(self._clause):
            spoken = self._corrected(words(item))
            if not spoken:
                continue
            bare = " ".join(self._cues.asides.sub(" ", spoken).split())
            wanted = self._units(bare) or self._units(spoken)
            topics = frozenset().union(*wanted)
            if topics and topics - {PAIN} == self._named_parts(topics) and before:
                wanted = [topics | before]  # "weakness in your arms or your legs"
            topics = frozenset().union(*wanted)
            before = topics - self._named_parts(topics)
            categories = [c for c, pattern in self._cues.categories.items() if pattern.search(spoken)]
            own = next((c for c in _CONTEXTS if c in categories and not self._is_home(c)), None)
            if context and not own and all(self._table.kinds[topic] in _WITHIN[context] for topic in topics):
                own = context
            context = own
            if context:
                facts = self._in_context(context, spoken, topics)
                if context not in categories and facts == self._index.of(context):
                    facts = []  # a further item of the list that nothing answers
            else:
                facts = self._item(bare, spoken, wanted, categories)
            self.understood = self.understood or bool(context or topics or facts or categories)
            found.update((each.fact.fact_id, each) for each in facts)
        return list(found.values())

    def _in_context(self, context: Category, spoken: str, topics: frozenset[str]) -> list[IndexedFact]:
        facts = self._index.of(context)
        if context is Category.MEDICATION:
            about = [each for each in facts if each.topics & (topics - {"medicine"})]
            facts = about or facts  # "your thyroid tablets"
        topics = frozenset(t for t in topics if self._table.kinds[t] in _WITHIN[context] and t != "medicine")
        named = self._index.named(spoken, facts)
        if context is Category.FAMILY and (relatives := _relatives(self._spoken)):
            theirs = [each for each in facts if _relatives(each.spoken) & relatives]
            facts = theirs if theirs or len(relatives) == 1 else facts
            named = [each for each in named if each in facts]
        if context is Category.FAMILY and not named and not self._cues.illness.search(self._spoken):
            named = self._index.named(spoken, self._index.history)  # "any brothers or sisters?"
        return named or (self._index.speaking_of(topics, facts) if topics else []) or facts

    def _item(
        self, bare: str, spoken: str, wanted: Sequence[frozenset[str]], categories: Sequence[Category]
    ) -> list[IndexedFact]:
        # "Do you have asthma?" is none about the mother's.
        personal = bool(_YOU.search(self._spoken))
        others = [each for each in self._index.history if not personal or each.fact.category is not Category.FAMILY]
        named = self._index.named(bare, others) or self._index.named(spoken, others)
        # A fact that speaks of less than the question is not meant: "chest pain" is no "pain" somewhere else.
        facts = [each for each in named if self._is_meant(each, spoken, wanted)]
        # Nor is a fact whose cue only says which category is asked for: "what illnesses have you had".
        beyond = " ".join(without(spoken, [self._cues.categories[category] for category in categories]).split())
        facts = [each for each in facts if each.fact.category in categories or each.cues.search(beyond)]
        if not facts:
            facts = self._speaking_of(wanted)
        # Cues are many and words are few: where a fact says it, another one's cue does not count.
        if said := [each for each in facts if any(topics <= each.says for topics in wanted)]:
            facts = [each for each in facts if each in said or not self._by_topic(each, spoken)]
        past = [each for each in facts if each.fact.category is Category.PAST_HISTORY]
        if past and wanted and self._cues.past.search(self._spoken):
            facts = past
        if self._cues.categories[Category.SOCIAL].search(self._spoken):
            facts = [each for each in facts if each.fact.category is Category.SOCIAL]
        covered = {each.fact.category for each in facts}
        for category in categories:
            if category not in covered and category not in (*PRESENT, *_CONTEXTS):
                facts = [*facts, *self._index.of(category)]
        if not facts and all(topics == self._named_parts(topics) for topics in wanted):
            facts = self._index.named(spoken, self._index.of(Category.FAMILY))
        if not facts and not wanted and not categories and not self._confirms:
            tokens = {one_spelling(word) for word in spoken.split()}
            facts = [each for each in others if each.own & tokens]
        return facts

    def _speaking_of(self, wanted: Sequence[frozenset[str]]) -> list[IndexedFact]:
        """Of all that is wanted, or of each by itself: "do you wake up short of breath"."""
        together = self._index.speaking_of(frozenset().union(*wanted)) if wanted else []
        if self._confirms:
            return together
        return together or [each for topics in wanted for each in self._index.speaking_of(topics)]

    def _is_meant(self, each: IndexedFact, spoken: str, wanted: Sequence[frozenset[str]]) -> bool:
        """Where its cue is a word that says less than the question, the fact has to speak of the rest as well."""
        matches = [match.group() for match in each.cues.finditer(spoken)]
        if wanted and all(match in self._cues.common for match in matches):
            return any(self._index.speaking_of(topics, [each]) for topics in wanted)
        cue = self._table.of(" . ".join(matches))
        return (
            not cue
            or any(topics <= cue or self._index.speaking_of(topics, [each]) for topics in wanted)
            or any(
                topics - self._named_parts(topics) <= each.topics and PAIN not in topics
                for topics in wanted
                if topics - self._named_parts(topics)
            )
        )

    def _by_topic(self, each: IndexedFact, spoken: str) -> bool:
        matches = [match.group() for match in each.cues.finditer(spoken)]
        return all(" " not in match for match in matches) and any(map(self._table.of, matches))

    def _units(self, spoken: str) -> list[frozenset[str]]:
        """What is asked for, one by one, each with the parts of the body that are named beside it."""
        found = [topics for _, topics in self._table.spans(spoken)]
        parts = self._named_parts(frozenset().union(*found))
        units = [topics | parts for topics in found if topics - self._named_parts(topics)]
        return units or ([parts] if parts else [])

    def _named_parts(self, topics: frozenset[str]) -> frozenset[str]:
        return frozenset(topic for topic in topics if self._table.kinds[topic] is Kind.PART)

    def _is_home(self, context: Category) -> bool:
        """ "Do you live with your family?" """
        return context is Category.FAMILY and bool(self._table.of(self._spoken) & {"home", "support"})

    def _corrected(self, tokens: Iterable[str]) -> str:
        right = self._cues.vocabulary | self._index.vocabulary
        return " ".join(token if token in right else self._table.corrected(token) for token in tokens)


def _relatives(spoken: str) -> frozenset[str]:
    """Whom the words name: a mother and no parents."""
    known = question_cues().relatives
    return frozenset(known[word] for word in spoken.split() if word in known)
