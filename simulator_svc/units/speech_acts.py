"""What a doctor does with a turn: says what it is, says what to do, asks, takes leave. By rules alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from simulator_svc.dialogue import Speaker, Turn
from simulator_svc.units.asking import offers, statements, waits
from simulator_svc.units.diagnosing import accounts, diagnoses, explains, grants, illnesses
from simulator_svc.units.speech_rules import FarewellRules, PlanRules, rules_of
from simulator_svc.units.spoken import Sentence, heard, heard_words

_FRIENDLY_WORDS = 14
# Whoever goes on for longer after a word of thanks is not leaving.
_AFTER_THANKS = 8
_FOR_YOU = re.compile(r"\b(?:for|to|with) (?:you|him|her|them)\b")


@dataclass(frozen=True, slots=True)
class Acts:
    """What one turn of the doctor does."""

    diagnoses: bool
    # It names a cause that no list of illnesses holds.
    explains: bool
    # It says something of what goes on, in whatever words.
    accounts: bool
    plans: bool
    # It plans more than tests.
    treats: bool
    # It says that something will be done, whatever.
    steps: bool
    # Something in it waits for the patient: a question, or an examination that begins.
    waits: bool
    # It gives the patient the word: "any questions?"
    offers: bool
    takes_leave: bool
    # It thanks for the visit, as one does at its beginning and at its end.
    thanks: bool


def doctor_acts(dialogue: Sequence[Turn], names: tuple[str, ...]) -> list[Acts]:
    """Of each turn of the doctor, in order."""
    patient: list[str] = []
    acts: list[Acts] = []
    for turn in dialogue:
        if turn.speaker is Speaker.PATIENT:
            patient.append(turn.text)
        else:
            acts.append(acts_of(turn.text, tuple(patient), names))
    return acts


@lru_cache(maxsize=512)
def acts_of(turn: str, patient: tuple[str, ...] = (), names: tuple[str, ...] = ()) -> Acts:
    """`patient` holds the patient's turns before this one, `names` further illnesses than the data file's."""
    sentences = heard(turn)
    told = [heard_words(said) for said in patient]
    leaves = _takes_leave(sentences) or (bool(told) and _lets_go(sentences, told[-1]))
    return Acts(
        diagnoses=diagnoses(sentences, told, names),
        explains=explains(sentences) or (bool(told) and grants(sentences, told[-1])),
        accounts=not leaves and accounts(sentences),
        plans=any(_plans(sentence, told, tests=True) for sentence in statements(sentences)),
        treats=any(_plans(sentence, told, tests=False) for sentence in statements(sentences)),
        steps=any(map(_steps, statements(sentences))),
        waits=any(waits(sentence, sentences[place + 1 :]) for place, sentence in enumerate(sentences)),
        offers=any(map(offers, sentences)),
        takes_leave=leaves,
        thanks=any(rules_of(FarewellRules).thanks.search(sentence.text) for sentence in sentences),
    )


def _plans(sentence: Sentence, told: Sequence[str], tests: bool) -> bool:
    rules = rules_of(PlanRules)
    named = (rules.things, rules.tests) if tests else (rules.things,)

    def names(text: str) -> bool:
        return any(pattern.search(text) for pattern in named)

    def lists(part: str) -> bool:
        """A treatment without a verb; not one that the patient has just named, which is only heard out."""
        bare = not rules.in_passing.match(part) and not rules.verbs.search(_FOR_YOU.sub(" ", part))
        new = (found.group() for pattern in named for found in pattern.finditer(part))
        return bare and any(not told or thing not in told[-1] for thing in new)

    for segment in sentence.segments:
        text = " ".join(segment)
        if rules.not_planned.search(text):
            continue
        if rules.alone.search(text):
            return True
        if names(text) and (
            rules.directs.search(text)
            or any(rules.imperatives.match(part) or rules.begins.match(part) for part in segment)
            or any(map(lists, segment))
        ):
            return True
    return False


def _steps(sentence: Sentence) -> bool:
    rules = rules_of(PlanRules)
    return any(
        (rules.any_step.search(text) or rules.imperatives.match(text))
        and not (rules.no_step.search(text) or rules.not_planned.search(text))
        for text in map(" ".join, sentence.segments)
    )


def _takes_leave(sentences: Sequence[Sentence]) -> bool:
    rules = rules_of(FarewellRules)
    meant = [not said.question and not rules.not_meant.search(said.text) for said in sentences]
    return any(means and rules.phrases.search(said.text) for means, said in zip(meant, sentences, strict=True)) or bool(
        sentences and meant[-1] and rules.wishes.search(sentences[-1].text)
    )


def _lets_go(sentences: Sequence[Sentence], said: str) -> bool:
    """The patient is about to leave, and the doctor has no more than a friendly word."""
    rules, plan = rules_of(FarewellRules), rules_of(PlanRules)
    whole = " ".join(sentence.text for sentence in sentences)
    return bool(
        sentences
        and any(len(said[found.end() :].split()) <= _AFTER_THANKS for found in rules.patient_leaves.finditer(said))
        and rules.friendly.match(whole)
        and len(whole.split()) <= _FRIENDLY_WORDS
        and not any(sentence.question for sentence in sentences)
        and not any(found.search(whole) for found in (rules.business, plan.things, plan.tests))
        and not illnesses(whole, ())
    )
