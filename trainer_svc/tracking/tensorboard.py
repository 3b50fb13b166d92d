"""A run's figures as TensorBoard's event files, in the run's own directory: `tensorboard --logdir <state>/runs`.

Invariant: a resumed run goes on in a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from trainer_svc.figures.heldout import Measured
from trainer_svc.tracking.tracker import Tracker, held_out_means, scalars


class TensorBoard(Tracker):
    def __init__(self, directory: Path, incarnation: int) -> None:
        # A file's name has the second of its making: two incarnations could have the same one.
        self._writer = SummaryWriter(str(directory), flush_secs=10, filename_suffix=f".{incarnation}")

    def step(self, figures: Mapping[str, Any]) -> None:
        for name, value in scalars(figures):
            self._writer.add_scalar(name, value, int(figures["step"]))

    def held_out(self, step: int, values: Mapping[int, Measured]) -> None:
        for name, value in held_out_means(values):
            self._writer.add_scalar(name, value, step)

    def __exit__(self, *ended: object) -> None:
        self._writer.close()
