"""Who lives how: occupations with the ages, education and means that go with them, and regions, as data."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from simulator_svc.personas.model import EmotionalState, Level, Persona

_BACKGROUNDS = Path(__file__).parent / "data" / "backgrounds.toml"


@dataclass(frozen=True, slots=True)
class Background:
    occupation: str
    # What an occupation makes of a plan: employed, studying, at_home.
    kind: str
    # Of the one who speaks, both included.
    ages: tuple[int, int]
    education: tuple[Level, ...]
    means: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Backgrounds:
    occupations: tuple[Background, ...]
    # Region -> place (remote, near).
    regions: dict[str, str]
    mood_shares: dict[EmotionalState, float]
    speaks_from_age: int
    parent_years: tuple[int, int]

    def at_age(self, age: int) -> tuple[Background, ...]:
        return tuple(row for row in self.occupations if row.ages[0] <= age <= row.ages[1])


@cache
def backgrounds() -> Backgrounds:
    data: dict[str, Any] = tomllib.loads(_BACKGROUNDS.read_text(encoding="utf-8"))
    youngest, oldest = data["speaker"]["parent_years"]
    return Backgrounds(
        occupations=tuple(
            Background(
                row["occupation"],
                row["kind"],
                (row["ages"][0], row["ages"][1]),
                tuple(map(Level, row["education"])),
                tuple(map(Level, row["means"])),
            )
            for row in data["backgrounds"]
        ),
        regions={row["region"]: row["place"] for row in data["regions"]},
        mood_shares={EmotionalState(name): float(share) for name, share in data["emotional_state_shares"].items()},
        speaks_from_age=data["speaker"]["from_age"],
        parent_years=(youngest, oldest),
    )


def kind_of_work(persona: Persona) -> str:
    """Empty for an occupation that the table does not know: a persona may come from outside."""
    return next((row.kind for row in backgrounds().occupations if row.occupation == persona.occupation), "")


def place_of(persona: Persona) -> str:
    return backgrounds().regions.get(persona.region, "")
