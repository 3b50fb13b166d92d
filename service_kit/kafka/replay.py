"""Dead letters looked through, and sent once more to the topic that they came from.

Invariant: each letter that is selected has one outcome, counted. A letter that was sent is marked as such in the
dead-letter topic itself, so it is not sent again; one that dies between the two may be (its readers know a request or
trajectory by its id). A message that was replayed and died again carries how often, and is refused after the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from kafka import KafkaConsumer, TopicPartition

from service_kit.errors import ServiceError, Unavailable
from service_kit.kafka.dead_letter import OWN_HEADERS
from service_kit.kafka.envelope import Headers, header
from service_kit.kafka.failures import kafka_failures
from service_kit.kafka.producer import EventProducer, Place
from service_kit.kafka.settings import KafkaSettings, connection_options
from service_kit.kafka.topics import DEAD_LETTERS
from service_kit.telemetry import context_from_headers

REPLAYS = "replays"
# On a marker: the place of the letter that was sent, `partition:offset` in the dead-letter topic.
REPLAYED = "replayed"
_TRACE = frozenset({"traceparent", "tracestate"})
_POLL_MS = 500


class Outcome(StrEnum):
    SENT = "sent"
    WOULD_BE_SENT = "would be sent"
    SENT_BEFORE = "sent before"
    TOO_OFTEN = "refused: replayed too often"
    NO_TOPIC = "refused: its topic does not exist"
    FAILED = "failed"


@dataclass(frozen=True)
class Letter:
    """`place` is in the dead-letter topic, `origin` where the message lay that could not be read."""

    place: Place
    origin: Place
    reason: str
    detail: str
    key: bytes | None
    value: bytes
    headers: Headers
    sent_before: bool

    @property
    def replays(self) -> int:
        return int(_text(self.headers, REPLAYS) or 0)


def read_letters(settings: KafkaSettings) -> tuple[list[Letter], set[str]]:
    """Every dead letter that lies there now, in the order of arrival of each partition, and the topics that exist.

    Raises Unavailable.
    """
    with kafka_failures(settings.bootstrap):
        consumer = KafkaConsumer(
            **connection_options(settings, "anamnesis-replay"),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            max_partition_fetch_bytes=settings.max_message_bytes + 1024 * 1024,
        )
        try:
            topics = set(consumer.topics())
            raws = list(_read_all(consumer, settings)) if DEAD_LETTERS in topics else []
        finally:
            consumer.close()
    sent = {marker for raw in raws if (marker := header(raw[1], REPLAYED)) is not None}
    letters = [_letter(place, headers, key, value, sent) for place, headers, key, value in raws]
    return [letter for letter in letters if letter is not None], topics


def replay(
    producer: EventProducer | None,
    letters: Sequence[Letter],
    topics: set[str],
    *,
    limit: int,
    timeout: float,
    told: Callable[[Letter, Outcome, str], None],
) -> None:
    """Tell the outcome of each letter; without a producer, what it would be."""
    for letter in letters:
        outcome, why = _outcome(letter, topics, limit), ""
        if producer is not None and outcome is Outcome.WOULD_BE_SENT:
            try:
                _send(producer, letter, timeout)
                outcome = Outcome.SENT
            except ServiceError as error:
                outcome, why = Outcome.FAILED, error.message
        told(letter, outcome, why)


def _outcome(letter: Letter, topics: set[str], limit: int) -> Outcome:
    if letter.sent_before:
        return Outcome.SENT_BEFORE
    if letter.replays >= limit:
        return Outcome.TOO_OFTEN
    return Outcome.WOULD_BE_SENT if letter.origin.topic in topics else Outcome.NO_TOPIC


def _send(producer: EventProducer, letter: Letter, timeout: float) -> None:
    dropped = OWN_HEADERS | _TRACE | {REPLAYS}
    kept = [(name, value) for name, value in letter.headers if name not in dropped]
    kept = [(name, value) for name, value in kept if (name, value) != ("message-type", b"")]  # it had none
    headers = [*kept, (REPLAYS, str(letter.replays + 1).encode())]
    context = context_from_headers(letter.headers)
    producer.publish_raw(letter.origin.topic, letter.value, key=letter.key, headers=headers, context=context).result(
        timeout
    )
    marker = [(REPLAYED, f"{letter.place.partition}:{letter.place.offset}".encode())]
    producer.publish_raw(DEAD_LETTERS, b"", key=letter.key, headers=marker, context=context).result(timeout)


Raw = tuple[Place, Headers, bytes | None, bytes]


def _read_all(consumer: KafkaConsumer, settings: KafkaSettings) -> Iterator[Raw]:
    partitions = [
        TopicPartition(DEAD_LETTERS, number) for number in sorted(consumer.partitions_for_topic(DEAD_LETTERS))
    ]
    consumer.assign(partitions)
    timeout_ms = round(settings.request_timeout_seconds * 1000)
    ends = consumer.end_offsets(partitions, timeout_ms=timeout_ms)
    heard = time.monotonic()
    while any(consumer.position(partition, timeout_ms=timeout_ms) < ends[partition] for partition in partitions):
        if time.monotonic() - heard > settings.request_timeout_seconds:
            raise Unavailable("kafka", f"{DEAD_LETTERS} could not be read to its end")
        for batch in consumer.poll(timeout_ms=_POLL_MS).values():
            heard = time.monotonic()
            for raw in batch:
                place = Place(raw.topic, raw.partition, raw.offset)
                yield place, tuple(raw.headers or ()), raw.key, raw.value or b""


def _letter(place: Place, headers: Headers, key: bytes | None, value: bytes, sent: set[bytes]) -> Letter | None:
    """None for what is no dead letter, such as a marker."""
    topic, partition, offset = (_text(headers, name) for name in ("topic", "partition", "offset"))
    if not topic or not partition or not offset:
        return None
    return Letter(
        place=place,
        origin=Place(topic, int(partition), int(offset)),
        reason=_text(headers, "reason"),
        detail=_text(headers, "detail"),
        key=key,
        value=value,
        headers=headers,
        sent_before=f"{place.partition}:{place.offset}".encode() in sent,
    )


def _text(headers: Headers, name: str) -> str:
    return (header(headers, name) or b"").decode(errors="replace")
