"""Verdicts with labels: what a judge is trained on, calibrated on and measured on.

A file holds one JSON object a line:

    {"pair_id": "v01.3",                                    any name, of one pair alone
     "dialogue": [{"speaker": "patient", "text": "..."}],   or "doctor"
     "scope": "last_turn",                                  or "whole"
     "criterion_id": "empathy", "text": "...", "points": 5,
     "label": "met"}                                        or "not_met"

A "dialogue_id" keeps all pairs of one dialogue in one part. In place of label there may be "first" and "second", by two
readers who did not see each other's: a pair on which they differ has no label. Invariant: the part of a pair is a
function of its ids alone, so a held-out pair stays one.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from rubric_svc.generate.templates import built_in
from rubric_svc.model import Check, Criterion, Dialogue, Scope, Speaker, Turn

CONSTRUCTED = Path(__file__).parent / "data" / "constructed.toml"
_OPENING = "I have had a headache for two days."
_SCOPES = {"last_turn": Scope.LAST_DOCTOR_TURN, "whole": Scope.WHOLE_DIALOGUE}
_LABELS = {"met": True, "not_met": False}


class Part(StrEnum):
    TRAIN = "train"
    CALIBRATE = "calibrate"
    HELD_OUT = "held_out"


class WrongLabels(ValueError):
    """Names the file and the line."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """`labels` are one or two; `met` is None where two differ."""

    pair_id: str
    criterion: Criterion
    dialogue: Dialogue
    scope: Scope
    labels: tuple[bool, ...]
    dialogue_id: str = ""
    always: Part | None = None
    """The part that it belongs to whatever its id."""

    @property
    def met(self) -> bool | None:
        return self.labels[0] if len(set(self.labels)) == 1 else None

    @property
    def part(self) -> Part:
        return self.always or part(self.dialogue_id or self.pair_id)


def part(pair_id: str) -> Part:
    """A third is held out; of the rest a quarter calibrates."""
    number = int.from_bytes(hashlib.sha256(pair_id.encode()).digest()[:8])
    if number % 3 == 0:
        return Part.HELD_OUT
    return Part.CALIBRATE if number // 3 % 4 == 0 else Part.TRAIN


def read(file: Path) -> list[Labelled]:
    """Raises WrongLabels."""
    found: list[Labelled] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            found.append(_labelled(json.loads(line)))
        except (ValueError, KeyError, TypeError) as error:
            raise WrongLabels(f"{file.name}:{number}: {type(error).__name__}: {error}") from error
    names = [one.pair_id for one in found]
    if len(set(names)) != len(names):
        raise WrongLabels(f"{file.name}: two pairs have one pair_id")
    return found


def _labelled(row: dict[str, Any]) -> Labelled:
    labels = (row["label"],) if "label" in row else (row["first"], row["second"])
    return Labelled(
        row["pair_id"],
        Criterion(
            row["criterion_id"],
            row["text"],
            row["points"],
            check=Check(row.get("matcher", ""), tuple(row.get("terms", ()))),
        ),
        tuple(Turn(Speaker(turn["speaker"]), turn["text"]) for turn in row["dialogue"]),
        _SCOPES[row["scope"]],
        tuple(_LABELS[label] for label in labels),
        row.get("dialogue_id", ""),
    )


def constructed(always: Part | None = None) -> list[Labelled]:
    """Replies built to satisfy or violate each criterion that the judge model answers."""
    templates = {template.template_id: template for template in built_in().model}
    found = []
    for name, row in tomllib.loads(CONSTRUCTED.read_text(encoding="utf-8")).items():
        template = templates[name]
        criterion = Criterion(name, template.text, next(iter(template.points.values())), template.dimension)
        for key, met in (("satisfies", True), ("violates", False)):
            for index, reply in enumerate(row[key]):
                dialogue = (Turn(Speaker.PATIENT, row.get("patient", _OPENING)), Turn(Speaker.DOCTOR, reply))
                pair_id = f"constructed.{name}.{key}.{index}"
                found.append(Labelled(pair_id, criterion, dialogue, Scope.LAST_DOCTOR_TURN, (met,), "", always))
    return found


def of_part(pairs: Sequence[Labelled], wanted: Part) -> list[Labelled]:
    """Those of the part that have a label."""
    return [pair for pair in pairs if pair.part is wanted and pair.met is not None]
