"""What Kafka's client raises, as errors of service_kit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import KafkaError, MessageSizeTooLargeError

from service_kit.errors import ResourceExhausted, ServiceError, Unavailable


def as_service_error(error: KafkaError, bootstrap: str) -> ServiceError:
    if isinstance(error, MessageSizeTooLargeError):
        return ResourceExhausted("MESSAGE_TOO_LARGE", f"kafka: {error}")
    return Unavailable("kafka", f"{type(error).__name__} at {bootstrap}: {error}")


@contextmanager
def kafka_failures(bootstrap: str) -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise as_service_error(error, bootstrap) from error
