"""The little English that rewording needs, over the verb lists of importers/data/wording.toml."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

_RULES = Path(__file__).parent / "importers" / "data" / "wording.toml"
_IRREGULAR = {
    "is": "am", "isn't": "am not", "has": "have", "hasn't": "haven't", "does": "do", "doesn't": "don't", "goes": "go",
    "are": "am", "aren't": "am not", "were": "was",
}  # fmt: skip
# End in "s" and are no third person.
_UNCHANGED = frozenset(
    {"always", "was", "perhaps", "sometimes", "besides", "as", "this", "his", "its", "towards", "yes"}
)
# A pronoun has a verb after it; what begins with "the" or "his" and goes on for long is a sentence in these records.
_SUBJECT_AND_VERB = re.compile(
    r"(?i)\b(?:he|she|they|i) [a-z]+|^(?:the )?patient [a-z]+(?:s|ed)\b|^(?:the|his|her|my|patient's|this) (?:\S+ ){4}"
)
_SHORT_SUBJECT = (
    r"(?:[\w' -]+, )?(?:(?:she|he|it|they|i|who|which|that|symptoms?|pain|vision|patient|pt|mother|father)"
    r"|(?:the|this|these|his|her|their|my|patient's|physical|laboratory) (?:[\w'-]+ ){0,3}?[\w'-]+)"
)


@cache
def rules() -> dict[str, Any]:
    """The tables of wording.toml."""
    return tomllib.loads(_RULES.read_text(encoding="utf-8"))


@cache
def one_of(name: str) -> str:
    """The list of that name as a regular expression, the longest first."""
    return "(?:" + "|".join(sorted(rules()[name], key=len, reverse=True)) + ")"


def base_form(verb: str) -> str:
    """The verb as it follows "I"; what is no third person stays."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if not verb.endswith("s") or verb in _UNCHANGED or verb.endswith(("ss", "us")):
        return verb
    if verb.endswith("ies") and len(verb) > 4:
        return verb[:-3] + "y"
    if verb.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")):
        return verb[:-2]
    return verb[:-1]


def is_clause(text: str) -> bool:
    """Whether the text says something of something: it has a finite verb after its first word."""
    if _no_subject().match(text):
        return False
    found = _finite().search(text)
    return bool((found and found.start() > 0) or _doubtful().match(text) or _SUBJECT_AND_VERB.search(text))


def begins_with_verb(text: str) -> bool:
    """ "Denies fever", "Works as a teacher": the subject was left out."""
    first = text.split(" ", 1)[0].lower()
    return first in rules()["verbs"] or first in ("denied", "denying")


def lower_first(text: str) -> str:
    """In mid-sentence; what is written in capitals, "I" and what bears a capital inside stays."""
    first = re.split(r"[\s,.;:/'-]", text, maxsplit=1)[0]
    if first == "I" or not first[:1].isupper() or not (first[1:].islower() or first == "A"):
        return text
    return text[:1].lower() + text[1:]


def lower_words(text: str) -> str:
    """A heading in running text: "Chest CT" -> "chest CT"."""
    words = text.split()
    return " ".join(word if any(map(str.isupper, word[1:])) or not word.isalpha() else word.lower() for word in words)


@cache
def _finite() -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<!that )(?<!which )(?<!who )\b{one_of('finite')}\b(?!-)")


@cache
def _no_subject() -> re.Pattern[str]:
    return re.compile(rf"(?i)^{one_of('no_subject')}\b(?! (?:of|other)\b.* (?:is|are|was|were)\b)")


@cache
def _doubtful() -> re.Pattern[str]:
    return re.compile(rf"(?i)^{_SHORT_SUBJECT} {one_of('doubtful')}\b")
