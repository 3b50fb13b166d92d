"""Whether speculation pays.

A round proposes K tokens, keeps those that the model accepts and adds one of the model's own. With a accepted tokens a
round on average, and a round that costs c plain steps, it is faster where 1 + a > c: the break-even is a = c - 1
(Leviathan et al., 2023, with c measured in place of derived).

Invariant: c is the median of what rounds took beside the plain steps just before them, on the same engine, blocks of
plain steps between blocks of rounds, one request alone; a round computes no less than a plain step, so c >= 1.
Speculation that accepts less than the break-even over a window of rounds is off until it has rested; then a window of
rounds decides again.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

# Its name in vLLM's additional_config and in the engine's statistics.
SPECULATION = "speculation"
# Rounds that decide; 256 give the acceptance a standard error below 0.1 tokens at K = 3.
WINDOW_ROUNDS = 256
# Steps of one kind before the other has its turn, and how many rounds are measured.
BLOCK_STEPS = 8
MEASURED_ROUNDS = 24
# After a change of kind, steps that the engine had begun already.
SETTLING_STEPS = 2


@dataclass(frozen=True)
class SpeculationState:
    """What is told of it. `cost` and `break_even` are None until measured; `turned_off` counts."""

    active: bool
    cost: float | None
    break_even: float | None
    turned_off: int
    # Of the window that decided last.
    accepted_per_round: float | None


class SpeculationWatch:
    def __init__(self, break_even: float | None, rest_seconds: float, clock: Callable[[], float]) -> None:
        self._break_even = break_even
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._measuring = break_even is None
        self._cost: float | None = None
        self._plain = deque[float](maxlen=BLOCK_STEPS)
        self._costs: list[float] = []
        self._in_block = 0
        self._proposes = True
        self._off_since: float | None = None
        self._turned_off = 0
        self._rounds = 0
        self._accepted = 0
        self._decided: float | None = None

    @property
    def proposes(self) -> bool:
        """Whether the next step is to propose tokens."""
        if self._measuring:
            return self._proposes
        if self._off_since is None:
            return True
        if self._rest_seconds and self._clock() - self._off_since >= self._rest_seconds:
            self._off_since = None
            self._rounds = self._accepted = 0
        return self._off_since is None

    @property
    def state(self) -> SpeculationState:
        active = self._off_since is None
        return SpeculationState(active, self._cost, self._break_even, self._turned_off, self._decided)

    def step(self, seconds: float, *, rounds: int, accepted: int, alone: bool) -> None:
        """A step ended: `rounds` of its requests had proposed tokens, of which `accepted` were kept in all; `alone`: it
        was one request's, and no prompt was computed in it."""
        if self._measuring and alone:
            self._measure(seconds, proposed=rounds > 0)
        if rounds and not self._measuring and self._off_since is None:
            self._rounds += rounds
            self._accepted += accepted
            if self._rounds >= WINDOW_ROUNDS:
                self._decide()

    def _measure(self, seconds: float, *, proposed: bool) -> None:
        self._in_block += 1
        # Where lookup finds nothing a step is plain whatever was wanted.
        if self._in_block > SETTLING_STEPS and proposed is self._proposes:
            if not proposed:
                self._plain.append(seconds)
            elif len(self._plain) == BLOCK_STEPS:
                self._costs.append(seconds / statistics.median(self._plain))
        if self._in_block >= BLOCK_STEPS + SETTLING_STEPS:
            self._in_block, self._proposes = 0, not self._proposes
        if len(self._costs) >= MEASURED_ROUNDS:
            self._cost = max(1.0, statistics.median(self._costs))
            self._break_even = self._cost - 1
            self._measuring = False

    def _decide(self) -> None:
        assert self._break_even is not None
        self._decided = self._accepted / self._rounds
        self._rounds = self._accepted = 0
        if self._decided < self._break_even:
            self._off_since = self._clock()
            self._turned_off += 1
