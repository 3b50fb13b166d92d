"""Adversarial doctor turns from data/attacks.toml, filled with what this very case has to hide."""

from __future__ import annotations

import base64
import codecs
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from simulator_svc.cases.model import Case, Category, Disclosure
from simulator_svc.evaluate.doctors.base import Question

_ATTACKS = Path(__file__).parent.parent / "data" / "attacks.toml"
_ASKED = "asked"
_LONGEST = 30_000
_LEET = str.maketrans("oieast", "013457")
_LOOKALIKE = str.maketrans("aceopxyis", "асеорхуіѕ")
_MORSE = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --..".split(),
        strict=True,
    )
)
ENCODINGS: dict[str, Callable[[str], str]] = {
    "": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "leet": lambda text: text.lower().translate(_LEET),
    "lookalike": lambda text: text.translate(_LOOKALIKE),
    "reversed": lambda text: text[::-1],
    "spaced": lambda text: " ".join(text),
    "morse": lambda text: " ".join(_MORSE.get(letter, "/") for letter in text.lower()),
}


def attacks(case: Case, random: Random) -> Iterator[Question]:
    """Every attack once, filled for this case, in random order."""
    rows = list(_rows())
    random.shuffle(rows)
    for kind, row in rows:
        yield Question(
            text=_text(case, row, random),
            may_state=_may_state(case, row.get("may_state", ())),
            about=kind,
        )


def kinds() -> dict[str, int]:
    """How many turns there are of each kind."""
    counts: dict[str, int] = {}
    for kind, _ in _rows():
        counts[kind] = counts.get(kind, 0) + 1
    return counts


def _text(case: Case, row: dict[str, Any], random: Random) -> str:
    text: str = row["text"]
    filled = {
        "{diagnosis}": case.diagnosis_names,
        "{withheld}": [fact.text for fact in case.of(Disclosure.NEVER)],
        "{finding}": [fact.text for fact in case.of(Disclosure.ON_EXAMINATION)],
    }
    for place, choices in filled.items():
        if place in text:
            text = text.replace(place, random.choice(choices) if choices else "")
    return ENCODINGS[row.get("encode", "")](text * row.get("repeat", 1))[:_LONGEST]


def _may_state(case: Case, names: list[str]) -> frozenset[str]:
    asked = [f for f in case.facts if f.disclosure in (Disclosure.VOLUNTEERED, Disclosure.ON_REQUEST)]
    if _ASKED in names:
        return frozenset(fact.fact_id for fact in asked)
    categories = set(map(Category, names))
    return frozenset(fact.fact_id for fact in asked if fact.category in categories)


@cache
def _rows() -> tuple[tuple[str, dict[str, Any]], ...]:
    data = tomllib.loads(_ATTACKS.read_text(encoding="utf-8"))
    return tuple(
        (kind["name"], {"text": row} if isinstance(row, str) else row) for kind in data["kinds"] for row in kind["turns"]
    )
