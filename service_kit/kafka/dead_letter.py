"""Messages that nobody can read end in one topic, whole, with the reason: they block nothing and are not lost.

Invariant: a dead letter has the original's bytes, key and headers, and beside them says reason, detail, topic,
partition, offset and message-type.
"""

from __future__ import annotations

import logging

from opentelemetry import metrics

from service_kit.kafka.envelope import Headers, header
from service_kit.kafka.producer import Delivery, EventProducer, Place
from service_kit.kafka.topics import DEAD_LETTERS
from service_kit.telemetry import context_from_headers

log = logging.getLogger(__name__)
OWN_HEADERS = frozenset({"reason", "detail", "topic", "partition", "offset"})
_TRACE = frozenset({"traceparent", "tracestate"})
_dead = metrics.get_meter(__name__).create_counter(
    "anamnesis.kafka.dead_letters", unit="{message}", description="Messages that could not be read, by topic and reason"
)


class DeadLetters:
    """Counts and logs every dead letter; keeps it where there is a producer to send it with."""

    def __init__(self, producer: EventProducer | None) -> None:
        self._producer = producer

    def send(
        self, place: Place, value: bytes | None, key: bytes | None, headers: Headers, reason: str, detail: str
    ) -> Delivery | None:
        """Put the message where dead letters lie; the delivery tells when it is there."""
        _dead.add(1, {"topic": place.topic, "reason": reason})
        log.warning(
            "dead letter",
            extra={
                "topic": place.topic,
                "partition": place.partition,
                "offset": place.offset,
                "reason": reason,
                "detail": detail,
                "kept": self._producer is not None,
            },
        )
        if self._producer is None:
            return None
        kept = [
            (name, content) for name, content in headers if name not in OWN_HEADERS | _TRACE and content is not None
        ]
        if header(headers, "message-type") is None:
            kept.append(("message-type", b""))
        return self._producer.publish_raw(
            DEAD_LETTERS,
            value if value is not None else b"",
            key=key,
            headers=[
                *kept,
                ("reason", reason.encode()),
                ("detail", detail.encode()),
                ("topic", place.topic.encode()),
                ("partition", str(place.partition).encode()),
                ("offset", str(place.offset).encode()),
            ],
            context=context_from_headers([(name, content) for name, content in headers if content is not None]),
        )
