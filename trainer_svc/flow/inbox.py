"""The trajectories of one run, each taken once, in whatever order and however often the log delivers them.

What was received and is not settled yet is held in memory only: a checkpoint's offset in each partition is that of the
oldest held record, and the settled records behind it are listed by their place, so that a resumed run reads the held
ones again and skips the settled ones.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from opentelemetry import metrics, trace

from anamnesis.common.v1 import rollout_pb2
from service_kit.kafka.consumer import Record
from trainer_svc.records.ledger import OUTSTANDING, Ledger

logger = logging.getLogger(__name__)
_ignored = metrics.get_meter(__name__).create_counter(
    "anamnesis.trainer.trajectories.ignored", "{trajectory}", "Trajectories read but not taken, by cause"
)


class Log(Protocol):
    """The part of EventConsumer that is used."""

    def poll(self, timeout_seconds: float, limit: int = 500) -> list[Record[rollout_pb2.Trajectory]]: ...
    def positions(self) -> dict[int, int]: ...
    def seek(self, offsets: dict[int, int]) -> None: ...


@dataclass(frozen=True)
class Received:
    trajectory: rollout_pb2.Trajectory
    partition: int
    offset: int
    # The episode's trace, valid only if the log carried one.
    span: trace.SpanContext


@dataclass(frozen=True)
class Bookmark:
    """Where to read on, and which records from there on are settled already."""

    offsets: dict[int, int]
    settled: list[tuple[int, int]]


class Inbox:
    def __init__(self, log: Log, ledger: Ledger, run_id: str, bookmark: Bookmark) -> None:
        self._log = log
        self._ledger = ledger
        self._run_id = run_id
        self._settled = set(bookmark.settled)
        self._held: dict[str, Received] = {}
        log.seek(bookmark.offsets)

    def receive(self, timeout_seconds: float) -> list[Received]:
        """New trajectories of outstanding requests; everything else is counted and passed over."""
        taken: list[Received] = []
        refused: list[Record[rollout_pb2.Trajectory]] = []
        for record in self._log.poll(timeout_seconds):
            place = (record.partition, record.offset)
            request = record.message.request
            if request.run_id != self._run_id:
                _ignored.add(1, {"cause": "other_run"})
            elif place in self._settled:
                _ignored.add(1, {"cause": "read_again"})
            elif request.request_id in self._held or self._ledger.outcome(request.request_id) != OUTSTANDING:
                refused.append(record)
            else:
                with record.processing():
                    taken.append(self._take(record))
        if refused:
            self._refuse(refused)
        return taken

    def _take(self, record: Record[rollout_pb2.Trajectory]) -> Received:
        span = trace.get_current_span(record.context).get_span_context()
        received = Received(record.message, record.partition, record.offset, span)
        self._held[record.message.request.request_id] = received
        return received

    def held(self, request_id: str) -> Received | None:
        return self._held.get(request_id)

    def settle(self, request_ids: Iterable[str]) -> list[Received]:
        """These requests have an outcome; a request that timed out was never received."""
        settled = [self._held.pop(request_id) for request_id in request_ids if request_id in self._held]
        self._settled |= {(received.partition, received.offset) for received in settled}
        return settled

    def bookmark(self) -> Bookmark:
        offsets = dict(self._log.positions())
        for received in self._held.values():
            offsets[received.partition] = min(offsets[received.partition], received.offset)
        self._settled = {(p, o) for p, o in self._settled if o >= offsets.get(p, 0)}
        return Bookmark(offsets, sorted(self._settled))

    def _refuse(self, records: Iterable[Record[rollout_pb2.Trajectory]]) -> None:
        duplicates = []
        for record in records:
            request = record.message.request
            if self._ledger.outcome(request.request_id) is None:
                logger.error("trajectory of a request that was never made", extra={"request_id": request.request_id})
                _ignored.add(1, {"cause": "unknown_request"})
                continue
            purpose = rollout_pb2.Purpose.Name(request.purpose).removeprefix("PURPOSE_").lower()
            duplicates.append((record.partition, record.offset, purpose))
            _ignored.add(1, {"cause": "duplicate"})
        self._ledger.duplicates(duplicates)
