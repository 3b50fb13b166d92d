"""Which facts does the doctor's turn call for? By words: the cues of each fact, of its category, then its own words.

The labels of a scripted question are fact ids, so this module is what `Privacy` and answer recall are measured on.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from simulator_svc.cases.model import Case, Category, Disclosure, Fact
from simulator_svc.personas.effects import Occasion
from simulator_svc.units.claims import split_sentences, words

_CUES = Path(__file__).parent / "data" / "question_cues.toml"
_PROBED = (Category.EXAMINATION, Category.TEST)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one doctor turn asks for."""

    # The facts it calls for, in the order of the questions.
    facts: tuple[Fact, ...]
    # It asks at large; the patient chooses among what is volunteered and the first questions of any history.
    open: bool
    # It asks something, whether or not a fact answers it.
    question: bool
    # It wants the patient to say what the illness is.
    conclusion: bool
    greeting: bool
    occasions: frozenset[Occasion]


@dataclass(frozen=True, slots=True)
class _Cues:
    categories: dict[Category, re.Pattern[str]]
    open: re.Pattern[str]
    open_categories: tuple[Category, ...]
    more: re.Pattern[str]
    more_categories: tuple[Category, ...]
    orders: re.Pattern[str]
    openers: re.Pattern[str]
    greeting: re.Pattern[str]
    conclusion: re.Pattern[str]
    occasions: dict[Occasion, re.Pattern[str]]
    common: frozenset[str]


def phrase_pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    """Any of the phrases as whole words; `*` ends a word anyhow, `..` stands for up to four words between."""
    found = sorted({" ".join(phrase.lower().split()) for phrase in phrases}, key=len, reverse=True)
    parts = [re.escape(phrase).replace(r"\*", r"[\w']*").replace(r"\ \.\.\ ", r"(?: [\w']+){0,4} ") for phrase in found]
    return re.compile(r"(?<![\w'])(?:" + "|".join(parts) + r")(?![\w'])" if parts else r"(?!)")


@cache
def _cues() -> _Cues:
    data = tomllib.loads(_CUES.read_text(encoding="utf-8"))
    return _Cues(
        categories={Category(name): phrase_pattern(phrases) for name, phrases in data["categories"].items()},
        open=phrase_pattern(data["open"]["cues"]),
        open_categories=tuple(map(Category, data["open"]["categories"])),
        more=phrase_pattern(data["more"]["cues"]),
        more_categories=tuple(map(Category, data["more"]["categories"])),
        orders=phrase_pattern(data["orders"]),
        openers=re.compile(
            r"^(?:(?:and|so|also|then|okay|ok|now|please|well|just|but|first|next) )*(?:"
            + "|".join(data["openers"])
            + r")\b"
        ),
        greeting=phrase_pattern(data["greeting"]),
        conclusion=phrase_pattern(data["conclusion"]),
        occasions={Occasion(name): phrase_pattern(phrases) for name, phrases in data["occasions"].items()},
        common=frozenset(data["common_words"]),
    )


@lru_cache(maxsize=8192)
def _fact_cues(cues: tuple[str, ...]) -> re.Pattern[str]:
    return phrase_pattern(cues)


def asked(case: Case, doctor: str, told: Collection[str]) -> Asked:
    """`told` holds the ids of facts that the patient stated before."""
    cues = _cues()
    called: dict[str, Fact] = {}
    is_open = is_question = concludes = greets = False
    occasions = {Occasion.ANY}
    for sentence in split_sentences(doctor):
        spoken = " ".join(words(sentence))
        occasions |= {occasion for occasion, pattern in cues.occasions.items() if pattern.search(spoken)}
        greets = greets or bool(cues.greeting.search(spoken))
        ordered = bool(cues.orders.search(spoken))
        if not (sentence.endswith("?") or "?" in sentence or cues.openers.search(spoken) or ordered):
            continue
        is_question = is_question or "?" in sentence or bool(cues.openers.search(spoken))
        concludes = concludes or bool(cues.conclusion.search(spoken))
        facts = _called_for(case, spoken, ordered, cues)
        if not facts and cues.more.search(spoken):
            facts, is_open = _next(case, cues.more_categories, told), True
        elif not facts and cues.open.search(spoken):
            facts, is_open = _next(case, cues.open_categories, told), True
        called.update((fact.fact_id, fact) for fact in facts)
    return Asked(tuple(called.values()), is_open, is_question, concludes, greets, frozenset(occasions))


def _called_for(case: Case, spoken: str, ordered: bool, cues: _Cues) -> list[Fact]:
    # An order is no question about the history: "let me take your blood pressure".
    probed = [fact for fact in case.facts if ordered and fact.category in _PROBED]
    if shown := _named_or_category(probed, spoken, cues):
        return shown
    askable = [fact for fact in case.facts if _askable(fact, ordered)]
    facts = _named_or_category(askable, spoken, cues)
    return facts or [fact for fact in askable if _own_words(case, fact, cues.common) & set(spoken.split())]


def _named_or_category(askable: Sequence[Fact], spoken: str, cues: _Cues) -> list[Fact]:
    askable = [fact for fact in askable if fact.disclosure is not Disclosure.NEVER]
    facts = _named(askable, spoken)
    covered = {fact.category for fact in facts}
    # A category's own cue calls for all of it, unless the question already named one of its facts.
    for category, pattern in cues.categories.items():
        if category not in covered and pattern.search(spoken):
            facts += [fact for fact in askable if fact.category is category]
    return facts


def _named(askable: Sequence[Fact], spoken: str) -> list[Fact]:
    """In the order of the question. The longer cue wins: "blood pressure" is no question about pressure."""
    spans = {fact.fact_id: [match.span() for match in _fact_cues(fact.cues).finditer(spoken)] for fact in askable}
    every = [span for found in spans.values() for span in found]

    def begins(fact: Fact) -> int | None:
        own = [begin for begin, end in spans[fact.fact_id] if not any(_inside((begin, end), other) for other in every)]
        return min(own, default=None)

    named = [(begin, fact) for fact in askable if (begin := begins(fact)) is not None]
    return [fact for _, fact in sorted(named, key=lambda pair: pair[0])]


def _inside(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return span != other and other[0] <= span[0] and span[1] <= other[1]


def _askable(fact: Fact, ordered: bool) -> bool:
    if fact.disclosure is Disclosure.NEVER:
        return False
    return ordered if fact.disclosure is Disclosure.ON_EXAMINATION or fact.category in _PROBED else True


@lru_cache(maxsize=4096)
def _own_words(case: Case, fact: Fact, common: frozenset[str]) -> frozenset[str]:
    """Words that this fact of the case alone has: a question that uses one means it."""

    def content(other: Fact) -> set[str]:
        return {word for word in words(other.words) if len(word) >= 5 and word not in common}

    others = set().union(*(content(other) for other in case.facts if other.fact_id != fact.fact_id))
    return frozenset(content(fact) - others)


def _next(case: Case, categories: Sequence[Category], told: Collection[str]) -> list[Fact]:
    """Not told yet, the volunteered first, then in the order of a history."""
    untold = [fact for fact in case.facts if fact.fact_id not in told]
    volunteered = [fact for fact in untold if fact.disclosure is Disclosure.VOLUNTEERED]
    rest = [
        fact
        for category in categories
        for fact in untold
        if fact.category is category and fact.disclosure is Disclosure.ON_REQUEST
    ]
    return volunteered + rest
