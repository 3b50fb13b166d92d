"""Which facts does a question of the present illness call for: when, where, how bad, what makes it worse, ever before?

It means the main complaint, unless it names something else; then it means that, and where the patient does not have
it, nothing: "when did the seizures start" gets no date of something else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from simulator_svc.cases.model import Category
from simulator_svc.units.case_index import PRESENT, CaseIndex, IndexedFact
from simulator_svc.units.cues import question_cues, without
from simulator_svc.units.topics import HISTORY, PAIN, Kind, topics_of

_PLACES = (Category.SITE, Category.RADIATION)
_CHANGES = (Category.AGGRAVATING, Category.RELIEVING, Category.TIMING, Category.SEVERITY)

_FELT = (Category.CHIEF_COMPLAINT, Category.ASSOCIATED, Category.REVIEW_OF_SYSTEMS, Category.RED_FLAG)


class PresentIllness:
    def __init__(self, index: CaseIndex, spoken: str, last: Collection[str], theme: frozenset[str]) -> None:
        self._index = index
        self._cues = question_cues()
        self._table = topics_of(HISTORY)
        self._spoken = spoken
        # What the whole sentence is about, where the question itself names nothing.
        self._theme = theme
        # The facts of the patient's turn before.
        self._last = last

    def called_for(self, categories: Sequence[Category]) -> list[IndexedFact]:
        subject = self._subject(categories)
        topics = self._table.of(subject) or self._theme
        if set(categories) <= set(_PLACES):
            # "Where is the pain when you eat?", but "where do you work?"
            felt = any(self._table.kinds[topic] is Kind.SYMPTOM for topic in topics)
            beside = (Kind.PART, Kind.HABIT) if felt else (Kind.PART,)
            topics = frozenset(t for t in topics if self._table.kinds[t] not in beside)
        if Category.CHARACTER in categories:
            topics -= {PAIN}  # "is it sharp or burning"
        if (
            list(categories) == [Category.CHARACTER] and topics
        ):  # "what colour is the phlegm", "what colour are your stools"
            said = self._index.speaking_of(topics, self._index.of(Category.CHARACTER))
            said = said or self._index.speaking_of(topics, self._index.of(*_FELT))
            if said:
                return said
        if self._is_foreign(topics):
            outside = [each for each in self._index.history if each.fact.category not in PRESENT]
            family = {Category.FAMILY, Category.CHIEF_COMPLAINT}
            named = self._index.named(subject, [e for e in outside if e.fact.category not in family])
            found = named or self._index.speaking_of(
                topics, [e for e in outside if e.fact.category is not Category.FAMILY]
            )
            # "Does eating make the pain worse?" where the pain is not the main complaint.
            return found or self._index.named(self._spoken, self._index.of(*set(categories) & set(_CHANGES)))
        if not topics and (followed := self._followed_up(categories)):
            return followed
        # "What triggers it?" names no trigger.
        beyond = without(self._spoken, [self._cues.categories[category] for category in categories])
        among = _CHANGES if set(categories) <= set(_CHANGES) else categories
        if named := self._index.named(" ".join(beyond.split()), self._index.of(*among)):
            return named
        facts = [each for category in categories for each in self._in_category(category, topics)]
        facts += self._index.named(self._spoken, self._index.of(*among))
        return list({each.fact.fact_id: each for each in facts}.values())

    def _subject(self, categories: Sequence[Category]) -> str:
        """What the question is about, without the circumstances that it names."""
        spoken = self._spoken
        if set(categories) <= {Category.AGGRAVATING, Category.RELIEVING} and (verb := self._cues.verbs.search(spoken)):
            spoken = f"- - {spoken[verb.end() :]}"
        tokens = spoken.split()
        head, rest = " ".join(tokens[:2]), " ".join(tokens[2:])
        cut = self._cues.circumstance.search(rest)
        return f"{head} {rest[: cut.start()] if cut else rest}"

    def _is_foreign(self, topics: frozenset[str]) -> bool:
        """It names something that the main complaint is not."""
        parts = self._table.parts(topics)
        main = self._index.main
        rest = topics - parts
        if rest - main:
            return True
        known = self._table.parts(main)
        return bool(parts) and bool(known) and not parts & known

    def _followed_up(self, categories: Sequence[Category]) -> list[IndexedFact]:
        """ "How long have you had that?" after the patient spoke of something else than the main complaint."""
        said = [each for each in self._index.history if each.fact.fact_id in self._last]
        topics = frozenset().union(*(each.topics for each in said)) - {PAIN}
        if not said or not topics - self._index.main or not self._cues.pointing.search(self._spoken):
            return []
        patterns = [self._cues.kinds[category] for category in categories]
        return [
            each
            for each in self._index.history
            if each.fact.category not in (*PRESENT, Category.CHIEF_COMPLAINT, Category.FAMILY)
            and each.topics & (topics - self._index.main)
            and any(pattern.search(each.spoken) for pattern in patterns)
        ]

    def _in_category(self, category: Category, topics: frozenset[str]) -> list[IndexedFact]:
        """Its facts, of several those of the topics; where the case has none, those of the illness that say such."""
        if own := self._index.of(category):
            return [each for each in own if each.topics & topics] or own
        pattern = self._cues.kinds[category]
        ill = (Category.CHIEF_COMPLAINT, Category.ASSOCIATED, *PRESENT)
        return [each for each in self._index.of(*ill) if pattern.search(each.spoken)]

    def recurrent(self) -> list[IndexedFact]:
        past = self._index.of(Category.PAST_HISTORY)
        return (
            self._index.named(self._spoken, past)
            or [each for each in past if each.topics & self._index.main]
            or [each for each in past if self._cues.recurrent.search(each.spoken)]
        )
