"""Which personas play: every level of every axis as often as every other, and each axis independent of the rest.

`sample_persona` follows life, where a poor professor is rare; a classifier could then read the means off the education.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from random import Random
from typing import TypeVar

from simulator_svc.personas.model import EmotionalState, Level, Persona, Personality
from simulator_svc.personas.sample import sample_persona

T = TypeVar("T")


def balanced_personas(seed: int) -> Iterator[Persona]:
    random = Random(f"cast:{seed}")
    personalities, moods = _dealt(list(Personality), random), _dealt(list(EmotionalState), random)
    literacy, education, means = (_dealt(list(Level), random) for _ in range(3))
    for number in count():
        yield replace(
            sample_persona(seed + number),
            personality=next(personalities),
            emotional_state=next(moods),
            health_literacy=next(literacy),
            education=next(education),
            means=next(means),
        )


def axes_of(persona: Persona) -> dict[str, str]:
    """The persona as the classifier is asked for it; the personality's four letters are an axis each."""
    attitude, perception, judgement, life = persona.personality
    return {
        "extraversion": attitude,
        "intuition": perception,
        "feeling": judgement,
        "perceiving": life,
        "emotional_state": persona.emotional_state,
        "health_literacy": persona.health_literacy,
        "education": persona.education,
        "means": persona.means,
    }


def _dealt(values: list[T], random: Random) -> Iterator[T]:
    while True:
        random.shuffle(values)
        yield from list(values)
