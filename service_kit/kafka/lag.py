"""How far a consumer is behind, as a metric by topic, group and partition.

Invariant: a gauge is of a consumer that lives and of partitions that it owns; what was never read has no lag yet.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation


class Lag:
    """Messages behind the next one to be read, by partition."""

    def __init__(self, topic: str, group: str | None) -> None:
        self._labels = {"topic": topic, "group": group or ""}
        self._behind: dict[int, int] = {}
        living.add(self)

    def read_up_to(self, partition: int, position: int, end: int | None) -> None:
        """As far as the broker told of the partition's end when it gave messages."""
        if end is not None:
            self._behind = {**self._behind, partition: max(0, end - position)}

    def measured(self, behind: Mapping[int, int]) -> None:
        """Of every partition that is ours."""
        self._behind = dict(behind)

    def observations(self) -> list[Observation]:
        return [
            Observation(behind, {**self._labels, "partition": partition}) for partition, behind in self._behind.items()
        ]


def _observe(options: CallbackOptions) -> Iterable[Observation]:
    for lag in list(living):
        yield from lag.observations()


living: weakref.WeakSet[Lag] = weakref.WeakSet()
metrics.get_meter(__name__).create_observable_gauge(
    "anamnesis.kafka.consumer.lag",
    callbacks=[_observe],
    unit="{message}",
    description="Messages of a partition that its consumer has not read yet",
)
