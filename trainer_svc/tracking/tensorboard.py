"""A run's figures as TensorBoard's event files, in the run's own directory: `tensorboard --logdir <state>/runs`.

Invariant: a step's point is written once it is in a checkpoint; a resumed run goes on in a file of its own, and a step
that is told again has the same value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from trainer_svc.figures.heldout import Measured

# Of StepMetrics, what is a figure by itself: it stands under `train/`.
_MAPS = {"reward_components": "reward", "seconds_by_phase": "seconds", "extra": "train"}


class TensorBoard:
    def __init__(self, directory: Path, incarnation: int) -> None:
        # A file's name has the second of its making: two incarnations could have the same one.
        self._writer = SummaryWriter(str(directory), flush_secs=10, filename_suffix=f".{incarnation}")

    def step(self, figures: Mapping[str, Any]) -> None:
        """The StepMetrics of one step."""
        for name, value in scalars(figures):
            self._writer.add_scalar(name, value, int(figures["step"]))

    def held_out(self, step: int, values: Mapping[int, Measured]) -> None:
        """Means over the held-out cases: the reward, each component, and what is never trained on."""
        sums: dict[str, list[float]] = {}
        for measured in values.values():
            for name, value in {"reward": measured.reward, **measured.components}.items():
                sums.setdefault(name, []).append(value)
        for name, of_name in sums.items():
            self._writer.add_scalar(f"held_out/{name}", sum(of_name) / len(of_name), step)

    def close(self) -> None:
        self._writer.close()


def scalars(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if name in _MAPS:
            # TensorBoard knows no colon: the parts of a reason are folders.
            for key, of_key in value.items():
                yield f"{_MAPS[name]}/{key}".replace(":", "/"), float(of_key)
        elif name != "step":
            yield f"train/{name}", float(value)
