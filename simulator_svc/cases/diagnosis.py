"""Every name that a diagnosis goes by, so that no patient says one of them, and sentences cut free of them.

The words that this turns on stand in importers/data/diagnosis.toml.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from simulator_svc.units.claims import names_any
from simulator_svc.words import split_sentences, words

_DATA = Path(__file__).parent / "importers" / "data" / "diagnosis.toml"
# The contract's limits.
_SHORTEST, _LONGEST, _MOST = 2, 128, 64
# What is left of "Crohn disease" must be long enough to be a name.
_SHORTEST_ALONE = 5
_SMALL = ("of", "the", "and", "to", "with", "in")


def names_of(diagnoses: Iterable[str], record: str = "") -> tuple[str, ...]:
    """The first is the preferred one. `record` is the whole record's text: an initialism counts where it is used."""
    found: list[str] = []
    for diagnosis in diagnoses:
        whole = re.sub(r"\s+", " ", diagnosis).strip(" .;,")
        plain = re.sub(r"\s*\([^)]*\)", "", whole).strip()
        parts = [part.strip(" .;,-") for part in _apart().split(whole)]
        for name in (plain, *re.findall(r"\(([^)]+)\)", whole), *_whole_names(parts)):
            found += _forms(name)
        initials = "".join(
            word[0] for word in re.split(r"[\s-]+", plain) if word and word.lower() not in _SMALL
        ).upper()
        if 3 <= len(initials) <= 5 and re.search(rf"\b{re.escape(initials)}\b", record):
            found.append(initials)
    usable = [name for name in found if _SHORTEST <= len(name) <= _LONGEST and name.lower() not in _rules()["words"]]
    return tuple(dict.fromkeys(usable))[:_MOST]


def tells(text: str, names: tuple[str, ...]) -> bool:
    """It says one of the names, or all words of one in a sentence: "narrowing of the aorta, a coarctation"."""
    if names_any(text, names):
        return True
    wanted = [{_alike(word) for word in words(name) if word not in _SMALL} for name in names]
    told = [set(map(_alike, words(sentence))) for sentence in split_sentences(text)]
    return any(len(name) > 1 and name <= said for name in wanted for said in told)


def cut_free(sentence: str, names: tuple[str, ...]) -> tuple[str, str]:
    """The sentence without its interpretation ("..., consistent with X"), and the interpretation.

    ("", the sentence) where what is left would name the diagnosis too.
    """
    for found in _interprets().finditer(sentence):
        kept = sentence[: found.start()].rstrip(" ,;(")
        if len(kept.split()) >= 2 and not tells(kept, names):
            return kept, sentence[found.start() :].strip(" ,;()")
    bare = re.sub(r"\s*\([^)]*\)", "", sentence)
    return (bare, sentence) if bare != sentence and not tells(bare, names) else ("", sentence)


def _alike(word: str) -> str:
    return word.removesuffix("'s").rstrip("s")


def _whole_names(parts: list[str]) -> list[str]:
    """A part of one word alone is often no name ("pregnancy"), but the first is the disease."""
    return [part for index, part in enumerate(parts) if index == 0 or len(part.split()) > 1]


def _forms(name: str) -> list[str]:
    """The name, without what says its course or kind, and in the other spelling."""
    forms = [name.strip(), _course().sub("", name.strip())]
    alone = _kind().sub("", forms[-1])
    if alone != forms[-1] and len(alone) >= _SHORTEST_ALONE and alone[0].isupper():
        forms.append(alone)
    for one, other in _rules()["spellings"]:
        for form in list(forms):
            if one in form.lower():
                forms.append(re.sub(one, other, form, flags=re.IGNORECASE))
            elif other in form.lower():
                forms.append(re.sub(other, one, form, flags=re.IGNORECASE))
    return [form for form in forms if form]


@cache
def _rules() -> dict[str, Any]:
    return tomllib.loads(_DATA.read_text(encoding="utf-8"))


def _one_of(name: str) -> str:
    return "(?:" + "|".join(_rules()[name]) + ")"


@cache
def _course() -> re.Pattern[str]:
    return re.compile(rf"(?i)^(?:{_one_of('course')}[ -]+)+")


@cache
def _kind() -> re.Pattern[str]:
    return re.compile(rf"(?i) {_one_of('kinds')}$")


@cache
def _apart() -> re.Pattern[str]:
    return re.compile(rf"(?i)\s*(?:[();/]|\b{_one_of('apart')}\b)\s*|,\s+(?!and\b)")


@cache
def _interprets() -> re.Pattern[str]:
    begins = r"(?:[,;]\s*(?:which (?:is|are) )?|\s+(?:that (?:is|are) )?|\s*\()"
    return re.compile(rf"(?i){begins}(?:(?:is |are |was |were )?(?:most |highly |strongly )?{_one_of('interprets')})\b")
