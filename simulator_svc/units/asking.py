"""What in a doctor's turn waits for the patient: a question that is meant, or an examination that begins."""

from __future__ import annotations

from collections.abc import Sequence

from simulator_svc.units.speech_rules import QuestionRules, rules_of
from simulator_svc.units.spoken import Sentence


def waits(sentence: Sentence, later: Sequence[Sentence]) -> bool:
    rules = rules_of(QuestionRules)
    if not later and rules.requests.search(sentence.text):
        return True
    if not asks(sentence) or offers(sentence):
        return False
    return not (later and not later[0].question and rules.rhetorical.match(led(sentence.text)))


def asks(sentence: Sentence) -> bool:
    rules = rules_of(QuestionRules)
    return sentence.question or any(rules.openers.match(led(segment[0])) for segment in sentence.segments)


def offers(sentence: Sentence) -> bool:
    rules = rules_of(QuestionRules)
    if rules.offers.search(sentence.text):
        return True
    return sentence.question and bool(rules.tags.fullmatch(led(sentence.parts[-1])))


def led(part: str) -> str:
    """Without "and", "so", "please" before it."""
    leads = rules_of(QuestionRules).leads
    while (lead := leads.match(part)) and lead.end() < len(part):
        part = part[lead.end() :].lstrip()
    return part


def statements(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Those that assert something: no questions, but "that's gout, all right?" without its tag."""
    stated = [sentence for sentence in sentences if not asks(sentence)]
    tags = rules_of(QuestionRules).tags
    for sentence in sentences:
        if sentence.question and len(sentence.parts) > 1 and tags.fullmatch(led(sentence.parts[-1])):
            stated.append(Sentence(False, sentence.segments))
    return stated
