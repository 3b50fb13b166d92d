"""What a doctor does with a turn: says what it is, says what to do, asks, takes leave.

By rules alone, over the words in units/data/speech_acts.toml and illness_words.toml. A diagnosis is an assertion of an
illness that is not weighed, denied, told of the past or of somebody else; whether it is right is not heard here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from simulator_svc.units.cues import phrase_pattern
from simulator_svc.units.spoken import Sentence, heard, heard_words

_DATA = Path(__file__).parent / "data"
# A denial reaches so many words far: "it is not any kind of cancer".
_REACH = 4
# Letters that hold so many words: a flood of text must not be read anew for each illness in it.
_NEAR = 80
# A list of words without a verb that is longer than this is no bare name of an illness.
_BARE_WORDS = 9
_FRIENDLY_WORDS = 14
_FOR_YOU = re.compile(r"\b(?:for|to|with) (?:you|him|her|them)\b")


@dataclass(frozen=True, slots=True)
class _Diagnosis:
    asserts: re.Pattern[str]
    asserts_alone: re.Pattern[str]
    points_back: re.Pattern[str]
    hedges: re.Pattern[str]
    firm: re.Pattern[str]
    holds_back: re.Pattern[str]
    firmly: re.Pattern[str]
    negations: re.Pattern[str]
    past: re.Pattern[str]
    others: re.Pattern[str]
    agrees: re.Pattern[str]
    patient_names: re.Pattern[str]
    conditional: re.Pattern[str]
    copulas: re.Pattern[str]
    explains: re.Pattern[str]
    explains_by: re.Pattern[str]
    before_names: re.Pattern[str]
    says_nothing: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Plan:
    things: re.Pattern[str]
    tests: re.Pattern[str]
    directs: re.Pattern[str]
    imperatives: re.Pattern[str]
    verbs: re.Pattern[str]
    alone: re.Pattern[str]
    not_planned: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Questions:
    openers: re.Pattern[str]
    leads: re.Pattern[str]
    requests: re.Pattern[str]
    offers: re.Pattern[str]
    tags: re.Pattern[str]
    rhetorical: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Farewell:
    phrases: re.Pattern[str]
    not_meant: re.Pattern[str]
    patient_leaves: re.Pattern[str]
    friendly: re.Pattern[str]
    business: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class _Illness:
    names: re.Pattern[str]
    states: re.Pattern[str]


_Rules = TypeVar("_Rules", _Diagnosis, _Plan, _Questions, _Farewell)


@dataclass(frozen=True, slots=True)
class Acts:
    """What one turn of the doctor does."""

    diagnoses: bool
    # It names a cause that no list of illnesses holds.
    explains: bool
    plans: bool
    # It plans more than tests.
    treats: bool
    # Something in it waits for the patient: a question, or an examination that begins.
    waits: bool
    # It gives the patient the word: "any questions?"
    offers: bool
    takes_leave: bool


@lru_cache(maxsize=2048)
def acts_of(turn: str, patient: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> Acts:
    """`patient` holds the patient's turns before this one, `names` further illnesses than the data file's."""
    sentences = heard(turn)
    told = [heard_words(said) for said in patient]
    return Acts(
        diagnoses=_diagnoses(sentences, told, names),
        explains=_explains(sentences) or (bool(told) and _grants(sentences, told[-1])),
        plans=any(_plans(sentence, tests=True) for sentence in _statements(sentences)),
        treats=any(_plans(sentence, tests=False) for sentence in _statements(sentences)),
        waits=any(_waits(sentence, sentences[place + 1 :]) for place, sentence in enumerate(sentences)),
        offers=any(map(_offers, sentences)),
        takes_leave=any(map(_takes_leave, sentences)) or (bool(told) and _lets_go(sentences, told[-1])),
    )


# --- saying what it is -----------------------------------------------------------------------------------------------


def _diagnoses(sentences: Sequence[Sentence], told: Sequence[str], names: tuple[str, ...]) -> bool:
    rules = _rules(_Diagnosis, "diagnosis")
    whole = " ".join(sentence.text for sentence in sentences)
    if rules.holds_back.search(whole) and not rules.firmly.search(whole):
        return False
    if told and _grants(sentences, told[-1]) and _illnesses(told[-1], names):
        return True
    if rules.points_back.search(whole) and _illnesses(whole, names):
        return True
    return any(
        _asserts(segment, place, told, names)
        for sentence in _statements(sentences)
        for segment in sentence.segments
        for place in range(len(segment))
    )


def _asserts(segment: tuple[str, ...], place: int, told: Sequence[str], names: tuple[str, ...]) -> bool:
    """Does this part of a segment say what the illness is?"""
    rules = _rules(_Diagnosis, "diagnosis")
    part, before = segment[place], " ".join(segment[:place])
    after = " ".join(segment[place + 1 : place + 2])
    near = " ".join(segment[max(0, place - 1) : place + 2])
    if rules.past.search(near) or rules.others.search(near) or _weighed(segment, place):
        return False
    if rules.asserts_alone.search(part) and not _denied(part, len(part)):
        return True
    if _state(part):
        return True
    illness = [found for found in _illnesses(part, names) if not _denied(part, found.start())]
    if not illness:
        return False
    if any(map(rules.asserts.search, (part, before, after))) or _is(part, illness[0].start()):
        return True
    bare = len(part.split()) <= _BARE_WORDS and not _rules(_Plan, "plan").verbs.search(part)
    first = not _rules(_Questions, "questions").leads.sub("", before).strip()
    return bare and first and not any(found.group() in said for found in illness for said in told)


def _explains(sentences: Sequence[Sentence]) -> bool:
    rules = _rules(_Diagnosis, "diagnosis")
    if rules.holds_back.search(" ".join(sentence.text for sentence in sentences)):
        return False
    return any(
        _is_cause(part)
        for sentence in _statements(sentences)
        for segment in sentence.segments
        for place, part in enumerate(segment)
        if not (rules.past.search(part) or rules.others.search(part) or _weighed(segment, place))
    )


def _is_cause(part: str) -> bool:
    rules = _rules(_Diagnosis, "diagnosis")
    if rules.explains.search(part):
        return True
    return any(_names_something(part[begins.end() :][:_NEAR]) for begins in rules.explains_by.finditer(part))


def _names_something(part: str) -> bool:
    """What follows "it's": an illness or a cause, not "important" or "a good question"."""
    rules = _rules(_Diagnosis, "diagnosis")
    said = [word for word in part.split() if not rules.before_names.fullmatch(word)]
    return (
        bool(said)
        and not any(map(rules.says_nothing.fullmatch, said[:2]))
        and not _denied(" ".join(said), len(said[0]))
    )


def _weighed(segment: tuple[str, ...], place: int) -> bool:
    """A hedge in the part itself, a condition in the one before, or a short afterthought ("gout, possibly")."""
    rules = _rules(_Diagnosis, "diagnosis")
    part = rules.firm.sub(" ", segment[place])
    after = segment[place + 1 : place + 2]
    return bool(
        rules.hedges.search(part)
        or (place and rules.conditional.search(segment[place - 1]))
        or any(rules.hedges.search(rules.firm.sub(" ", said)) and len(said.split()) <= _REACH for said in after)
    )


def _denied(part: str, end: int) -> bool:
    rules = _rules(_Diagnosis, "diagnosis")
    return bool(rules.negations.search(" ".join(_before(rules.firm.sub(" ", part[max(0, end - _NEAR) : end])))))


def _is(part: str, start: int) -> bool:
    """ "The rash is eczema": by a verb of being close before it."""
    copulas = _rules(_Diagnosis, "diagnosis").copulas
    return any(map(copulas.fullmatch, _before(part[max(0, start - _NEAR) : start])))


def _before(part: str) -> list[str]:
    return part.split()[-_REACH:]


def _state(part: str) -> bool:
    """ "It's broken", "the nerve is being squashed", "you've torn the ligament"."""
    return any(
        _is(part, found.start()) and not _denied(part, found.start()) for found in _illness().states.finditer(part)
    )


def _grants(sentences: Sequence[Sentence], said: str) -> bool:
    """The patient has just named something as the cause, of himself and of now, and the doctor says yes."""
    rules = _rules(_Diagnosis, "diagnosis")
    if not sentences or sentences[0].question or not rules.agrees.match(sentences[0].text):
        return False
    if _weighed(sentences[0].parts, 0) or rules.past.search(said) or rules.others.search(said):
        return False
    return any(_names_something(said[begins.end() :][:_NEAR]) for begins in rules.patient_names.finditer(said))


def _illnesses(part: str, names: tuple[str, ...]) -> list[re.Match[str]]:
    known = list(_illness().names.finditer(part))
    return known + list(_further(names).finditer(part)) if names else known


@cache
def _illness() -> _Illness:
    data = _table("illness_words.toml")
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


# --- saying what to do -----------------------------------------------------------------------------------------------


def _plans(sentence: Sentence, tests: bool) -> bool:
    rules = _rules(_Plan, "plan")

    def names(text: str) -> bool:
        return bool(rules.things.search(text) or (tests and rules.tests.search(text)))

    for segment in sentence.segments:
        text = " ".join(segment)
        if rules.not_planned.search(text):
            continue
        if rules.alone.search(text):
            return True
        if names(text) and (
            rules.directs.search(text)
            or any(rules.imperatives.match(part) for part in segment)
            or any(names(part) and not rules.verbs.search(_FOR_YOU.sub(" ", part)) for part in segment)
        ):
            return True
    return False


# --- asking ----------------------------------------------------------------------------------------------------------


def _waits(sentence: Sentence, later: Sequence[Sentence]) -> bool:
    rules = _rules(_Questions, "questions")
    if not later and rules.requests.search(sentence.text):
        return True
    if not _asks(sentence) or _offers(sentence):
        return False
    return not (later and not later[0].question and rules.rhetorical.match(_led(sentence.text)))


def _asks(sentence: Sentence) -> bool:
    rules = _rules(_Questions, "questions")
    return sentence.question or any(rules.openers.match(_led(segment[0])) for segment in sentence.segments)


def _offers(sentence: Sentence) -> bool:
    rules = _rules(_Questions, "questions")
    if rules.offers.search(sentence.text):
        return True
    return sentence.question and bool(rules.tags.fullmatch(_led(sentence.parts[-1])))


def _led(part: str) -> str:
    """Without "and", "so", "please" before it."""
    leads = _rules(_Questions, "questions").leads
    while (lead := leads.match(part)) and lead.end() < len(part):
        part = part[lead.end() :].lstrip()
    return part


def _statements(sentences: Sequence[Sentence]) -> list[Sentence]:
    """Those that assert something: no questions, but "that's gout, all right?" without its tag."""
    stated = [sentence for sentence in sentences if not _asks(sentence)]
    tags = _rules(_Questions, "questions").tags
    for sentence in sentences:
        if sentence.question and len(sentence.parts) > 1 and tags.fullmatch(_led(sentence.parts[-1])):
            stated.append(Sentence(False, sentence.segments))
    return stated


# --- taking leave ----------------------------------------------------------------------------------------------------


def _takes_leave(sentence: Sentence) -> bool:
    rules = _rules(_Farewell, "farewell")
    return bool(
        not sentence.question and rules.phrases.search(sentence.text) and not rules.not_meant.search(sentence.text)
    )


def _lets_go(sentences: Sequence[Sentence], said: str) -> bool:
    """The patient is about to leave, and the doctor has no more than a friendly word."""
    rules, plan = _rules(_Farewell, "farewell"), _rules(_Plan, "plan")
    whole = " ".join(sentence.text for sentence in sentences)
    return bool(
        sentences
        and rules.patient_leaves.search(said)
        and rules.friendly.match(whole)
        and len(whole.split()) <= _FRIENDLY_WORDS
        and not any(sentence.question for sentence in sentences)
        and not any(found.search(whole) for found in (rules.business, plan.things, plan.tests, _illness().names))
    )


@cache
def _rules(kind: type[_Rules], section: str) -> _Rules:
    data = _table("speech_acts.toml")[section]
    return kind(**{field.name: phrase_pattern(data[field.name]) for field in fields(kind)})


@cache
def _table(name: str) -> dict[str, Any]:
    return tomllib.loads((_DATA / name).read_text(encoding="utf-8"))
