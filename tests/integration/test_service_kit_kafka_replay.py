"""Dead letters through a real broker: looked through, sent once more as they were, and accounted for one by one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from kafka import KafkaConsumer
from typer.testing import CliRunner

from anamnesis.simulator.v1 import simulator_pb2 as pb
from service_kit.cli import build_app
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.envelope import headers_of
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.replay import Letter, Outcome, read_letters, replay
from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import ensure_topics

Case = pb.GetCaseRequest
NEWER = [(name, b"2" if name == "schema-version" else value) for name, value in headers_of(Case())]


@pytest.fixture
def settings(broker: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=broker, request_timeout_seconds=5, delivery_timeout_seconds=10)


@pytest.fixture
def topic(settings: KafkaSettings) -> str:
    name = f"test.{uuid.uuid4().hex}"
    ensure_topics(settings, [name])
    return name


@pytest.fixture
def producer(settings: KafkaSettings) -> Iterator[EventProducer]:
    made = EventProducer(settings, "test-producer")
    yield made
    made.close()


def read_on(settings: KafkaSettings, topic: str, producer: EventProducer) -> None:
    """A consumer group comes by: what it cannot read it puts aside, and commits."""
    consumer = EventConsumer(
        settings, topic, Case, group="g", client_id="t", producer_for_dead_letters=producer, instance="one"
    )
    for _ in range(60):
        consumer.poll(0.2)
        if consumer.assignment() and consumer.lag() == 0:
            break
    assert consumer.commit(consumer.positions())
    consumer.close()


def bury(settings: KafkaSettings, topic: str, producer: EventProducer, count: int) -> None:
    for i in range(count):
        message = Case(case_id=f"c{i}").SerializeToString()
        producer.publish_raw(topic, message, key=f"k{i}".encode(), headers=[*NEWER, ("mine", b"kept")]).result(10)
    read_on(settings, topic, producer)


def letters_of(settings: KafkaSettings, topic: str) -> list[Letter]:
    return [letter for letter in read_letters(settings)[0] if letter.origin.topic == topic]


def replayed(settings: KafkaSettings, topic: str, producer: EventProducer | None, limit: int = 3) -> list[Outcome]:
    outcomes: list[Outcome] = []
    topics = read_letters(settings)[1]
    replay(
        producer,
        letters_of(settings, topic),
        topics,
        limit=limit,
        timeout=10,
        told=lambda letter, outcome, why: outcomes.append(outcome),
    )
    return outcomes


def raw(settings: KafkaSettings, topic: str) -> list[tuple[bytes, bytes, dict[str, bytes]]]:
    reader = KafkaConsumer(
        topic, bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=1500
    )
    found = [(message.key, message.value, dict(message.headers)) for message in reader]
    reader.close()
    return found


def test_a_letter_goes_back_as_it_was_and_says_how_often_it_did(
    settings: KafkaSettings, topic: str, producer: EventProducer
) -> None:
    bury(settings, topic, producer, 1)
    (letter,) = letters_of(settings, topic)
    assert (letter.reason, letter.replays, letter.sent_before) == ("NEWER_SCHEMA_VERSION", 0, False)
    assert replayed(settings, topic, producer) == [Outcome.SENT]
    first, second = sorted(raw(settings, topic), key=lambda message: "replays" in message[2])
    assert second[:2] == first[:2]
    trace = {"traceparent"}
    assert {n: v for n, v in second[2].items() if n not in trace} == {
        **{n: v for n, v in first[2].items() if n not in trace},
        "replays": b"1",
    }


def test_what_was_sent_is_not_sent_again_by_the_next_replay(
    settings: KafkaSettings, topic: str, producer: EventProducer
) -> None:
    bury(settings, topic, producer, 3)
    assert replayed(settings, topic, producer) == [Outcome.SENT] * 3
    assert replayed(settings, topic, producer) == [Outcome.SENT_BEFORE] * 3
    assert len(raw(settings, topic)) == 6


def test_a_message_that_dies_again_and_again_is_refused_in_the_end(
    settings: KafkaSettings, topic: str, producer: EventProducer
) -> None:
    bury(settings, topic, producer, 1)
    for _ in range(2):
        assert Outcome.SENT in replayed(settings, topic, producer, limit=2)
        read_on(settings, topic, producer)
    assert [letter.replays for letter in letters_of(settings, topic)] == [0, 1, 2]
    outcomes = replayed(settings, topic, producer, limit=2)
    assert outcomes == [Outcome.SENT_BEFORE, Outcome.SENT_BEFORE, Outcome.TOO_OFTEN]
    assert len(raw(settings, topic)) == 3


def test_without_a_producer_nothing_is_sent(settings: KafkaSettings, topic: str, producer: EventProducer) -> None:
    bury(settings, topic, producer, 2)
    assert replayed(settings, topic, None) == [Outcome.WOULD_BE_SENT] * 2
    assert len(raw(settings, topic)) == 2


def test_the_command_only_tells_until_it_is_told_yes_and_accounts_for_each(
    settings: KafkaSettings, topic: str, producer: EventProducer
) -> None:
    bury(settings, topic, producer, 3)
    app, run = build_app(), CliRunner()
    where = ["--bootstrap", settings.bootstrap, "--topic", topic]
    listed = run.invoke(app, ["kafka", "dead-letters", *where])
    assert listed.exit_code == 0, listed.output
    assert "NEWER_SCHEMA_VERSION" in listed.output and "3 dead letters" in listed.output
    told = run.invoke(app, ["kafka", "replay", *where])
    assert "Nothing was sent" in told.output
    assert len(raw(settings, topic)) == 3
    some = run.invoke(app, ["kafka", "replay", *where, "--reason", "NEWER_SCHEMA_VERSION", "--limit", "2", "--yes"])
    assert some.exit_code == 0, some.output
    assert "2 of 2 selected letters are accounted for." in some.output
    assert len(raw(settings, topic)) == 5
    none = run.invoke(app, ["kafka", "replay", *where, "--reason", "BROKEN_PROTOBUF", "--yes"])
    assert "0 of 0 selected letters are accounted for." in none.output
    rest = run.invoke(app, ["kafka", "replay", *where, "--yes"])
    assert "3 of 3 selected letters are accounted for." in rest.output
    assert len(raw(settings, topic)) == 6


def test_a_wrong_setting_is_named_and_its_value_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANAMNESIS_KAFKA_SASL_PASWORD", "hunter2")
    result = CliRunner().invoke(build_app(), ["kafka", "dead-letters"])
    assert "ANAMNESIS_KAFKA_SASL_PASWORD" in str(result.exception)
    assert "hunter2" not in str(result.exception) + result.output
