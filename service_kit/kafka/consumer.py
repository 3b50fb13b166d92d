"""Reading the contracts' messages, as a member of a group or from every partition by hand.

Invariant: poll returns what can be decoded, in order; what cannot lies acknowledged in the dead-letter topic before
poll returns, so committing past it loses nothing. Where that fails, poll raises and the same messages come again.
Offsets move only by commit: what was read and not committed is read again by the next owner of the partition.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.admin import KafkaAdminClient, MemberToRemove
from kafka.errors import RetriableError
from opentelemetry.context import Context
from opentelemetry.trace import Span

from service_kit.errors import InvalidArgument, ServiceError, Unavailable
from service_kit.kafka.dead_letter import DeadLetters
from service_kit.kafka.envelope import Undecodable, unpack
from service_kit.kafka.failures import kafka_failures
from service_kit.kafka.lag import Lag
from service_kit.kafka.messaging import consumed, processing
from service_kit.kafka.producer import Delivery, EventProducer, Place
from service_kit.kafka.rebalance import NO_LONGER_OURS, OnPartitions, Rebalance
from service_kit.kafka.settings import KafkaSettings, connection_options
from service_kit.telemetry import context_from_headers

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Message)

_KEEP_ALIVE_MS = 50
_LOOK_MS = 5
_REST_MS = 100


@dataclass(frozen=True)
class Record(Generic[M]):
    """A message and where it lay. `context` is the trace that it continues: the parent of a span about it alone, a
    link of a span about many."""

    message: M
    topic: str
    partition: int
    offset: int
    key: str | None
    context: Context = field(repr=False)
    value: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    group: str | None = None

    def processing(self) -> AbstractContextManager[Span]:
        """The span of the work on this message, current while it lasts."""
        return processing(self.topic, self.partition, self.offset, group=self.group, context=self.context)


class EventConsumer(Generic[M]):
    """One thread at a time may use it; a second waits."""

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        message_type: type[M],
        *,
        group: str | None,
        client_id: str,
        producer_for_dead_letters: EventProducer | None,
        instance: str | None = None,
    ) -> None:
        """With a group: partitions are shared with its members. Without: all of the topic's, from the beginning.

        `instance` is a name that this member keeps over restarts (Kafka's static membership): one that was killed
        and starts again gets its partitions back at once. No two living members may share it.

        Raises Unavailable where no broker answers or the topic does not exist.
        """
        self._settings = settings
        self._topic = topic
        self._type = message_type
        self._group = group
        self._instance = instance
        self._dead_letters = DeadLetters(producer_for_dead_letters)
        self._lock = threading.Lock()
        self._timeout_ms = round(settings.request_timeout_seconds * 1000)
        self._rebalance = Rebalance()
        self._lag = Lag(topic, group)
        with kafka_failures(settings.bootstrap):
            self._consumer = KafkaConsumer(
                **connection_options(settings, client_id),
                group_id=group,
                group_instance_id=instance,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                max_partition_fetch_bytes=settings.max_message_bytes + 1024 * 1024,
                session_timeout_ms=round(settings.session_timeout_seconds * 1000),
                heartbeat_interval_ms=round(settings.session_timeout_seconds * 1000 / 4),
            )
            self._rebalance.consumer = self._consumer
            if group is not None:
                self._consumer.subscribe([topic], listener=self._rebalance)
                return
            partitions = self._consumer.partitions_for_topic(topic)
        if not partitions:
            self._consumer.close()
            raise Unavailable("kafka", f"there is no topic {topic} at {settings.bootstrap}")
        self._consumer.assign([TopicPartition(topic, partition) for partition in sorted(partitions)])

    def on_rebalance(self, *, revoked: OnPartitions | None = None, assigned: OnPartitions | None = None) -> None:
        """Be told of partitions that go and come.

        Both run in Kafka's own thread while poll, keep_alive or close waits for them: be short, and of this consumer
        call only `commit` (from `revoked`, the last chance to). It is sent when the callback returns, and a broker may
        refuse it in the middle of a rebalance: then the next owner reads again what was not committed before.
        """
        self._rebalance.revoked = revoked
        self._rebalance.assigned = assigned

    def poll(self, timeout_seconds: float, limit: int = 500) -> list[Record[M]]:
        """What arrived, or an empty list after `timeout_seconds`, also while the broker is away: it may come back.

        Raises Unavailable where a dead letter could not be kept, or for good; nothing is skipped then.
        """
        with self._lock, kafka_failures(self._settings.bootstrap):
            batches = self._fetch(round(timeout_seconds * 1000), limit)
            records: list[Record[M]] = []
            letters: list[Delivery] = []
            try:
                for raw in (raw for batch in batches.values() for raw in batch):
                    headers = tuple(raw.headers or ())
                    try:
                        records.append(self._record(raw, headers))
                    except Undecodable as error:
                        letter = self._bury(raw, headers, error)
                        if letter is not None:
                            letters.append(letter)
                for letter in letters:
                    letter.result(self._settings.delivery_timeout_seconds)
                for partition, batch in batches.items():
                    self._lag.read_up_to(partition.partition, batch[-1].offset + 1, self._consumer.highwater(partition))
            except ServiceError:
                for partition, batch in batches.items():
                    self._consumer.seek(partition, batch[0].offset)
                raise
        if records:
            consumed(self._topic, self._group, len(records))
        return records

    def keep_alive(self) -> None:
        """Stay a member of the group without taking anything, while there is no room for more."""
        # A broker that is away may come back.
        with self._lock, kafka_failures(self._settings.bootstrap), suppress(RetriableError):
            # A partition that is assigned just now is not paused: what it gives is read again later.
            for partition, batch in self._rest(_KEEP_ALIVE_MS, 500).items():
                self._consumer.seek(partition, batch[0].offset)

    def reject(self, record: Record[M], reason: str, detail: str) -> None:
        """Put a message that was decoded but makes no sense to its reader with the dead letters. Raises Unavailable."""
        place = Place(record.topic, record.partition, record.offset)
        key = None if record.key is None else record.key.encode(errors="surrogateescape")
        letter = self._dead_letters.send(place, record.value, key, record.headers, reason, detail)
        if letter is not None:
            letter.result(self._settings.delivery_timeout_seconds)

    def commit(self, offsets: Mapping[int, int]) -> bool:
        """Commit the next offset to read of each partition; False where the partitions belong to another by now.

        Raises Unavailable.
        """
        if self._group is None:
            raise InvalidArgument("group", "a consumer without a group keeps its offsets itself")
        wanted = {TopicPartition(self._topic, p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()}
        if self._rebalance.takes(wanted):
            return True
        with self._lock, kafka_failures(self._settings.bootstrap):
            try:
                self._consumer.commit(wanted, timeout_ms=self._timeout_ms)
            except NO_LONGER_OURS as error:
                log.warning("not committed: the group moved on", extra={"topic": self._topic, "error": str(error)})
                return False
        return True

    def positions(self) -> dict[int, int]:
        """The next offset that poll will read, of each assigned partition that has one yet."""
        with self._lock, kafka_failures(self._settings.bootstrap):
            return self._positions()

    def seek(self, offsets: Mapping[int, int]) -> None:
        """Read on from these offsets; of assigned partitions only."""
        with self._lock, kafka_failures(self._settings.bootstrap):
            for partition, offset in offsets.items():
                self._consumer.seek(TopicPartition(self._topic, partition), offset)

    def end_offsets(self) -> dict[int, int]:
        """The offset behind the last message, of each assigned partition."""
        with self._lock, kafka_failures(self._settings.bootstrap):
            return self._end_offsets()

    def lag(self) -> int:
        """How many messages of the assigned partitions poll has not read yet."""
        with self._lock, kafka_failures(self._settings.bootstrap):
            positions, ends = self._positions(), self._end_offsets()
        behind = {partition: max(0, end - positions.get(partition, end)) for partition, end in ends.items()}
        self._lag.measured(behind)
        return sum(behind.values())

    def assignment(self) -> set[int]:
        with self._lock:
            return {partition.partition for partition in self._consumer.assignment() or ()}

    def close(self) -> None:
        """Leave the group at once, so that the others need not wait for the session to time out."""
        with self._lock, kafka_failures(self._settings.bootstrap):
            self._consumer.close(autocommit=False)
            if self._group is not None and self._instance is not None:
                self._leave(self._group, self._instance)

    def _leave(self, group: str, instance: str) -> None:
        """A static member does not leave by closing; nobody else gets its partitions until it is taken out."""
        admin = KafkaAdminClient(**connection_options(self._settings, f"{instance}-leaving"))
        try:
            admin.remove_group_members(group, [MemberToRemove(group_instance_id=instance)])
        finally:
            admin.close()

    def _fetch(self, timeout_ms: int, limit: int) -> dict[Any, list[Any]]:
        """Short looks with rests: asked without a pause, a broker that answers empty fetches at once costs a core."""
        until = time.monotonic() + timeout_ms / 1000
        try:
            while not (batches := self._poll(min(_LOOK_MS, _left_ms(until)), limit)):
                if _left_ms(until) == 0 or (batches := self._rest(min(_REST_MS, _left_ms(until)), limit)):
                    break
            return batches
        except RetriableError as error:
            log.warning("the broker is away", extra={"topic": self._topic, "error": str(error)})
            # It is raised at once: whoever polls in a loop must not spin.
            time.sleep(_left_ms(until) / 1000)
            return {}

    def _rest(self, timeout_ms: int, limit: int) -> dict[Any, list[Any]]:
        """Fetch nothing and let the group's affairs go on: joining it takes longer than a look."""
        paused = self._consumer.assignment()
        self._consumer.pause(*paused)
        try:
            return self._poll(timeout_ms, limit)  # of a partition that is assigned just now something may come
        finally:
            self._consumer.resume(*(paused & self._consumer.assignment()))

    def _poll(self, timeout_ms: int, limit: int) -> dict[Any, list[Any]]:
        if not self._has_joined():
            return {}
        batches: dict[Any, list[Any]] = self._consumer.poll(timeout_ms=timeout_ms, max_records=limit)
        return batches

    def _has_joined(self) -> bool:
        """Whether there is no rebalance to wait for; one that has begun is waited for, as long as a session lasts.

        kafka-python (3.0.12) begins again a join that ends between two polls, so polls shorter than a rebalance would
        keep a group of several members joining for ever.
        """
        if self._group is None:
            return True
        coordinator = self._consumer._coordinator
        timeout_ms = round(self._settings.session_timeout_seconds * 1000)
        return not coordinator.need_rejoin() or bool(coordinator.ensure_active_group(timeout_ms=timeout_ms))

    def _record(self, raw: Any, headers: tuple[tuple[str, bytes], ...]) -> Record[M]:
        return Record(
            message=unpack(self._type, headers, raw.value),
            topic=raw.topic,
            partition=raw.partition,
            offset=raw.offset,
            key=None if raw.key is None else raw.key.decode(errors="surrogateescape"),
            context=context_from_headers(headers),
            value=raw.value,
            headers=headers,
            group=self._group,
        )

    def _bury(self, raw: Any, headers: tuple[tuple[str, bytes], ...], error: Undecodable) -> Delivery | None:
        place = Place(raw.topic, raw.partition, raw.offset)
        return self._dead_letters.send(place, raw.value, raw.key, headers, error.reason, error.detail)

    def _positions(self) -> dict[int, int]:
        found = {}
        for partition in self._consumer.assignment() or ():
            offset = self._consumer.position(partition, timeout_ms=self._timeout_ms)
            if offset is not None:
                found[partition.partition] = offset
        return found

    def _end_offsets(self) -> dict[int, int]:
        partitions = list(self._consumer.assignment() or ())
        if not partitions:
            return {}
        ends = self._consumer.end_offsets(partitions, timeout_ms=self._timeout_ms)
        return {partition.partition: offset for partition, offset in ends.items()}


def _left_ms(until: float) -> int:
    return max(0, round((until - time.monotonic()) * 1000))
