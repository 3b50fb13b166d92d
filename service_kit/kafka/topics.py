"""The topics exist before anybody uses them: nothing is created by accident of a misspelt name."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from kafka.admin import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from service_kit.kafka.failures import kafka_failures
from service_kit.kafka.settings import KafkaSettings, connection_options

log = logging.getLogger(__name__)

DEAD_LETTERS = "anamnesis.dead-letters.v1"


def ensure_topics(settings: KafkaSettings, topics: Sequence[str]) -> None:
    """Create those of `topics`, and the dead-letter topic, that do not exist yet, and wait until they can be used.

    An existing topic is left as it is. Several processes may do this at once. Raises Unavailable.
    """
    wanted = list(dict.fromkeys([*topics, DEAD_LETTERS]))
    timeout = round(settings.request_timeout_seconds * 1000)
    with kafka_failures(settings.bootstrap):
        admin = KafkaAdminClient(**connection_options(settings, "anamnesis-topics"))
        try:
            existing = set(admin.list_topics())
            for topic in wanted:
                if topic not in existing:
                    _create(admin, settings, topic, timeout)
            admin.wait_for_topics(wanted, timeout_ms=timeout)
        finally:
            admin.close()


def _create(admin: KafkaAdminClient, settings: KafkaSettings, topic: str, timeout_ms: int) -> None:
    wanted = {
        "num_partitions": settings.partitions,
        "replication_factor": settings.replication_factor,
        "configs": {"max.message.bytes": str(settings.max_message_bytes)},
    }
    try:
        admin.create_topics({topic: wanted}, timeout_ms=timeout_ms)
    except TopicAlreadyExistsError:
        return  # somebody else was faster
    log.info("topic created", extra={"topic": topic, "partitions": settings.partitions})
