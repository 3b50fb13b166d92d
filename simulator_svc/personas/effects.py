"""What a persona does to a reply, as data: personas/data/effects.toml, one trait after another, merged."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from simulator_svc.dialogue import Ending
from simulator_svc.personas.model import EmotionalState, Level, Persona, Personality

_EFFECTS = Path(__file__).parent / "data" / "effects.toml"


class Occasion(StrEnum):
    """What the doctor's turn gives the patient to ask about."""

    ANY = "any"
    TEST = "test"
    TREATMENT = "treatment"
    DIAGNOSIS = "diagnosis"


class Neutral(StrEnum):
    """A reply that states no fact."""

    UNSURE = "unsure"
    CONCLUDE = "conclude"
    ACKNOWLEDGE = "acknowledge"
    GREET = "greet"
    TOLD_ALL = "told_all"


@dataclass(frozen=True, slots=True)
class AskBack:
    when: Occasion
    share: float
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Effects:
    facts_per_turn: int
    volunteers: float
    # Share of turns in which this patient shows a feeling.
    feeling_share: float
    # For the model's prompt.
    manner: str
    begins: tuple[str, ...]
    examples: tuple[str, ...]
    starters: tuple[str, ...]
    starter_share: float
    ask_backs: tuple[AskBack, ...]

    @property
    def terse(self) -> bool:
        return self.facts_per_turn <= 2

    def neutral(self, kind: Neutral, random: Random) -> str:
        return random.choice(_texts("replies", kind, self.terse))

    def closing(self, ending: Ending, random: Random) -> str:
        return random.choice(_texts("closings", ending, self.terse))

    def starter(self, random: Random) -> str:
        return random.choice(self.starters) if self.starters and random.random() < self.starter_share else ""

    def ask_back(self, occasions: Iterable[Occasion], random: Random) -> str:
        """The first thing that this patient wants to know now, if any. What the doctor just said goes before a mood."""
        given = set(occasions)
        fitting = [ask for ask in self.ask_backs if ask.when in given and ask.when is not Occasion.ANY]
        fitting += [ask for ask in self.ask_backs if ask.when is Occasion.ANY]
        for ask in fitting:
            if random.random() < ask.share:
                return random.choice(ask.texts)
        return ""


@cache
def effects_of(persona: Persona) -> Effects:
    table = _table()
    character: dict[str, Any] = table["personality"][persona.personality]
    mood: dict[str, Any] = table["emotional_state"][persona.emotional_state]
    background = (
        table["means"][persona.means],
        table["education"][persona.education],
        table["health_literacy"][persona.health_literacy],
    )
    manners = [character["manner"], mood["manner"], *(trait["manner"] for trait in background)]
    return Effects(
        facts_per_turn=character["facts_per_turn"],
        volunteers=character["volunteers"],
        feeling_share=min(1.0, mood["feeling_share"] * character["feeling"]),
        manner=", ".join(manner for manner in manners if manner),
        begins=tuple(mood["begins"]),
        examples=tuple(mood["examples"]),
        starters=tuple(character["starters"]),
        starter_share=character["starter_share"],
        ask_backs=tuple(
            AskBack(Occasion(ask["when"]), ask["share"], tuple(ask["texts"]))
            for trait in (*background, mood)
            for ask in trait.get("ask_backs", ())
        ),
    )


def scripted_texts() -> list[str]:
    """Every text of the data file that a patient may say as it stands."""
    table = _table()
    lines = [text for group in ("replies", "closings") for kind in table[group].values() for text in _flat(kind)]
    for kind in (*Personality, *EmotionalState):
        trait = table["personality"].get(kind) or table["emotional_state"].get(kind)
        lines += [text for ask in trait.get("ask_backs", ()) for text in ask["texts"]]
    for group in ("health_literacy", "education", "means"):
        lines += [text for level in Level for ask in table[group][level].get("ask_backs", ()) for text in ask["texts"]]
    return lines


def _flat(kind: dict[str, list[str]]) -> list[str]:
    return [text for texts in kind.values() for text in texts]


def _texts(group: str, kind: str, terse: bool) -> list[str]:
    texts: list[str] = _table()[group][kind]["short" if terse else "long"]
    return texts


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(_EFFECTS.read_text(encoding="utf-8"))
