"""What a process of the stack is doing, as shown to whoever waits for it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class Phase(enum.StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class ProcessView:
    name: str
    phase: Phase
    seconds: float = 0.0  # since its start; of a process that is ready: what the start took
    doing: str = ""  # its last log message, or what it waits for
    pid: int | None = None
    port: int | None = None
    found: bool = False  # it ran already, started by an earlier command


Progress = Callable[[Sequence[ProcessView]], None]


def silent(_: Sequence[ProcessView]) -> None:
    """Shows nothing."""
