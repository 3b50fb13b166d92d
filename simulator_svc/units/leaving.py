"""Would the patient leave here? Asked of a model, and only where the gate's rules cannot tell.

A logistic head over the frozen deployment's sentence embeddings of the doctor's words and of what came before, and over
what the rules heard. `simulator_svc.evaluate.fit_gate` fitted it, on the states that the rules were written on alone.
Without embeddings, or when they are late, the rules' own word stands: the consultation goes on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import mul
from pathlib import Path

from opentelemetry import metrics

from service_kit.errors import ServiceError
from simulator_svc.dialogue import Turn
from simulator_svc.language import LanguageModel
from simulator_svc.units.speech_acts import Acts, doctor_acts

HEAD = Path(__file__).parent / "data" / "gate_head.json"
_MOST_LETTERS = 2_000
# The turns before the doctor's: the patient's last, and what it answered.
_BEFORE = 2

_asked = metrics.get_meter(__name__).create_counter(
    "anamnesis.simulator.gate.asked", "{question}", "Turns where the gate's rules were unsure, by what the model said"
)


@dataclass(frozen=True, slots=True)
class Head:
    """P(leave) = sigmoid(bias + doctor . e(doctor's turn) + before . e(turns before) + the sum over what was heard)."""

    # Of the sentence encoder that it was fitted with: vectors of another length are none of its own.
    encoder: str
    threshold: float
    bias: float
    heard: Mapping[str, float]
    doctor: tuple[float, ...]
    before: tuple[float, ...]

    def probability(self, heard: Mapping[str, float], doctor: Sequence[float], before: Sequence[float]) -> float:
        """Raises ValueError for vectors of another encoder."""
        if len(doctor) != len(self.doctor) or len(before) != len(self.before):
            raise ValueError(f"{len(doctor)} numbers a text, and {self.encoder} has {len(self.doctor)}")
        known = sum(weight * heard[name] for name, weight in self.heard.items())
        logit = self.bias + known + sum(map(mul, self.doctor, doctor)) + sum(map(mul, self.before, before))
        return 1 / (1 + math.exp(-logit))


class Leaving:
    def __init__(self, language: LanguageModel | None) -> None:
        self._language = language

    async def now(self, dialogue: Sequence[Turn], names: tuple[str, ...] = ()) -> bool:
        """Never raises: what cannot be computed in time is a no."""
        if self._language is None:
            return False
        head = read_head()
        try:
            doctor, before = await self._language.embed(texts(dialogue))
            leaves = head.probability(heard(doctor_acts(dialogue, names)), doctor, before) >= head.threshold
        except (ServiceError, ValueError):
            _asked.add(1, {"answer": "none"})
            return False
        _asked.add(1, {"answer": "leaves" if leaves else "stays"})
        return leaves


def texts(dialogue: Sequence[Turn]) -> list[str]:
    """What is embedded: the doctor's turn, and the turns right before it."""
    before = " ".join(turn.text for turn in dialogue[-1 - _BEFORE : -1])
    return [text[:_MOST_LETTERS] or "-" for text in (dialogue[-1].text, before)]


def heard(acts: Sequence[Acts]) -> dict[str, float]:
    """What the rules heard in the last turn and in any, as 0 and 1."""
    names = [field.name for field in fields(Acts)]
    return {
        **{f"last.{name}": float(getattr(acts[-1], name)) for name in names},
        **{f"any.{name}": float(any(getattr(act, name) for act in acts)) for name in names},
    }


@cache
def read_head(path: Path = HEAD) -> Head:
    found = json.loads(path.read_text(encoding="utf-8"))
    return Head(**found | {"doctor": tuple(found["doctor"]), "before": tuple(found["before"])})
