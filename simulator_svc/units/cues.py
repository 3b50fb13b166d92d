"""How doctors ask, as patterns made of the phrases in units/data/question_cues.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from simulator_svc.cases.model import Category
from simulator_svc.personas.effects import Occasion
from simulator_svc.words import any_of

_CUES = Path(__file__).parent / "data" / "question_cues.toml"


@dataclass(frozen=True, slots=True)
class Cues:
    categories: dict[Category, re.Pattern[str]]
    # Which facts of the present illness are of a kind, by their own words.
    kinds: dict[Category, re.Pattern[str]]
    recurrence: re.Pattern[str]
    recurrent: re.Pattern[str]
    open: re.Pattern[str]
    open_categories: tuple[Category, ...]
    more: re.Pattern[str]
    more_categories: tuple[Category, ...]
    orders: re.Pattern[str]
    # With a finding or a test beside it an order, whatever the verb: "I'd like to swab a blister".
    intents: re.Pattern[str]
    # Without a predicate these order what is named: "bloods, please", "order an echo".
    imperatives: re.Pattern[str]
    # With one of these it is a sentence, and no bare list of tests.
    predicates: re.Pattern[str]
    examines: re.Pattern[str]
    all_tests: re.Pattern[str]
    blood_tests: re.Pattern[str]
    openers: re.Pattern[str]
    fillers: re.Pattern[str]
    # Where a second question begins within a sentence.
    clauses: re.Pattern[str]
    # From here on a question speaks of a circumstance and no longer of the complaint: "worse when you cough".
    circumstance: re.Pattern[str]
    verbs: re.Pattern[str]
    illness: re.Pattern[str]
    # A word for a relative, and the first of the words that mean the same one.
    relatives: dict[str, str]
    no_order: re.Pattern[str]
    confirm: re.Pattern[str]
    asides: re.Pattern[str]
    past: re.Pattern[str]
    pointing: re.Pattern[str]
    greeting: re.Pattern[str]
    conclusion: re.Pattern[str]
    guess: re.Pattern[str]
    occasions: dict[Occasion, re.Pattern[str]]
    # An order's words that many findings share.
    vague_orders: re.Pattern[str]
    common: frozenset[str]
    # Every word of the phrases: none of them is misspelt.
    vocabulary: frozenset[str]


@lru_cache(maxsize=1024)
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    parts = [
        re.escape(phrase).replace(r"\*", r"[\w']*").replace(r"\ \.\.\ ", r"(?: [\w']+){0,4} ") for phrase in phrases
    ]
    return any_of(parts)


def phrase_pattern(phrases: Iterable[str]) -> re.Pattern[str]:
    """Any of the phrases as whole words; `*` ends a word anyhow, `..` stands for up to four words between."""
    return _pattern(tuple(sorted({" ".join(phrase.lower().split()) for phrase in phrases}, key=lambda p: (-len(p), p))))


@cache
def question_cues() -> Cues:
    data = tomllib.loads(_CUES.read_text(encoding="utf-8"))
    orders = [
        *data["orders"],
        *(f"{start} .. {verb}" for start in data["order_starts"] for verb in data["order_verbs"]),
    ]
    return Cues(
        categories={Category(name): phrase_pattern(phrases) for name, phrases in data["categories"].items()},
        kinds={Category(name): phrase_pattern(phrases) for name, phrases in data["kinds"].items()},
        recurrence=phrase_pattern(data["recurrence"]["cues"]),
        recurrent=phrase_pattern(data["recurrence"]["own"]),
        open=phrase_pattern(data["open"]["cues"]),
        open_categories=tuple(map(Category, data["open"]["categories"])),
        more=phrase_pattern(data["more"]["cues"]),
        more_categories=tuple(map(Category, data["more"]["categories"])),
        orders=phrase_pattern(orders),
        intents=phrase_pattern([*data["order_starts"], *data["order_intents"]]),
        imperatives=phrase_pattern(data["imperatives"]),
        predicates=phrase_pattern(data["predicates"]),
        examines=phrase_pattern(data["examines"]),
        all_tests=phrase_pattern(data["all_tests"]),
        blood_tests=phrase_pattern(data["blood_tests"]),
        openers=re.compile(r"^(?:" + "|".join(data["openers"]) + r")\b"),
        fillers=re.compile(r"^(?:(?:" + "|".join(data["fillers"]) + r") )+"),
        clauses=re.compile(r"(?:[,;:]|\band\b|\bor\b|\bbut\b)+\s+(?=(?:" + "|".join(data["clause_openers"]) + r")\b)"),
        circumstance=phrase_pattern(data["circumstances"]),
        verbs=phrase_pattern(data["verbs"]),
        relatives={word: same[0] for same in data["relatives"] for word in same},
        illness=phrase_pattern(data["illness"]),
        no_order=phrase_pattern(data["no_order"]),
        confirm=phrase_pattern(data["confirm"]),
        asides=phrase_pattern(data["asides"]),
        past=phrase_pattern(data["past"]),
        pointing=phrase_pattern(data["pointing"]),
        greeting=phrase_pattern(data["greeting"]),
        conclusion=phrase_pattern(data["conclusion"]),
        guess=phrase_pattern(data["guess"]),
        occasions={Occasion(name): phrase_pattern(phrases) for name, phrases in data["occasions"].items()},
        vague_orders=phrase_pattern(data["vague_orders"]),
        common=frozenset(data["common_words"]),
        vocabulary=frozenset(re.findall(r"[a-z']+", " ".join(_texts(data)))),
    )


def without(spoken: str, patterns: Iterable[re.Pattern[str]]) -> str:
    for pattern in patterns:
        spoken = pattern.sub(" ", spoken)
    return spoken


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    for part in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        yield from _texts(part)
