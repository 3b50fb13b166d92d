"""A bundle's resources around its latest encounter: times are told before it; a text is cleared when taken out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

# SNOMED's tag at the end of a term.
_TAG = re.compile(
    r"\s*\((?:disorder|finding|situation|procedure|morphologic abnormality|observable entity|regime/therapy|event)\)$"
)
_PARTIAL = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2]))?")
_WITHDRAWN = {"entered-in-error", "refuted", "cancelled", "not-done", "not-taken", "draft", "unknown"}
# A time is told in the largest unit of which it is at least so many days: name, days of one, least days.
_SPANS = (("year", 365.25, 730), ("month", 30.44, 60), ("week", 7, 14), ("day", 1, 1))


@dataclass(frozen=True)
class Chart:
    resources: dict[str, list[Any]]
    # The latest encounter, or None.
    encounter: Any
    # Its day, or the latest of any.
    today: date | None
    # Medication resources by every reference that may mean them.
    medications: dict[str, Any]
    # (text, field) -> the cleared text; raises Refused.
    clear: Callable[[str, str], str]

    @classmethod
    def of(cls, resources: dict[str, list[Any]], urls: dict[str, str], clear: Callable[[str, str], str]) -> Chart:
        """`urls` holds the fullUrl of each resource by its id."""
        encounters = [encounter for encounter in standing(resources["Encounter"]) if _starts(encounter)]
        latest = max(encounters, key=lambda encounter: _starts(encounter) or date.min, default=None)
        days = [day_of(observation.effectiveDateTime) for observation in resources["Observation"]]
        days += [day_of(condition.recordedDate) for condition in resources["Condition"]]
        medications: dict[str, Any] = {}
        for medication in resources["Medication"]:
            medications |= dict.fromkeys((f"Medication/{medication.id}", urls.get(str(medication.id), "")), medication)
        today = _starts(latest) if latest else max(filter(None, days), default=None)
        return cls(resources, latest, today, medications, clear)

    def standing(self, kind: str) -> list[Any]:
        return standing(self.resources[kind])

    def concept(self, concept: Any, field: str) -> str:
        """A CodeableConcept in words: its text, or the first display."""
        if concept is None:
            return ""
        words = concept.text or next((coding.display for coding in concept.coding or () if coding.display), "")
        return _TAG.sub("", self.clear(words, field)).strip() if words else ""

    def concepts(self, concepts: Iterable[Any] | None, field: str) -> list[str]:
        return [words for concept in concepts or () if (words := self.concept(concept, field))]

    def ago(self, when: Any, lead: str = "") -> str:
        """A date as the time before today: ", 3 weeks ago"; nothing for what began today or later."""
        day = day_of(when)
        if day is None or self.today is None or (days := (self.today - day).days) < 1:
            return ""
        unit, length = next((unit, length) for unit, length, least in _SPANS if days >= least)
        count = max(1, round(days / length))
        return f", {lead}{count} {unit}{'s' if count > 1 else ''} ago"

    def is_of_today(self, resource: Any) -> bool:
        """Whether the resource belongs to the latest encounter."""
        reference = getattr(resource, "encounter", None)
        return bool(self.encounter and self.encounter.id and reference and identifier(reference) == self.encounter.id)


def identifier(reference: Any) -> str:
    """The id that a reference means: "Encounter/7", "urn:uuid:7" and "https://x/Encounter/7" alike."""
    return re.split("[/:]", str(reference.reference or ""))[-1]


def day_of(when: Any) -> date | None:
    """A FHIR date may be a year or a month alone ("2004-05"): then its first day."""
    if isinstance(when, datetime):
        return when.date()
    if isinstance(when, str) and (partial := _PARTIAL.fullmatch(when)):
        return date(int(partial[1]), int(partial[2] or 1), 1)
    return when if isinstance(when, date) else None


def standing(resources: list[Any]) -> list[Any]:
    """Without what was withdrawn or did not happen."""

    def withdrawn(resource: Any) -> bool:
        verified = codes([getattr(resource, "verificationStatus", None)])
        return getattr(resource, "status", None) in _WITHDRAWN or bool(verified & _WITHDRAWN)

    return [resource for resource in resources if not withdrawn(resource)]


def codes(concepts: Iterable[Any] | None) -> set[str]:
    return {coding.code for concept in concepts or () if concept for coding in concept.coding or () if coding.code}


def _starts(encounter: Any) -> date | None:
    return day_of(encounter.period.start) if encounter.period else None
