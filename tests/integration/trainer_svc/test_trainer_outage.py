"""A run outlives its broker: what it asks for arrives once each, orders are obeyed meanwhile, and patience ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from anamnesis.common.v1 import rollout_pb2
from service_kit.errors import Unavailable
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import ensure_topics
from tests.integration.restartable_broker import Broker, restartable_broker
from trainer_svc.config import resolve
from trainer_svc.flow.cases import CaseSplits
from trainer_svc.flow.outbox import REQUESTS_TOPIC, Outbox
from trainer_svc.flow.patience import LogUnavailable, Patience
from trainer_svc.flow.requests import EVALUATE, Plan
from trainer_svc.records.database import connect
from trainer_svc.records.ledger import Ledger
from trainer_svc.records.orders import Halt
from trainer_svc.records.runs import RunStore, State

PLAN = Plan("r", 7, resolve("demo", {}), CaseSplits(train=("t1",), held_out=("h1", "h2")))
VERSION = rollout_pb2.PolicyVersion(run_id="r", incarnation=1)
OUTAGE_SECONDS = 12.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with restartable_broker(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def settings(broker: Broker) -> KafkaSettings:
    made = KafkaSettings(bootstrap=broker.bootstrap, request_timeout_seconds=3, delivery_timeout_seconds=5)
    ensure_topics(made, [REQUESTS_TOPIC])
    return made


def no_orders() -> None: ...


def asked(settings: KafkaSettings, count: int) -> Counter[str]:
    """How often each request stands in the log, once there are `count` and no more come."""
    consumer = EventConsumer(
        settings, REQUESTS_TOPIC, rollout_pb2.RolloutRequest, group=None, client_id="t", producer_for_dead_letters=None
    )
    found: Counter[str] = Counter()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        records = consumer.poll(1.0)
        found.update(record.message.request_id for record in records)
        if not records and found.total() >= count:
            break
    consumer.close()
    return found


def test_what_is_asked_while_the_broker_is_away_arrives_once_each(
    broker: Broker, settings: KafkaSettings, tmp_path: Path
) -> None:
    told: list[str] = []
    producer = EventProducer(settings, "t")
    database = connect(tmp_path / "trainer.db")
    RunStore(database).create("r", "demo", {}, 7, "{}", 1)
    ledger = Ledger(database, "r")
    patience = Patience(120, no_orders, told.append)
    outbox = Outbox(producer, ledger, PLAN, 1, patience, settings.delivery_timeout_seconds)
    entries = [entry for index in range(6) for entry in PLAN.entries(EVALUATE, index)]
    outbox.ask(entries[:2], [], VERSION)
    broker.stop()
    comes_back = threading.Timer(OUTAGE_SECONDS, broker.start)
    comes_back.start()
    began = time.monotonic()
    outbox.ask(entries[2:], [], VERSION)
    assert time.monotonic() - began >= OUTAGE_SECONDS
    comes_back.join()
    producer.close()
    assert asked(settings, len(entries)) == Counter(entry.request_id for entry in entries)
    assert ledger.uncertain(0) == []  # the ledger knows that all are there
    assert [text.split(",")[0].split(" after")[0] for text in told] == ["the broker is away", "the broker is back"]


def test_a_run_that_is_to_stop_does_not_wait_for_the_broker() -> None:
    def cancelled() -> None:
        raise Halt(State.CANCELLED)

    def away() -> None:
        raise Unavailable("kafka", "nobody there")

    with pytest.raises(Halt):
        Patience(600, cancelled, lambda text: None).outlast(away)


def test_patience_ends_and_says_how_long_it_was_and_why() -> None:
    calls = 0

    def away() -> None:
        nonlocal calls
        calls += 1
        raise Unavailable("kafka", "nobody there")

    with pytest.raises(LogUnavailable, match="nobody there"):
        Patience(0.3, no_orders, lambda text: None, first_pause=0.05).outlast(away)
    assert 2 <= calls <= 8
