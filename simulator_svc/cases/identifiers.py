"""The recognizers of what identifies a person: Presidio's own that need no model and no network, and the patterns of
importers/data/identifiers.toml with the word lists of names.toml.

Presidio's e-mail and URL recognizers look a list of domains up on the network, and its name recognizer wants a language
model of half a gigabyte; patterns stand in their place.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any

from presidio_analyzer import AnalyzerEngine, EntityRecognizer, Pattern, PatternRecognizer, RecognizerRegistry
from presidio_analyzer.nlp_engine import NoOpNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    IbanRecognizer,
    IpRecognizer,
    MacAddressRecognizer,
    MedicalLicenseRecognizer,
    PhoneRecognizer,
    UsItinRecognizer,
    UsMbiRecognizer,
    UuidRecognizer,
)

_DATA = Path(__file__).parent / "importers" / "data"
# Presidio's score of a pattern that needs no further context.
_SURE = 0.9
LEAST_SCORE = 0.4


class Identifier(StrEnum):
    """The 18 categories of HIPAA's Safe Harbor, 45 CFR 164.514(b)(2)(i); ages over 89 belong to dates there."""

    NAME = "name"
    PLACE = "place"
    DATE = "date"
    AGE = "age"
    PHONE = "phone"
    FAX = "fax"
    EMAIL = "email"
    SSN = "ssn"
    MEDICAL_RECORD = "medical_record"
    HEALTH_PLAN = "health_plan"
    ACCOUNT = "account"
    LICENCE = "licence"
    VEHICLE = "vehicle"
    DEVICE = "device"
    URL = "url"
    IP = "ip"
    BIOMETRIC = "biometric"
    PHOTO = "photo"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Kind:
    """What one recognizer's finding is, and what stands in its place."""

    category: Identifier
    becomes: str


# Other countries' numbers with few digits look like a blood pressure.
_PHONES = partial(PhoneRecognizer, supported_regions=("US", "CA", "GB"))
_PRESIDIO: dict[str, tuple[Callable[..., EntityRecognizer], Kind]] = {
    "PHONE_NUMBER": (_PHONES, Kind(Identifier.PHONE, "[phone]")),
    "CREDIT_CARD": (CreditCardRecognizer, Kind(Identifier.ACCOUNT, "[account]")),
    "IBAN_CODE": (IbanRecognizer, Kind(Identifier.ACCOUNT, "[account]")),
    "IP_ADDRESS": (IpRecognizer, Kind(Identifier.IP, "[ip]")),
    "MAC_ADDRESS": (MacAddressRecognizer, Kind(Identifier.DEVICE, "[device]")),
    "MEDICAL_LICENSE": (MedicalLicenseRecognizer, Kind(Identifier.LICENCE, "[licence]")),
    "US_ITIN": (UsItinRecognizer, Kind(Identifier.SSN, "[ssn]")),
    "US_MBI": (UsMbiRecognizer, Kind(Identifier.HEALTH_PLAN, "[plan number]")),
    "UUID": (UuidRecognizer, Kind(Identifier.OTHER, "[number]")),
}
_MACRO = re.compile(r"\{([A-Z]+)\}")


def expand(pattern: str) -> str:
    """The pattern with the words of identifiers.toml and names.toml in their places."""
    return _MACRO.sub(lambda found: _words()[found[1]], pattern)


@cache
def _words() -> dict[str, str]:
    names: dict[str, list[str]] = tomllib.loads((_DATA / "names.toml").read_text(encoding="utf-8"))
    heads = names["eponym_heads"]
    words = {
        "FIRST": _any(names["first_names"]),
        "GIVEN": _any([*names["first_names"], *names["first_names_that_are_words"]]),
        "EPONYM": rf"(?:{_any(names['eponyms'])}(?:['\u2019]s?)?\b)",
        "HEAD": rf"(?i:(?:{'|'.join(heads)})\b)",
        "REGION": _any(names["regions"]),
        "CITY": rf"(?:{'|'.join(names['cities'])})",
    }
    for name, value in _data()["words"].items():
        words[name] = _MACRO.sub(lambda found: words[found[1]], value if isinstance(value, str) else "|".join(value))
    known = [*names["regions"], *names["capitalised_words"], *(head.capitalize() for head in heads if head.isalpha())]
    return words | {"KNOWN": f"(?:{_any(known)}|{words['MONTHS']})"}


def _any(words: Iterable[str]) -> str:
    return "(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + ")"


@cache
def kinds() -> dict[str, Kind]:
    """By the entity that Presidio reports."""
    own = {_entity(index): Kind(Identifier(row["category"]), row["becomes"]) for index, row in enumerate(_rows())}
    return own | {entity: kind for entity, (_, kind) in _PRESIDIO.items()}


def analyzer() -> AnalyzerEngine:
    """Loads no model: every recognizer here is a pattern, a checksum or a table."""
    recognizers = [recognizer(supported_language="en") for recognizer, _ in _PRESIDIO.values()]
    for index, row in enumerate(_rows()):
        pattern = Pattern(_entity(index), expand(row["pattern"]), _SURE)
        recognizers.append(PatternRecognizer(_entity(index), patterns=[pattern], global_regex_flags=re.MULTILINE))
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=["en"])
    return AnalyzerEngine(
        registry=registry,
        nlp_engine=NoOpNlpEngine([{"lang_code": "en", "model_name": "none"}]),
        default_score_threshold=LEAST_SCORE,
    )


def _rows() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = _data()["identifier"]
    return rows


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((_DATA / "identifiers.toml").read_text(encoding="utf-8"))


def _entity(index: int) -> str:
    return f"PATTERN_{index}"
