"""What an importer makes of one record: statements in categories, before they are worded, named and written."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from simulator_svc.cases.model import Category, Manner, Sex


class Format(StrEnum):
    """What a source may be in; each has a module of its name."""

    OSCE = "osce"
    MEDIQ = "mediq"
    FHIR = "fhir"
    DIALOGUE = "dialogue"


class Refused(ValueError):
    """Why a record is not imported, and where in it; never what stands there."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason, self.field = reason, field


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence or fragment of the record."""

    category: Category
    text: str
    # What a finding is of: "blood pressure".
    label: str = ""
    # The patient's own sentence, where the source is a conversation.
    spoken: str = ""
    # Words of a question that call for it, beyond those of its own.
    cues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Draft:
    """A record with every text cleared."""

    age_years: int
    sex: Sex | None
    source: str
    statements: list[Statement]
    diagnoses: list[str] = field(default_factory=list)
    # What no patient says, beside the names of the diagnosis: the answer of an examination question.
    secrets: list[str] = field(default_factory=list)
    specialty: str = ""
    manner: Manner | None = None
