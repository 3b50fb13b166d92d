"""What a persona does to a reply, as data: personas/data/effects.toml, one trait after another, merged."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import Any

from simulator_svc.dialogue import Ending
from simulator_svc.personas.backgrounds import kind_of_work, place_of
from simulator_svc.personas.model import Persona

# Of the replies of those who have one.
_TAIL_SHARE = 0.4
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
    lead_share: float
    remark_share: float
    # Share of the replies with answers left short ("two hours ago"), and of those whose sentences run into one another.
    clips: float
    runs_on: float
    # One row a trait that has something to say.
    leads: tuple[tuple[str, ...], ...]
    remarks: tuple[tuple[str, ...], ...]
    tails: tuple[str, ...]
    ask_backs: tuple[AskBack, ...]

    @property
    def terse(self) -> bool:
        return self.facts_per_turn <= 2

    @property
    def starters(self) -> tuple[str, ...]:
        """The leads that a sentence goes on from: "Well,"."""
        return tuple(lead for row in self.leads for lead in row if lead.endswith(","))

    def neutral(self, kind: Neutral, random: Random) -> str:
        return random.choice(_texts("replies", kind, self.terse))

    def closing(self, ending: Ending, random: Random) -> str:
        return random.choice(_texts("closings", ending, self.terse))

    def lead(self, random: Random, said: str = "") -> str:
        """What begins the reply, if anything. Nothing that stands in `said` already."""
        return _one_of(self.leads, said, random) if random.random() < self.lead_share else ""

    def remark(self, random: Random, said: str = "") -> str:
        """What this patient adds of himself, if anything."""
        return _one_of(self.remarks, said, random) if random.random() < self.remark_share else ""

    def tail(self, random: Random) -> str:
        """What this patient hangs on to a statement, if anything: "doctor"."""
        return random.choice(self.tails) if self.tails and random.random() < _TAIL_SHARE else ""

    def ask_back(self, occasions: Iterable[Occasion], random: Random, said: str = "") -> str:
        """One thing that this patient wants to know now, if any. What the doctor just said goes before a mood."""
        given = set(occasions)
        fitting = [ask for ask in self.ask_backs if ask.when in given and ask.when is not Occasion.ANY]
        # Several traits may want the same occasion: none of them always gets it.
        random.shuffle(fitting)
        fitting += [ask for ask in self.ask_backs if ask.when is Occasion.ANY]
        for ask in fitting:
            if random.random() < ask.share:
                return _one_of((ask.texts,), said, random)
        return ""


# A persona holds free text, so there is no end of them.
@lru_cache(maxsize=512)
def effects_of(persona: Persona) -> Effects:
    table = _table()
    character: dict[str, Any] = table["personality"][persona.personality]
    mood: dict[str, Any] = table["emotional_state"][persona.emotional_state]
    letters: list[dict[str, Any]] = [table["letters"][letter] for letter in persona.personality]
    background: list[dict[str, Any]] = [
        table["means"][persona.means],
        table["education"][persona.education],
        table["health_literacy"][persona.health_literacy],
    ]
    circumstances = [
        table[group][kind]
        for group, kind in (("occupation", kind_of_work(persona)), ("place", place_of(persona)))
        if kind
    ]
    manners = [trait["manner"] for trait in (character, mood, *background)]
    traits = [*letters, mood, *background, *circumstances]
    return Effects(
        facts_per_turn=character["facts_per_turn"],
        volunteers=character["volunteers"],
        feeling_share=min(1.0, mood["feeling_share"] * character["feeling"]),
        manner=", ".join(manner for manner in manners if manner),
        begins=tuple(mood["begins"]),
        examples=tuple(mood["examples"]),
        lead_share=letters[0]["lead_share"],
        remark_share=letters[0]["remark_share"],
        clips=letters[0]["clips"],
        runs_on=letters[3]["runs_on"],
        leads=_rows(traits, "leads"),
        remarks=_rows([*traits, *background], "remarks"),
        tails=tuple(trait["tail"] for trait in traits if "tail" in trait),
        ask_backs=tuple(
            AskBack(Occasion(ask["when"]), ask["share"], tuple(ask["texts"]))
            for trait in traits
            for ask in trait.get("ask_backs", ())
        ),
    )


def scripted_texts() -> list[str]:
    """Every text of the data file that a patient may say as it stands."""
    table = _table()
    lines = [text for group in ("replies", "closings") for kind in table[group].values() for text in _flat(kind)]
    for group in ("letters", "emotional_state", "health_literacy", "education", "means", "occupation", "place"):
        for trait in table[group].values():
            lines += trait.get("remarks", ())
            lines += [lead for lead in trait.get("leads", ()) if not lead.endswith(",")]
            lines += [text for ask in trait.get("ask_backs", ()) for text in ask["texts"]]
    return lines


def _rows(traits: Iterable[Mapping[str, Any]], kind: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(trait[kind]) for trait in traits if trait.get(kind))


def _one_of(rows: Sequence[Sequence[str]], said: str, random: Random) -> str:
    """A trait by lot, then a text of it that this patient has not said yet; a particle ("Well,") wears off later."""
    texts = random.choice(rows) if rows else ()
    fresh = [text for text in texts if text.endswith(",") or text not in said]
    return random.choice(fresh) if fresh else ""


def _flat(kind: dict[str, list[str]]) -> list[str]:
    return [text for texts in kind.values() for text in texts]


def _texts(group: str, kind: str, terse: bool) -> list[str]:
    texts: list[str] = _table()[group][kind]["short" if terse else "long"]
    return texts


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(_EFFECTS.read_text(encoding="utf-8"))
