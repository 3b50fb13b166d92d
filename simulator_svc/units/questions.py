"""What does the doctor's turn ask for? Its sentences one by one: questions, orders, openings, and what is none of them.

The labels of a scripted question are fact ids, so this module is what `Privacy` and answer recall are measured on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from simulator_svc.cases.model import Case, Category, Disclosure, Fact
from simulator_svc.personas.effects import Occasion
from simulator_svc.units.case_index import CaseIndex, case_index
from simulator_svc.units.claims import names_any
from simulator_svc.units.cues import Cues, question_cues
from simulator_svc.units.orders import is_order, ordered_facts
from simulator_svc.units.retrieval import Called, asked_facts
from simulator_svc.units.topics import HISTORY, topics_of
from simulator_svc.words import split_sentences, words

_KNOWN = (Category.PAST_HISTORY, Category.MEDICATION, Category.ALLERGY, Category.FAMILY)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one doctor turn asks for."""

    # The facts it calls for by name, in the order of the questions.
    facts: tuple[Fact, ...]
    # It asks at large: what the patient may choose from, the first questions of any history.
    invited: tuple[Fact, ...]
    # Questions that no word of the case or the tables answers.
    unclear: tuple[str, ...]
    # It asks something, whether or not a fact answers it.
    question: bool
    # It wants the patient to say what the illness is.
    conclusion: bool
    greeting: bool
    occasions: frozenset[Occasion]

    def with_facts(self, found: Iterable[Fact]) -> Asked:
        facts = {fact.fact_id: fact for fact in (*self.facts, *found)}
        return replace(self, facts=tuple(facts.values()))

    @property
    def open(self) -> bool:
        return bool(self.invited)


def asked(case: Case, doctor: str, told: Collection[str], last: Collection[str] = ()) -> Asked:
    """`told` holds the ids of facts that the patient stated before, `last` those of its last turn."""
    cues, index = question_cues(), case_index(case)
    called: dict[str, Fact] = {}
    invited: dict[str, Fact] = {}
    unclear: list[str] = []
    is_question = concludes = greets = False
    occasions = {Occasion.ANY}
    for sentence in split_sentences(doctor):
        said = " ".join(words(sentence))
        spoken = cues.fillers.sub("", said)
        occasions |= {occasion for occasion, pattern in cues.occasions.items() if pattern.search(said)}
        greets = greets or bool(cues.greeting.search(said))
        ordered = is_order(index, sentence, spoken)
        asks = "?" in sentence or bool(cues.openers.search(spoken))
        if not (asks or ordered):
            continue
        is_question = is_question or asks
        guesses = bool(cues.guess.search(spoken) and names_any(sentence, case.diagnosis_names))
        concluding = guesses or bool(cues.conclusion.search(spoken))
        concludes = concludes or concluding
        # Who asks for the illness itself asks for no fact, unless for what is known of old.
        aside = concluding and not any(cues.categories[known].search(spoken) for known in _KNOWN)
        answer = Called((), True) if aside else _answer(index, sentence, spoken, ordered, asks, last)
        called.update((fact.fact_id, fact) for fact in answer.facts)
        if not answer.facts and (at_large := _invitation(case, spoken, told, cues)) is not None:
            invited.update((fact.fact_id, fact) for fact in at_large)
        elif not answer.understood and not concluding and asks:
            unclear.append(sentence)
    return Asked(
        tuple(called.values()),
        tuple(fact for fact in invited.values() if fact.fact_id not in called),
        tuple(unclear),
        is_question,
        concludes,
        greets,
        frozenset(occasions),
    )


def _answer(index: CaseIndex, sentence: str, spoken: str, ordered: bool, asks: bool, last: Collection[str]) -> Called:
    if ordered:
        shown = ordered_facts(index, sentence)
        # "I'd like to check: when did it start?" An order is no question about the history, unless it is one too.
        if shown.facts or not asks:
            return shown
    if _at_large(spoken) and not index.named(spoken, index.history):
        return Called((), True)
    return asked_facts(index, sentence, last)


def _at_large(spoken: str) -> bool:
    """An invitation that names nothing: "tell me more about it", not "tell me more about the cough"."""
    cues = question_cues()
    named = (pattern for category, pattern in cues.categories.items() if category is not Category.CHIEF_COMPLAINT)
    return (
        bool(cues.open.search(spoken) or cues.more.search(spoken))
        and not topics_of(HISTORY).of(spoken)
        and not any(pattern.search(spoken) for pattern in named)
    )


def _invitation(case: Case, spoken: str, told: Collection[str], cues: Cues) -> list[Fact] | None:
    if cues.more.search(spoken):
        return _next(case, cues.more_categories, told)
    if cues.open.search(spoken):
        untold = _next(case, cues.open_categories, told)
        # "What brings you here?" is answered with the complaint, also late and also twice.
        complaint = [fact for fact in case.facts if fact.category is Category.CHIEF_COMPLAINT]
        again = not untold or bool(cues.categories[Category.CHIEF_COMPLAINT].search(spoken))
        return list(dict.fromkeys([*complaint, *untold])) if again else untold
    return None


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
