"""Who the patient is beside the illness. What each trait does to the words stands in personas/data/effects.toml."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Personality(StrEnum):
    INTJ = "intj"
    INTP = "intp"
    ENTJ = "entj"
    ENTP = "entp"
    INFJ = "infj"
    INFP = "infp"
    ENFJ = "enfj"
    ENFP = "enfp"
    ISTJ = "istj"
    ISFJ = "isfj"
    ESTJ = "estj"
    ESFJ = "esfj"
    ISTP = "istp"
    ISFP = "isfp"
    ESTP = "estp"
    ESFP = "esfp"


class EmotionalState(StrEnum):
    CALM = "calm"
    ANXIOUS = "anxious"
    IRRITABLE = "irritable"
    SAD = "sad"
    STOIC = "stoic"


class Level(StrEnum):
    LOW = "low"
    MIDDLE = "middle"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Persona:
    personality: Personality = Personality.ISFJ
    emotional_state: EmotionalState = EmotionalState.CALM
    health_literacy: Level = Level.MIDDLE
    occupation: str = ""
    education: Level = Level.MIDDLE
    region: str = ""
    means: Level = Level.MIDDLE
