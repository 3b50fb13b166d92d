"""Publishing the contracts' messages: idempotent, acknowledged by all replicas, each with a PRODUCER span.

Invariant: a Delivery whose result() returned is on the broker, once, in the order of its key; any other is an error
of service_kit. Message bodies are in no log (kafka-python writes them at DEBUG, which configure_logging shuts off).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from kafka import KafkaProducer
from kafka.errors import KafkaError
from opentelemetry.context import Context

from service_kit.kafka.envelope import headers_of
from service_kit.kafka.failures import as_service_error, kafka_failures
from service_kit.kafka.messaging import Sending
from service_kit.kafka.settings import KafkaSettings, connection_options
from service_kit.telemetry import trace_headers

# Above the message itself: the batch, the key, the headers.
_FRAMING_BYTES = 16 * 1024


@dataclass(frozen=True)
class Place:
    topic: str
    partition: int
    offset: int


class Delivery:
    """A message on its way."""

    def __init__(self, future: Any, bootstrap: str) -> None:
        self._future = future
        self._bootstrap = bootstrap

    def done(self) -> bool:
        return bool(self._future.is_done)

    def result(self, timeout: float | None = None) -> Place:
        """Where it lies on the broker. Raises Unavailable or ResourceExhausted (MESSAGE_TOO_LARGE)."""
        with kafka_failures(self._bootstrap):
            stored = self._future.get(timeout)
            return Place(stored.topic, stored.partition, stored.offset)


class EventProducer:
    """Safe to use from several threads."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        """Raises Unavailable where no broker answers."""
        self._settings = settings
        self._client_id = client_id
        with kafka_failures(settings.bootstrap):
            self._producer = KafkaProducer(
                **connection_options(settings, client_id),
                acks="all",
                enable_idempotence=True,
                max_request_size=settings.max_message_bytes + _FRAMING_BYTES,
                delivery_timeout_ms=round(settings.delivery_timeout_seconds * 1000),
                max_block_ms=round(settings.request_timeout_seconds * 1000),
                allow_auto_create_topics=False,
                linger_ms=5,
            )

    def publish(self, topic: str, message: Message, *, key: str, context: Context | None = None) -> Delivery:
        """Send `message`; its trace continues `context`, or the current one. Returns before it is acknowledged."""
        return self.publish_raw(
            topic, message.SerializeToString(), key=key.encode(), headers=headers_of(message), context=context
        )

    def publish_raw(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
        context: Context | None = None,
    ) -> Delivery:
        """As publish, for bytes that are no message, such as a dead letter."""
        sending = Sending(topic, self._client_id, len(value or b""), context)
        headers = [*headers, *trace_headers(sending.context)]
        try:
            future = self._producer.send(topic, value=value, key=key, headers=headers)
        except KafkaError as error:
            sending.failed(error)
            raise as_service_error(error, self._settings.bootstrap) from error
        future.add_callback(lambda stored: sending.stored(stored.partition, stored.offset))
        future.add_errback(sending.failed)
        return Delivery(future, self._settings.bootstrap)

    def flush(self, timeout: float | None = None) -> None:
        """Wait until everything sent so far was acknowledged or failed. Raises Unavailable after `timeout`."""
        with kafka_failures(self._settings.bootstrap):
            self._producer.flush(timeout)

    def close(self, timeout: float | None = None) -> None:
        """Flush, then close, within `timeout` (by default the delivery timeout)."""
        with kafka_failures(self._settings.bootstrap):
            self._producer.close(self._settings.delivery_timeout_seconds if timeout is None else timeout)
