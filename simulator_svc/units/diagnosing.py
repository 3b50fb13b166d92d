"""Does a doctor's turn say what the illness is?

A diagnosis is an assertion of an illness (units/data/illness_words.toml) that is not weighed, denied, told of the past
or of somebody else. Whether it is right is not heard here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from simulator_svc.units.asking import statements
from simulator_svc.units.cues import phrase_pattern
from simulator_svc.units.speech_rules import DiagnosisRules, PlanRules, QuestionRules, rules_of, table
from simulator_svc.units.spoken import Sentence, heard_words

# A denial reaches so many words far: "it is not any kind of cancer".
_REACH = 4
# Letters that hold so many words: a flood of text must not be read anew for each illness in it.
_NEAR = 80
# A list of words without a verb that is longer than this is no bare name of an illness.
_BARE_WORDS = 9
_ACCOUNT_WORDS = 3


@dataclass(frozen=True, slots=True)
class _Illness:
    names: re.Pattern[str]
    states: re.Pattern[str]


def diagnoses(sentences: Sequence[Sentence], told: Sequence[str], names: tuple[str, ...]) -> bool:
    rules = rules_of(DiagnosisRules)
    whole = " ".join(sentence.text for sentence in sentences)
    if rules.holds_back.search(whole) and not rules.firmly.search(whole):
        return False
    if told and grants(sentences, told[-1]) and illnesses(told[-1], names):
        return True
    if rules.points_back.search(whole) and illnesses(whole, names):
        return True
    return any(
        _asserts(segment, place, told, names)
        for sentence in statements(sentences)
        for segment in sentence.segments
        for place in range(len(segment))
    )


def _asserts(segment: tuple[str, ...], place: int, told: Sequence[str], names: tuple[str, ...]) -> bool:
    """Does this part of a segment say what the illness is?"""
    rules = rules_of(DiagnosisRules)
    part, before = segment[place], " ".join(segment[:place])
    after = " ".join(segment[place + 1 : place + 2])
    near = " ".join(segment[max(0, place - 1) : place + 2])
    if rules.past.search(near) or rules.others.search(near) or _weighed(segment, place):
        return False
    if rules.asserts_alone.search(part) and not _denied(part, len(part)):
        return True
    if _state(part):
        return True
    illness = [found for found in illnesses(part, names) if not _denied(part, found.start())]
    if not illness:
        return False
    if any(map(rules.asserts.search, (part, before, after))) or _is(part, illness[0].start()):
        return True
    bare = len(part.split()) <= _BARE_WORDS and not rules_of(PlanRules).verbs.search(part)
    first = not rules_of(QuestionRules).leads.sub("", before).strip()
    return bare and first and not any(found.group() in said for found in illness for said in told)


def explains(sentences: Sequence[Sentence]) -> bool:
    rules = rules_of(DiagnosisRules)
    if rules.holds_back.search(" ".join(sentence.text for sentence in sentences)):
        return False
    return any(
        _is_cause(part)
        for sentence in statements(sentences)
        for segment in sentence.segments
        for place, part in enumerate(segment)
        if not (rules.past.search(part) or rules.others.search(part) or _weighed(segment, place))
    )


def accounts(sentences: Sequence[Sentence]) -> bool:
    rules, plan = rules_of(DiagnosisRules), rules_of(PlanRules)
    if rules.holds_back.search(" ".join(sentence.text for sentence in sentences)):
        return False
    return any(
        len(part.split()) >= _ACCOUNT_WORDS
        and not any(said.search(part) for said in (rules.no_account, rules.past, rules.others, plan.things, plan.tests))
        and not any(said.search(part) for said in (plan.directs, plan.any_step, plan.alone))
        and not plan.imperatives.match(part)
        and not rules.past.search(" ".join(segment))
        and not _weighed(segment, place)
        and not _denied(part, len(part))
        for sentence in statements(sentences)
        for segment in sentence.segments
        for place, part in enumerate(segment[:1])
    )


def _is_cause(part: str) -> bool:
    rules = rules_of(DiagnosisRules)
    if rules.explains.search(part):
        return True
    return any(_names_something(part[begins.end() :][:_NEAR]) for begins in rules.explains_by.finditer(part))


def _names_something(part: str) -> bool:
    """What follows "it's": an illness or a cause, not "important" or "a good question"."""
    rules = rules_of(DiagnosisRules)
    said = [word for word in part.split() if not rules.before_names.fullmatch(word)]
    return (
        bool(said)
        and not any(map(rules.says_nothing.fullmatch, said[:2]))
        and not _denied(" ".join(said), len(said[0]))
    )


def _weighed(segment: tuple[str, ...], place: int) -> bool:
    """A hedge in the part itself, a condition in the one before, or a short afterthought ("gout, possibly")."""
    rules = rules_of(DiagnosisRules)
    part = rules.firm.sub(" ", segment[place])
    after = segment[place + 1 : place + 2]
    return bool(
        rules.hedges.search(part)
        or (place and rules.conditional.search(segment[place - 1]))
        or any(rules.hedges.search(rules.firm.sub(" ", said)) and len(said.split()) <= _REACH for said in after)
    )


def _denied(part: str, end: int) -> bool:
    rules = rules_of(DiagnosisRules)
    return bool(rules.negations.search(" ".join(_before(rules.firm.sub(" ", part[max(0, end - _NEAR) : end])))))


def _is(part: str, start: int) -> bool:
    """ "The rash is eczema": by a verb of being close before it."""
    copulas = rules_of(DiagnosisRules).copulas
    return any(map(copulas.fullmatch, _before(part[max(0, start - _NEAR) : start])))


def _before(part: str) -> list[str]:
    return part.split()[-_REACH:]


def _state(part: str) -> bool:
    """ "It's broken", "the nerve is being squashed", "you've torn the ligament"."""
    return any(
        _is(part, found.start()) and not _denied(part, found.start()) for found in _illness().states.finditer(part)
    )


def grants(sentences: Sequence[Sentence], said: str) -> bool:
    """The patient has just named something as the cause, of himself and of now, and the doctor says yes."""
    rules = rules_of(DiagnosisRules)
    if not sentences or sentences[0].question or not rules.agrees.match(sentences[0].text):
        return False
    if _weighed(sentences[0].parts, 0) or rules.past.search(said) or rules.others.search(said):
        return False
    return any(_names_something(said[begins.end() :][:_NEAR]) for begins in rules.patient_names.finditer(said))


def illnesses(part: str, names: tuple[str, ...]) -> list[re.Match[str]]:
    known = list(_illness().names.finditer(part))
    return known + list(_further(names).finditer(part)) if names else known


@cache
def _illness() -> _Illness:
    data = table("illness_words.toml")
    names = phrase_pattern(data["names"]).pattern
    spared = "|".join(map(re.escape, data["no_illnesses"]))
    idle = "|".join(map(re.escape, data["no_names"]))
    heads = "|".join(map(re.escape, data["heads"]))
    return _Illness(
        names=re.compile(
            rf"(?!(?<![\w'])(?:{spared})(?![\w'])){names}"
            rf"|(?<![\w'])(?!(?:{idle}) )[\w']+ (?:{heads})(?![\w'])"
        ),
        states=phrase_pattern(data["states"]),
    )


@lru_cache(maxsize=512)
def _further(names: tuple[str, ...]) -> re.Pattern[str]:
    return phrase_pattern(map(heard_words, names))
