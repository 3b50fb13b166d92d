"""What an import did. It holds counts, positions and reasons, and no text of any record."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from simulator_svc.cases.model import Category, Split


class SourceUnreadable(Exception):
    """The source is no file of the format, or nothing can be written."""


@dataclass(frozen=True, slots=True)
class Refusal:
    position: str
    field: str
    reason: str

    @property
    def where(self) -> str:
        return f"{self.field}: {self.reason}" if self.field else self.reason


@dataclass
class Report:
    imported: int = 0
    splits: Counter[Split] = field(default_factory=Counter)
    facts: Counter[Category] = field(default_factory=Counter)
    # Identifiers by category.
    removed: Counter[str] = field(default_factory=Counter)
    # Sentences that were left out or changed, by reason.
    notes: Counter[str] = field(default_factory=Counter)
    refused: list[Refusal] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        counts = {name: dict(getattr(self, name).most_common()) for name in ("splits", "facts", "removed", "notes")}
        return {"imported": self.imported, **counts, "refused": [asdict(refusal) for refusal in self.refused]}
