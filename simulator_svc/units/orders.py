"""Which findings does an order call for? An examination or a test shows them, and no question does."""

from __future__ import annotations

from collections.abc import Collection

from simulator_svc.cases.model import Category
from simulator_svc.units.case_index import CaseIndex, IndexedFact
from simulator_svc.units.cues import Cues, question_cues, without
from simulator_svc.units.listing import LIST
from simulator_svc.units.retrieval import Called
from simulator_svc.units.topics import HISTORY, PROBES, Kind, one_spelling, topics_of
from simulator_svc.words import words

_BLOOD = frozenset({"blood", "bloods", "serum", "plasma", "level", "levels"})


def is_order(index: CaseIndex, sentence: str, spoken: str) -> bool:
    """It says that something is or will be done, or asks for a test with no verb: "a full blood count, please".

    `spoken`: the sentence as bare words, without what may stand before the question.
    """
    cues, known = question_cues(), topics_of(PROBES)
    if cues.no_order.search(spoken):
        return False
    if cues.orders.search(spoken):
        return True
    topics, asks = known.of(spoken), "?" in sentence
    named = bool(topics) or (not asks and bool(index.named(spoken, index.probed)))
    if cues.intents.search(spoken):
        return named
    is_sentence = cues.predicates.search(spoken) or cues.openers.search(spoken)
    return named and not asks and not is_sentence and bool(cues.imperatives.search(spoken))


def ordered_facts(index: CaseIndex, sentence: str) -> Called:
    """What an examination or a test shows, once the doctor orders it."""
    cues, known = question_cues(), topics_of(PROBES)
    spoken = " ".join(words(sentence))
    wanted = known.of(spoken)
    tests = frozenset(topic for topic in wanted if known.kinds[topic] is not Kind.EXAM)
    bloods = bool(cues.blood_tests.search(spoken)) and not any(known.kinds[topic] is Kind.LAB for topic in tests)
    is_test = bool(tests or bloods or cues.all_tests.search(spoken))
    by_hand = not is_test and bool(cues.examines.search(spoken))
    among = [each for each in index.probed if each.fact.category in _shown_by(is_test, by_hand) or each.probes & tests]
    precisely = index.named(" ".join(cues.vague_orders.sub(" ", spoken).split()), among)
    found = {
        each.fact.fact_id: each
        for each in index.probed
        if _by_phrase(each, spoken) and (each in among or each.fact.category is Category.TEST)
    }
    for each in index.named(spoken, among):
        if each in precisely or (not precisely and _is_ordered(each, tests)):
            found[each.fact.fact_id] = each
    for item in LIST.split(spoken):
        topics = known.of(item) & tests if is_test else known.of(item)
        same = [each for each in among if topics and topics <= each.probes]
        # What is named by its own cue needs no topic, which is wider: "let me check your knee jerks".
        if any(each in precisely for each in index.named(item, among)):
            same = []
        found.update((each.fact.fact_id, each) for each in same)
    # "Blood tests" are all of them, unless some are named: "check your thyroid with a blood test".
    if bloods and not index.named(" ".join(without(spoken, [cues.vague_orders, cues.blood_tests]).split()), among):
        found.update((each.fact.fact_id, each) for each in among if _is_blood_test(each))
    if not found and not tests and not bloods:
        found = {each.fact.fact_id: each for each in _whole(index, spoken, cues)}
    if not found and not tests:
        asked = {one_spelling(word) for word in spoken.split()}
        found = {each.fact.fact_id: each for each in among if each.own & asked}
    return Called(tuple(each.fact for each in found.values()), bool(wanted or found or is_test))


def _shown_by(is_test: bool, by_hand: bool) -> tuple[Category, ...]:
    if is_test:
        return (Category.TEST,)
    return (Category.EXAMINATION,) if by_hand else tuple(Category)


def _whole(index: CaseIndex, spoken: str, cues: Cues) -> list[IndexedFact]:
    """An examination or tests at large."""
    categories = {category for category, pattern in cues.categories.items() if pattern.search(spoken)}
    if cues.all_tests.search(spoken):
        categories.add(Category.TEST)
    elif not topics_of(HISTORY).of(spoken) and cues.examines.search(spoken):
        categories.add(Category.EXAMINATION)
    return [each for each in index.probed if each.fact.category in categories]


def _by_phrase(each: IndexedFact, spoken: str) -> bool:
    """Several words of its own name it, whatever the order otherwise is: "have a look inside"."""
    vague = question_cues().vague_orders
    return any(" " in match.group() and vague.sub("", match.group()).strip() for match in each.cues.finditer(spoken))


def _is_ordered(each: IndexedFact, tests: Collection[str]) -> bool:
    """An order that names its test means no other one."""
    kinds = topics_of(PROBES).kinds
    own = {topic for topic in each.probes if kinds[topic] is not Kind.EXAM}
    return not tests or not own or bool(own & set(tests))


def _is_blood_test(each: IndexedFact) -> bool:
    kinds = topics_of(PROBES).kinds
    return (
        each.fact.category is Category.TEST
        and not any(kinds[topic] is Kind.PROBE for topic in each.probes)
        and (any(kinds[topic] is Kind.LAB for topic in each.probes) or not _BLOOD.isdisjoint(each.spoken.split()))
    )
