"""Whom a library covers: its cases by specialty, age and sex.

Every case is counted in exactly one cell, and a band without a case stands there as 0, so that a gap shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from simulator_svc.cases.model import Case, Sex, Split

# The youngest age of each band, in years; the last one is open above.
_BANDS = {"0-4": 0, "5-17": 5, "18-39": 18, "40-64": 40, "65+": 65}
BANDS = tuple(_BANDS)
# A case that does not say which (imported) is counted all the same.
UNKNOWN = "unknown"
SEXES = (*Sex, UNKNOWN)


def age_band(age_years: int) -> str:
    return next(band for band in reversed(BANDS) if age_years >= _BANDS[band])


@dataclass(frozen=True, slots=True)
class Coverage:
    # Cases by (specialty, age band, sex).
    cells: Counter[tuple[str, str, str]]
    prevalence: Counter[str]
    splits: Counter[str]

    @classmethod
    def of(cls, cases: Iterable[Case]) -> Coverage:
        found = list(cases)
        return cls(
            cells=Counter((case.specialty, age_band(case.age_years), case.sex or UNKNOWN) for case in found),
            prevalence=Counter(case.prevalence or UNKNOWN for case in found),
            splits=Counter(case.split or UNKNOWN for case in found),
        )

    @property
    def specialties(self) -> list[str]:
        return sorted({specialty for specialty, _, _ in self.cells})

    def count(self, specialty: str = "", band: str = "", sex: str = "") -> int:
        """Of the cases that match; an empty argument matches all."""
        wanted = (specialty, band, sex)
        return sum(
            number
            for cell, number in self.cells.items()
            if all(value in ("", own) for value, own in zip(wanted, cell, strict=True))
        )

    def empty(self) -> list[tuple[str, Sex]]:
        """Each age band and sex without a case in any specialty."""
        return [(band, sex) for band in BANDS for sex in Sex if not self.count(band=band, sex=sex)]

    def as_json(self) -> dict[str, Any]:
        return {
            "cases": self.count(),
            "specialties": {specialty: self._bands(specialty) for specialty in self.specialties},
            "all": self._bands(),
            "empty": [{"age": band, "sex": sex} for band, sex in self.empty()],
            "prevalence": dict(sorted(self.prevalence.items())),
            "splits": {split: self.splits[split] for split in (*Split, *sorted(set(self.splits) - set(Split)))},
        }

    def _bands(self, specialty: str = "") -> dict[str, dict[str, int]]:
        return {band: {sex: self.count(specialty, band, sex) for sex in SEXES} for band in BANDS}
