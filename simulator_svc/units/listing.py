"""Which facts answer a list of things asked for: "any fever, a cough, or asthma in the family"?

Item by item, by what each speaks of: the cues of a fact, its topics, the category as a whole, and last the words that
one fact alone has. A context (the family, allergies, medicines) holds on until the list leaves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from simulator_svc.cases.model import Category
from simulator_svc.units.case_index import PRESENT, CaseIndex, IndexedFact
from simulator_svc.units.cues import question_cues, without
from simulator_svc.units.topics import HISTORY, PAIN, Kind, one_spelling, topics_of
from simulator_svc.words import words

# A question in one of these contexts is none about the rest of the history: "any family history of asthma".
CONTEXTS = (Category.FAMILY, Category.ALLERGY, Category.MEDICATION)
# What a list may name within a context: "allergies to medicines or food".
_WITHIN: dict[Category, frozenset[Kind]] = {
    Category.FAMILY: frozenset({Kind.SYMPTOM, Kind.CONDITION, Kind.PART}),
    Category.ALLERGY: frozenset({Kind.MEDICINE, Kind.HABIT}),
    Category.MEDICATION: frozenset({Kind.MEDICINE}),
}
_YOU = re.compile(r"\b(?:you|your|you're|you've)\b")
# What stands beside these is no thing of its own.
_WHOLE = frozenset({"vaccine"})
_JOINED = "_"
_IT = re.compile(r"\b(?:it|they)\b")
# What comes now is of what was named before.
_LIKE = re.compile(r"(?:like|such as|say)\b")
# Where the next thing of a list begins.
LIST = re.compile(r",|;|/|\band\b|\bor\b|\bnor\b")


class Listing:
    """The things that one question names."""

    def __init__(self, index: CaseIndex, clause: str, spoken: str, theme: frozenset[str]) -> None:
        """`spoken`: the clause as bare words, slips of the keyboard corrected. `theme`: what was named before it."""
        self._index = index
        self._cues = question_cues()
        self._table = topics_of(HISTORY)
        self._clause = clause
        self._spoken = spoken
        # "You said that it is green, is that right?" A premise may be false: only a fact that says it all answers.
        self._confirms = bool(self._cues.confirm.search(spoken))
        self._theme = self._named_parts(theme)
        self.understood = False

    def called_for(self) -> list[IndexedFact]:
        found: dict[str, IndexedFact] = {}
        for each in self._index.history:
            joined = [match.group() for match in each.cues.finditer(self._spoken) if LIST.search(match.group())]
            found.update((each.fact.fact_id, each) for _ in joined)  # "a cold or flu" is one thing
        # "Any heart trouble or sudden deaths in the family?"
        family = self._cues.categories[Category.FAMILY].search(self._spoken) and not is_home(
            Category.FAMILY, self._spoken
        )
        context = Category.FAMILY if family else None
        before: frozenset[str] = frozenset()
        for item in self._items():
            spoken = corrected(self._index, words(item))
            if not spoken:
                continue
            bare = " ".join(self._cues.asides.sub(" ", spoken).split())
            wanted = self._units(bare) or self._units(spoken)
            topics = frozenset().union(*wanted)
            parts = self._named_parts(topics)
            # "Weakness in your arms or your legs", "your waterworks, like burning"; not "a rash or eye problems".
            goes_on = bool(parts) and not self._cues.illness.search(spoken)
            if before and topics and topics - {PAIN} == parts and (goes_on or _LIKE.match(spoken)):
                wanted = [topics | before]
            elif topics == {PAIN} and _IT.search(spoken):
                wanted = [topics | self._theme]  # "are your legs swollen, and do they hurt?"
            topics = frozenset().union(*wanted)
            before = topics - self._named_parts(topics)
            categories = [c for c, pattern in self._cues.categories.items() if pattern.search(spoken)]
            own = next((c for c in CONTEXTS if c in categories and not is_home(c, self._spoken)), None)
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

    def _items(self) -> list[str]:
        """The clause cut where the next thing begins; "eat and drink" is one thing, and all that a vaccine is for."""
        if self._table.of(self._spoken) & _WHOLE:
            return [self._clause]
        kept = self._clause
        for (begin, end), _ in self._table.spans(self._spoken):
            phrase = self._spoken[begin:end]
            if LIST.search(phrase):
                kept = kept.replace(phrase, phrase.replace(" ", _JOINED))
        return [item.replace(_JOINED, " ") for item in LIST.split(kept)]

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
            if category not in covered and category not in (*PRESENT, *CONTEXTS):
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


def is_home(context: Category, spoken: str) -> bool:
    """ "Do you live with your family?" """
    return context is Category.FAMILY and bool(topics_of(HISTORY).of(spoken) & {"home", "support"})


def corrected(index: CaseIndex, tokens: Iterable[str]) -> str:
    """The words of a question, each that nobody knows as the one that is a slip of the keyboard away."""
    right = question_cues().vocabulary | index.vocabulary
    return " ".join(token if token in right else topics_of(HISTORY).corrected(token) for token in tokens)


def _relatives(spoken: str) -> frozenset[str]:
    """Whom the words name: a mother and no parents."""
    known = question_cues().relatives
    return frozenset(known[word] for word in spoken.split() if word in known)
