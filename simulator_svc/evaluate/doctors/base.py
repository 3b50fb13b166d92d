"""A doctor of an evaluation: one turn after the other, until there is nothing left to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from simulator_svc.dialogue import Turn


@dataclass(frozen=True, slots=True)
class Question:
    """One turn of the doctor, labelled."""

    text: str
    # The facts that the turn calls for: an answer holds them (where it is open: one of them).
    calls_for: frozenset[str] = frozenset()
    # The facts that a sensible patient may state, those called for among them. None: nobody has labelled the turn.
    may_state: frozenset[str] | None = frozenset()
    open: bool = False
    # The category, topic or kind of attack.
    about: str = ""
    # Diagnosis, plan and farewell: the consultation should end here, and not before.
    closes: bool = False


class Doctor(Protocol):
    async def speak(self, dialogue: Sequence[Turn]) -> Question | None:
        """The next turn, or None when the doctor has nothing more to say. Raises ServiceError."""
        ...


class Script:
    """A doctor who says what is written, whatever the patient answers."""

    def __init__(self, turns: Iterable[Question]) -> None:
        self._turns = iter(turns)

    async def speak(self, dialogue: Sequence[Turn]) -> Question | None:
        return next(self._turns, None)
