"""What happens when a group's partitions change hands.

Invariant: callbacks run on Kafka's own loop, where a blocking call would never return; a commit made in one is taken
down there and sent when it returns, while the partitions are still ours.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)

log = logging.getLogger(__name__)
OnPartitions = Callable[[set[int]], None]
NO_LONGER_OURS = (CommitFailedError, IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)


class Rebalance(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    def __init__(self) -> None:
        self.consumer: Any = None
        self.revoked: OnPartitions | None = None
        self.assigned: OnPartitions | None = None
        self._thread: int | None = None
        self._to_commit: dict[Any, Any] = {}

    def takes(self, offsets: Mapping[Any, Any]) -> bool:
        """Whether the caller is the callback that runs now; then its commit is taken down."""
        if self._thread != threading.get_ident():
            return False
        self._to_commit.update(offsets)
        return True

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        self._to_commit = {}
        self._tell(self.revoked, revoked)
        if self._to_commit:
            try:
                await self.consumer.commit_async(self._to_commit)
            except KafkaError as error:
                log.warning("not committed on revocation", extra={"error": f"{type(error).__name__}: {error}"})

    async def on_partitions_assigned(self, assigned: set[Any]) -> None:
        self._tell(self.assigned, assigned)

    async def on_partitions_lost(self, lost: set[Any]) -> None:
        self._tell(self.revoked, lost)  # too late to commit: what the callback asks for is dropped
        self._to_commit = {}

    def _tell(self, callback: OnPartitions | None, partitions: set[Any]) -> None:
        if callback is None or not partitions:
            return
        self._thread = threading.get_ident()
        try:
            callback({partition.partition for partition in partitions})
        finally:
            self._thread = None
