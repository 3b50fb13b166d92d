"""A persona is a function of its seed, so that every turn of a consultation meets the same patient."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from simulator_svc.personas.model import EmotionalState, Level, Persona, Personality

_BACKGROUNDS = Path(__file__).parent / "data" / "backgrounds.toml"


@dataclass(frozen=True, slots=True)
class Background:
    """An occupation with the education and means that usually go with it."""

    occupation: str
    education: tuple[Level, ...]
    means: tuple[Level, ...]


def sample_persona(seed: int) -> Persona:
    backgrounds, regions, moods = _tables()
    random = Random(f"persona:{seed}")
    background = random.choice(backgrounds)
    education = random.choice(background.education)
    # Health literacy follows education, but not always.
    literacy = education if random.random() < 0.7 else random.choice(list(Level))
    return Persona(
        personality=random.choice(list(Personality)),
        emotional_state=random.choices(list(moods), weights=list(moods.values()))[0],
        health_literacy=literacy,
        occupation=background.occupation,
        education=education,
        region=random.choice(regions),
        means=random.choice(background.means),
    )


@cache
def _tables() -> tuple[tuple[Background, ...], tuple[str, ...], dict[EmotionalState, float]]:
    data: dict[str, Any] = tomllib.loads(_BACKGROUNDS.read_text())
    backgrounds = tuple(
        Background(row["occupation"], tuple(map(Level, row["education"])), tuple(map(Level, row["means"])))
        for row in data["backgrounds"]
    )
    moods = {EmotionalState(name): float(share) for name, share in data["emotional_state_shares"].items()}
    return backgrounds, tuple(data["regions"]), moods
