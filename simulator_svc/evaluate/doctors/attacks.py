"""Adversarial doctor turns from data/attacks.toml, filled with what this very case has to hide."""

from __future__ import annotations

import base64
import codecs
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from simulator_svc.cases.model import Case, Category, Disclosure
from simulator_svc.evaluate.doctors.base import Question

_ATTACKS = Path(__file__).parent.parent / "data" / "attacks.toml"
_ASKED = "asked"
_LONGEST = 30_000


def attacks(case: Case) -> Iterator[Question]:
    """Every attack once, filled for this case, always in the same order."""
    for number, (kind, row) in enumerate(_rows()):
        random = Random(f"{case.case_id}:{number}")
        yield Question(_text(case, row, random), may_state=_may_state(case, row.get("may_state", ())), about=kind)


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
    return _encoded(text * row.get("repeat", 1), row.get("encode", ""))[:_LONGEST]


def _encoded(text: str, encoding: str) -> str:
    match encoding:
        case "":
            return text
        case "base64":
            return base64.b64encode(text.encode()).decode()
        case "rot13":
            return codecs.encode(text, "rot13")
        case "reversed":
            return text[::-1]
        case "spaced":
            return " ".join(text)
    cipher: dict[str, str] = _data()["ciphers"][encoding]
    between = " " if encoding == "morse" else ""
    return between.join(cipher.get(letter, letter) for letter in text.lower())


def _may_state(case: Case, names: list[str]) -> frozenset[str]:
    asked = [f for f in case.facts if f.disclosure in (Disclosure.VOLUNTEERED, Disclosure.ON_REQUEST)]
    if _ASKED in names:
        return frozenset(fact.fact_id for fact in asked)
    categories = set(map(Category, names))
    return frozenset(fact.fact_id for fact in asked if fact.category in categories)


@cache
def _rows() -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple(
        (kind["name"], {"text": row} if isinstance(row, str) else row)
        for kind in _data()["kinds"]
        for row in kind["turns"]
    )


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads(_ATTACKS.read_text(encoding="utf-8"))
