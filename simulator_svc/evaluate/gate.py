"""The Termination Gate against labelled states: does it end when a person would leave, and for the same reason?

A third of the states is held out by a hash of their ids: nobody looks at those one by one or tunes on them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from simulator_svc.dialogue import Ending, Speaker, Turn
from simulator_svc.language import LanguageModel
from simulator_svc.units.leaving import Leaving
from simulator_svc.units.termination_gate import TerminationGate

GOES_ON = "goes_on"
# The labels know no turn limit, and three of the same make a loop.
GATE = TerminationGate(max_doctor_turns=1_000, loop_repeats=2)


@dataclass(frozen=True, slots=True)
class GateState:
    state_id: str
    dialogue: tuple[Turn, ...]
    # The reason it ends, None where it goes on.
    label: Ending | None

    @property
    def held_out(self) -> bool:
        return int(sha256(self.state_id.encode()).hexdigest(), 16) % 3 == 0


@dataclass(frozen=True, slots=True)
class GateFigures:
    """Ending is the positive class. Precision, recall and reason accuracy are NaN over nothing."""

    states: int
    ends: int
    too_early: int
    # Ends by the label, and the gate lets it go on.
    never: int
    # Of those that both end, for the labelled reason.
    same_reason: int

    @property
    def ended(self) -> int:
        return self.ends - self.never

    @property
    def precision(self) -> float:
        return _share(self.ended, self.ended + self.too_early)

    @property
    def recall(self) -> float:
        return _share(self.ended, self.ends)

    @property
    def reason_accuracy(self) -> float:
        return _share(self.same_reason, self.ended)


def load_states(path: Path) -> list[GateState]:
    """One JSON object a line: id, dialogue[{speaker, text}], label. Raises ValueError for anything else."""
    states = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            turns = tuple(Turn(Speaker(turn["speaker"]), turn["text"]) for turn in row["dialogue"])
            label = None if row["label"] == GOES_ON else Ending(row["label"])
            states.append(GateState(row["id"], turns, label))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from None
    return states


def decisions(states: Iterable[GateState]) -> list[Ending | None]:
    """By the rules alone."""
    return [GATE.decide(state.dialogue) for state in states]


async def asked_decisions(states: Iterable[GateState], language: LanguageModel) -> list[Ending | None]:
    """As the patient decides: the model is asked where the rules are unsure."""
    leaving = Leaving(language)
    return [await GATE.ends(state.dialogue, (), None, leaving) for state in states]


def measure(states: Sequence[GateState]) -> GateFigures:
    return figures_of(states, decisions(states))


def figures_of(states: Sequence[GateState], decided: Sequence[Ending | None]) -> GateFigures:
    pairs = list(zip(states, decided, strict=True))
    count = Counter((state.label is not None, ending is not None) for state, ending in pairs)
    return GateFigures(
        states=len(pairs),
        ends=count[True, True] + count[True, False],
        too_early=count[False, True],
        never=count[True, False],
        same_reason=sum(state.label is ending for state, ending in pairs if state.label and ending),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
