"""De-identification: what comes out of `clear` holds none of HIPAA's 18 Safe Harbor categories, or nothing comes out.

Each finding is replaced so that the sentence stays true and sayable ("Dr. X" -> "the doctor", "on 3 May 2021" ->
"in 2021"). Where nothing can stand in its place ("since 3 May", a number) a mark in square brackets does, and the
importer leaves out the sentence that bears it. What cannot be judged is refused: a possible name left over, encoded
data, another script. A removed value is never kept, returned, logged or put into an error.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

from presidio_anonymizer import AnonymizerEngine
from presidio_anonymizer.entities import ConflictResolutionStrategy, OperatorConfig, RecognizerResult

from simulator_svc.cases.identifiers import Identifier, analyzer, expand, kinds

# What stands for something that was removed and leaves its sentence unsayable.
MARK = re.compile(r"\[(?:[a-z]+ ?)+\]")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_PASSES = 4
# Between texts that are cleared at once: no readable text holds it, and no pattern reaches across.
_SEPARATOR = "\ue000"
_BETWEEN = f"\n{_SEPARATOR}\n"
# Where a phrase was taken out.
_GAP = "\u25cb"
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_SPACES = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\x80-\x9f\ue000-\uf8ff\ufffd]")
_ENCODED = re.compile(
    r"data:[\w/+.-]*;base64|(?<![\w/+])(?=[^\s]*[a-z])(?=[^\s]*[A-Z])(?=[^\s]*\d)[A-Za-z0-9+/]{40,}={0,2}"
)
# Of other alphabets than the Latin one: Greek letters and signs that stand for units.
_LETTERS = ("LATIN", "GREEK", "MICRO", "OHM", "KELVIN", "ANGSTROM", "SUPERSCRIPT", "SUBSCRIPT", "SCRIPT SMALL")
_ORDINALS = ("FEMININE ORDINAL INDICATOR", "MASCULINE ORDINAL INDICATOR")
_MEDICAL_END = (
    r"(?:itis|osis|asis|emia|aemia|oma|omas|pathy|ine|ol|in|ic|al|ary|ous|ia|ide|ate|one|am|pril|olol|mab|statin|azole|cillin|mycin"
    r"|ism|tion|sion|ment|scopy|graphy|gram|tomy|ectomy|logy|cal|ive|able|ed|ing|ity|ness|ency|ancy|ure|ose|ase|gen|cyte|ular|oid)"
)
_TITLE = "(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof)"
_LEFTOVERS = (
    (rf"\b{_TITLE}\.?\s+[A-Z][a-z]", "a capitalised word after a title"),
    (
        r"(?<=[a-z,;]\s)(?!{KNOWN}\b)(?!{EPONYM})(?!\w+"
        + _MEDICAL_END
        + r"\b)[A-Z][a-z]{2,}\s+(?!{KNOWN}\b)(?!{EPONYM})"
        r"(?!\w+" + _MEDICAL_END + r"\b)[A-Z][a-z]{2,}\b(?!\s*(?:['\u2019]s?)?[\s-]+{HEAD})",
        "two capitalised words that may be a name",
    ),
)


class NotCleared(ValueError):
    """Says why a text cannot be cleared, and never what stands in it."""


class Deidentifier:
    """Counts what it removes. One instance a run; not for several threads."""

    def __init__(self) -> None:
        self.removed: Counter[Identifier] = Counter()
        self._analyzer = analyzer()
        self._anonymizer = AnonymizerEngine()
        self._keys: dict[str, bool] = {}
        self._operators = {
            entity: OperatorConfig("custom", {"lambda": partial(_replacement, kind.becomes)})
            for entity, kind in kinds().items()
        }

    def clear(self, text: str, known: Mapping[str, str] | None = None) -> str:
        """`known` holds values that identify for certain (a structured record's own name fields), and what stands for
        each wherever it occurs, also after a title.

        Raises NotCleared.
        """
        text = readable(text)
        for value, becomes in sorted((known or {}).items(), key=lambda pair: len(pair[0]), reverse=True):
            text, count = re.subn(rf"(?i)(?<!\w)(?:{_TITLE}\.?\s+)?{re.escape(value)}(?!\w)", becomes, text)
            self.removed[Identifier.NAME] += count
        cleared = self._without_identifiers(_tidy(text) if known else text)
        self.refuse_leftovers(cleared)
        return cleared

    def clear_all(self, texts: Sequence[str]) -> list[str]:
        """A record's texts at once, which takes a fraction of the time; what may be left is the caller's to refuse.

        Raises NotCleared. The texts are as `readable` returns them.
        """
        joined = self._without_identifiers(_BETWEEN.join(texts)) if texts else ""
        return [text.strip() for text in joined.split(_SEPARATOR)] if texts else []

    def refuse_leftovers(self, text: str) -> None:
        for pattern, reason in self._leftovers:
            if pattern.search(text):
                raise NotCleared(reason)

    def allows_key(self, key: str) -> bool:
        """Whether a field's name identifies nobody; its words may all have capitals ("Complete_Blood_Count")."""
        if key not in self._keys:
            try:
                self._keys[key] = not self._analyzer.analyze(readable(key.replace("_", " ")), language="en")
            except NotCleared:
                self._keys[key] = False
        return self._keys[key]

    def _without_identifiers(self, text: str) -> str:
        for _ in range(_PASSES):
            found = self._analyzer.analyze(text, language="en")
            if not found:
                return text
            text = self._replaced(text, [RecognizerResult(f.entity_type, f.start, f.end, f.score) for f in found])
        raise NotCleared("identifiers that do not come off")

    def _replaced(self, text: str, found: list[RecognizerResult]) -> str:
        strategy = ConflictResolutionStrategy.REMOVE_INTERSECTIONS
        result = self._anonymizer.anonymize(text, found, self._operators, strategy, merge_entities_with_spaces=False)
        self.removed.update(kinds()[item.entity_type].category for item in result.items)
        return _BETWEEN.join(map(_tidy, result.text.split(_SEPARATOR)))

    @cached_property
    def _leftovers(self) -> list[tuple[re.Pattern[str], str]]:
        return [(re.compile(expand(pattern)), reason) for pattern, reason in _LEFTOVERS]


def readable(text: str) -> str:
    """One line of Latin text without invisible characters, so that no identifier hides between them."""
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text)).replace("\u2019", "'").replace("\u2011", "-")
    if _CONTROL.search(text):
        raise NotCleared("binary data")
    if _ENCODED.search(text):
        raise NotCleared("encoded data")
    for letter in set(filter(str.isalpha, text)):
        name = unicodedata.name(letter, "")
        if not any(known in name for known in _LETTERS) and name not in _ORDINALS:
            raise NotCleared("text in another script")
    return _SPACES.sub(" ", text).strip()


