"""What a run tells of its curves to people who watch it, whatever keeps them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from trainer_svc.figures.heldout import Measured

# Of StepMetrics, what is a figure by itself: it stands under `train/`.
_MAPS = {"reward_components": "reward", "seconds_by_phase": "seconds", "extra": "train"}


class Tracker(AbstractContextManager["Tracker", None]):
    """Open while one incarnation of a run plays; how it ends says how the run ended.

    A step is told once it is in a checkpoint, and one that is told again has the same value.
    """

    @abstractmethod
    def step(self, figures: Mapping[str, Any]) -> None:
        """The StepMetrics of one step."""

    @abstractmethod
    def held_out(self, step: int, values: Mapping[int, Measured]) -> None:
        """What was measured on held-out cases at this step."""


class TrackerMissing(Exception):
    """The tracker that the settings choose is not installed."""


def scalars(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Of StepMetrics, each figure with its name; a name's parts are folders."""
    for name, value in figures.items():
        if name in _MAPS:
            # Trackers know no colon: the parts of a reason are folders.
            for key, of_key in value.items():
                yield f"{_MAPS[name]}/{key}".replace(":", "/"), float(of_key)
        elif name != "step":
            yield f"train/{name}", float(value)


def held_out_means(values: Mapping[int, Measured]) -> Iterator[tuple[str, float]]:
    """Over the held-out cases: the reward, each component, and what is never trained on."""
    sums: dict[str, list[float]] = {}
    for measured in values.values():
        for name, value in {"reward": measured.reward, **measured.components}.items():
            sums.setdefault(name, []).append(value)
    for name, of_name in sums.items():
        yield f"held_out/{name}", sum(of_name) / len(of_name)
