"""A case made ready for questions: what each fact speaks of, and what the main complaint is. Built once a case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from simulator_svc.cases.model import Case, Category, Disclosure, Fact
from simulator_svc.units.cues import Cues, phrase_pattern, question_cues
from simulator_svc.units.topics import HISTORY, PAIN, PROBES, Kind, one_spelling, otherwise, topics_of
from simulator_svc.words import words

PROBED = (Category.EXAMINATION, Category.TEST)
# What is asked of the main complaint: it has one onset, one site.
PRESENT = (
    Category.ONSET, Category.SITE, Category.CHARACTER, Category.RADIATION, Category.TIMING, Category.SEVERITY,
    Category.AGGRAVATING, Category.RELIEVING,
)  # fmt: skip
_SYMPTOMS = (Category.CHIEF_COMPLAINT, Category.ASSOCIATED, Category.REVIEW_OF_SYSTEMS, Category.RED_FLAG)
_PAST = (Category.PAST_HISTORY,)
_FEATURES = (Category.SITE, Category.CHARACTER)
_COURSE = (Category.TIMING, Category.SEVERITY, Category.ONSET)
# In which categories facts of a kind are looked for, the likelier first.
_LOOKED_FOR: dict[Kind, tuple[tuple[Category, ...], ...]] = {
    Kind.SYMPTOM: (_SYMPTOMS, _PAST, _FEATURES, _COURSE, (Category.SOCIAL,)),
    Kind.PART: (_SYMPTOMS, _PAST, _FEATURES),
    Kind.CONDITION: ((*_PAST, *_SYMPTOMS), (Category.SOCIAL,), (Category.MEDICATION,)),
    Kind.HABIT: ((Category.SOCIAL,), (*_PAST, *_SYMPTOMS)),
    Kind.MEDICINE: ((Category.MEDICATION,), (*_PAST, Category.RELIEVING, *_SYMPTOMS)),
}
_LEAST_LETTERS = 5
_NUMBERS = (
    "three", "seven", "eight", "eleven", "twelve", "teen", "twenty", "thirty", "forty", "fifty", "sixty", "seventy",
    "eighty", "ninety", "hundred", "thousand",
)  # fmt: skip
# Says that a part of the body does not hurt either.
_FINE = re.compile(r"\b(?:normal|fine|well|no trouble|no problem|no problems|all right)\b")


@dataclass(frozen=True, slots=True)
class IndexedFact:
    fact: Fact
    topics: frozenset[str]
    # By its own words alone, without its cues.
    says: frozenset[str]
    # What an order would name.
    probes: frozenset[str]
    # Words that this fact of the case alone has: a question that uses one means it.
    own: frozenset[str]
    cues: re.Pattern[str]
    spoken: str


@dataclass(frozen=True, slots=True)
class CaseIndex:
    history: tuple[IndexedFact, ...]
    probed: tuple[IndexedFact, ...]
    # What the main complaint speaks of.
    main: frozenset[str]
    # The words of its facts and cues.
    vocabulary: frozenset[str]

    def of(self, *categories: Category) -> list[IndexedFact]:
        return [known for known in self.history if known.fact.category in categories]

    def named(self, spoken: str, among: Sequence[IndexedFact]) -> list[IndexedFact]:
        """By their cues, in the order of the question.

        The longer phrase wins: "blood pressure" is no question about blood or pressure, and a fact whose cues are only
        some of another one's is not meant.
        """
        phrases = topics_of(HISTORY).spans(spoken)
        matched = [{match.span() for match in known.cues.finditer(spoken)} for known in among]
        every = {span for found in matched for span in found}
        spans: list[set[tuple[int, int]]] = []
        for known, found in zip(among, matched, strict=True):
            wider = [*every, *(span for span, topics in phrases if not topics <= known.topics)]
            spans.append({span for span in found if not any(_inside(span, other) for other in wider)})
        named = [
            (min(found), place)
            for place, found in enumerate(spans)
            if found and not any(found < other for other in spans)
        ]
        return [among[place] for _, place in sorted(named)]

    def speaking_of(self, topics: frozenset[str], among: Sequence[IndexedFact] | None = None) -> list[IndexedFact]:
        """The facts that speak of all the topics, in the first group of categories that has any."""
        known = topics_of(HISTORY)
        kinds = [known.kinds[topic] for topic in topics]
        if not kinds:
            return []
        if among is not None:
            return [each for each in among if _speaks_of(each, topics)]
        leading = next((kind for kind in kinds if kind is not Kind.PART), Kind.PART)
        for wanted in dict.fromkeys((topics, otherwise(topics))):
            for categories in _LOOKED_FOR[leading]:
                if found := [each for each in self.of(*categories) if _speaks_of(each, wanted)]:
                    return found
        return []


@lru_cache(maxsize=256)
def case_index(case: Case) -> CaseIndex:
    cues = question_cues()
    told = [fact for fact in case.facts if fact.disclosure is not Disclosure.NEVER]
    every = [_indexed(fact, told, cues) for fact in told]
    probed = [
        known for known in every if known.fact.category in PROBED or known.fact.disclosure is Disclosure.ON_EXAMINATION
    ]
    return CaseIndex(
        history=tuple(known for known in every if known not in probed),
        probed=tuple(probed),
        main=_main(told),
        vocabulary=frozenset(word for fact in told for word in words(" ".join([fact.text, fact.words, *fact.cues]))),
    )


def _indexed(fact: Fact, told: Iterable[Fact], cues: Cues) -> IndexedFact:
    spoken = " ".join(words(f"{fact.text} . {fact.words}"))
    everything = " . ".join([spoken, *(cue for cue in map(_bare, fact.cues) if _is_topic(cue))])
    others = set().union(*(_content(other, cues) for other in told if other.fact_id != fact.fact_id))
    return IndexedFact(
        fact=fact,
        topics=topics_of(HISTORY).of(everything),
        says=topics_of(HISTORY).of(spoken),
        probes=topics_of(PROBES).of(" . ".join([spoken, *map(_bare, fact.cues)])),
        own=frozenset(_content(fact, cues) - others),
        cues=phrase_pattern(fact.cues),
        spoken=spoken,
    )


def _bare(cue: str) -> str:
    return " ".join(words(cue))


def _is_topic(cue: str) -> bool:
    """All of it: "hay fever" is no fever."""
    spans = topics_of(HISTORY).spans(cue)
    return bool(spans) and sum(end - begin + 1 for (begin, end), _ in spans) == len(cue) + 1


def _main(told: Iterable[Fact]) -> frozenset[str]:
    tells = [
        fact
        for fact in told
        if fact.disclosure is Disclosure.VOLUNTEERED
        or fact.category in (Category.CHIEF_COMPLAINT, Category.ONSET, Category.SITE, Category.CHARACTER)
    ]
    return topics_of(HISTORY).of(" . ".join(" ".join(words(f"{fact.text} . {fact.words}")) for fact in tells))


def _content(fact: Fact, cues: Cues) -> set[str]:
    return {
        one_spelling(word)
        for word in words(f"{fact.words} {fact.text}")
        if len(word) >= _LEAST_LETTERS and word not in cues.common and not is_number(word)
    }


def is_number(word: str) -> bool:
    return any(map(str.isdigit, word)) or word.removesuffix("th").endswith(_NUMBERS)


def _speaks_of(known: IndexedFact, topics: frozenset[str]) -> bool:
    """Of all the topics that are no part of the body, and of one of the parts, if any is named."""
    table = topics_of(HISTORY)
    parts = frozenset(topic for topic in topics if table.kinds[topic] is Kind.PART)
    rest = topics - parts - ({PAIN} if parts and _FINE.search(known.spoken) else frozenset())
    if not rest <= known.topics:
        return False
    if not parts:
        return True
    own = table.parts(known.topics)
    if parts & own:
        return True
    # "No swelling" answers for every part; a pain without its place answers for none.
    return bool(rest) and not own and rest != {PAIN}


def _inside(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span != other and other[0] <= span[0] and span[1] <= other[1]
