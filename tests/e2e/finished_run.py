"""What a run through the public API left behind."""

from __future__ import annotations

from dataclasses import dataclass

from anamnesis.trainer.v1 import trainer_pb2


@dataclass(frozen=True)
class FinishedRun:
    run: trainer_pb2.Run
    events: list[trainer_pb2.RunEvent]
