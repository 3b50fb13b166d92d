"""What `anamnesis simulator evaluate` lets one choose; imports nothing, so that the command line stays light."""

from __future__ import annotations

from enum import StrEnum


class DoctorKind(StrEnum):
    SCRIPTED = "scripted"
    MODEL = "model"
    ATTACKS = "attacks"


class Unit(StrEnum):
    GATE = "gate"
    AFFECT = "affect"
    FACT = "fact"
    # No unit, but what the units ask: without it the patient is a canned one.
    MODEL = "model"
