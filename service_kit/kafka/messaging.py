"""Spans and metrics of messages, named as OpenTelemetry's semantic conventions for Kafka say (schema 1.44).

Invariant: every message sent has a `send` span, whose context travels with it, and every message that is worked on by
itself a `process` span, the child of that one. Work on many messages at once links to them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from service_kit.spans import ERROR_TYPE, error_type, fail, traced

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
OFFSET = "messaging.kafka.offset"
GROUP = "messaging.consumer.group.name"
CLIENT_ID = "messaging.client.id"
BODY_SIZE = "messaging.message.body.size"
# Processing lasts as long as an episode does.
DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

Attributes = dict[str, AttributeValue]

_tracer = trace.get_tracer(__name__)
_meter = metrics.get_meter(__name__)
_sent = _meter.create_counter(
    "messaging.client.sent.messages", unit="{message}", description="Messages that the broker stored or refused"
)
_sending = _meter.create_histogram(
    "messaging.client.operation.duration",
    unit="s",
    description="From a message's hand-over to the broker's acknowledgement",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
)
_consumed = _meter.create_counter(
    "messaging.client.consumed.messages", unit="{message}", description="Messages read and decoded"
)
_processing = _meter.create_histogram(
    "messaging.process.duration",
    unit="s",
    description="From a message's taking to the end of the work on it",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
)


class Sending:
    """One message on its way to the broker."""

    def __init__(self, topic: str, client_id: str, size: int, context: Context | None) -> None:
        self._started = time.perf_counter()
        self._attributes = _of("send", "send", topic)
        self._span = _tracer.start_span(
            f"send {topic}",
            context=context,
            kind=SpanKind.PRODUCER,
            attributes={**self._attributes, CLIENT_ID: client_id, BODY_SIZE: size},
        )
        self.context = trace.set_span_in_context(self._span)

    def stored(self, partition: int, offset: int) -> None:
        self._span.set_attributes({PARTITION: str(partition), OFFSET: offset})
        self._end(self._attributes)

    def failed(self, error: BaseException) -> None:
        fail(self._span, error_type(error))
        self._end({**self._attributes, ERROR_TYPE: error_type(error)})

    def _end(self, attributes: Attributes) -> None:
        _sent.add(1, attributes, self.context)
        _sending.record(time.perf_counter() - self._started, attributes, self.context)
        self._span.end()


def consumed(topic: str, group: str | None, count: int) -> None:
    _consumed.add(count, _of_consumer("poll", "receive", topic, group))


@contextmanager
def processing(
    topic: str, partition: int, offset: int, *, group: str | None, context: Context | None
) -> Iterator[Span]:
    """The work on one message; `context` is the one that it carries."""
    started = time.perf_counter()
    attributes = _of_consumer("process", "process", topic, group)
    place: Attributes = {PARTITION: str(partition), OFFSET: offset}
    with traced(_tracer, f"process {topic}", {**attributes, **place}, kind=SpanKind.CONSUMER, context=context) as span:
        try:
            yield span
        except BaseException as error:
            attributes[ERROR_TYPE] = error_type(error)
            raise
        finally:
            _processing.record(time.perf_counter() - started, attributes)


def _of(operation: str, kind: str, topic: str) -> Attributes:
    return {SYSTEM: "kafka", OPERATION_NAME: operation, OPERATION_TYPE: kind, DESTINATION: topic}


def _of_consumer(operation: str, kind: str, topic: str, group: str | None) -> Attributes:
    return _of(operation, kind, topic) | ({GROUP: group} if group is not None else {})