def _replacement(becomes: str, found: str) -> str:
    if "{year}" not in becomes:
        return becomes or _GAP
    if year := _YEAR.search(found):
        return becomes.format(year=year[0])
    return _GAP if becomes.startswith("in") else "[date]"


def _tidy(text: str) -> str:
    """Closes the gap that a removed phrase left (\u25cb marks it)."""
    text = re.sub(r"^\u25cb,?\s*(\w)", lambda match: match[1].upper(), text)
    text = re.sub(r"([.!?]\s+)\u25cb,?\s*(\w)", lambda match: match[1] + match[2].upper(), text)
    text = re.sub(r",?\s*\u25cb\s*(?=[.,;:!?]|$)", "", text)
    text = re.sub(r"\s*\u25cb\s*", " ", text)
    text = re.sub(r"\(\s*\)", "", text)
    # A sentence begins with a capital, and an article is not said twice.
    text = re.sub(r"(?:^|(?<=[.!?]\s))(the|a|in|someone)\b", lambda match: match[1].capitalize(), text)
    text = re.sub(
        r"\b(?:[Tt]he|[Hh]er|[Hh]is|[Aa]n?) (?=(?:the|a) (?:doctor|nurse|patient|hospital|school|city|town|county)\b)",
        "",
        text,
    )
    return _SPACES.sub(" ", text).strip()
