"""Messages of the contracts through a real broker: nothing is lost, nothing unreadable blocks what is behind it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator

import pytest
from kafka import KafkaConsumer
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from anamnesis.simulator.v1 import simulator_pb2 as pb
from service_kit.errors import InvalidArgument, ResourceExhausted, Unavailable
from service_kit.kafka.consumer import EventConsumer, Record
from service_kit.kafka.envelope import headers_of
from service_kit.kafka.lag import living
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import DEAD_LETTERS, ensure_topics

Case = pb.GetCaseRequest
MakeConsumer = Callable[..., EventConsumer[pb.GetCaseRequest]]


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


@pytest.fixture
def consumer(settings: KafkaSettings, topic: str, producer: EventProducer) -> Iterator[MakeConsumer]:
    made: list[EventConsumer[pb.GetCaseRequest]] = []

    def make(group: str | None = None) -> EventConsumer[pb.GetCaseRequest]:
        one = EventConsumer(settings, topic, Case, group=group, client_id="test", producer_for_dead_letters=producer)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def publish(producer: EventProducer, topic: str, count: int, first: int = 0) -> None:
    deliveries = [producer.publish(topic, Case(case_id=f"c{i}"), key=f"g{i}") for i in range(first, first + count)]
    for delivery in deliveries:
        delivery.result(10)


def read(
    consumer: EventConsumer[pb.GetCaseRequest], count: int, seconds: float = 15
) -> list[Record[pb.GetCaseRequest]]:
    records: list[Record[pb.GetCaseRequest]] = []
    until = time.monotonic() + seconds
    while len(records) < count and time.monotonic() < until:
        records += consumer.poll(0.5)
    return records


def ids(records: list[Record[pb.GetCaseRequest]]) -> list[str]:
    return sorted(record.message.case_id for record in records)


def test_a_message_comes_back_with_its_key_place_and_trace(
    producer: EventProducer, topic: str, consumer: MakeConsumer
) -> None:
    parent = SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1))
    context = trace.set_span_in_context(NonRecordingSpan(parent), Context())
    place = producer.publish(topic, Case(case_id="c1"), key="group-7", context=context).result(10)
    (record,) = read(consumer(), 1)
    assert record.message == Case(case_id="c1")
    assert (record.topic, record.partition, record.offset, record.key) == (
        topic,
        place.partition,
        place.offset,
        "group-7",
    )
    assert trace.get_current_span(record.context).get_span_context().trace_id == parent.trace_id
    assert {name: value for name, value in record.headers if name != "traceparent"} == {
        "content-type": b"application/x-protobuf",
        "message-type": b"anamnesis.simulator.v1.GetCaseRequest",
        "schema-version": b"1",
    }


def test_messages_of_one_key_stay_in_order(producer: EventProducer, topic: str, consumer: MakeConsumer) -> None:
    for i in range(200):
        producer.publish(topic, Case(case_id=f"{i:03}"), key="one")
    producer.flush(10)
    records = read(consumer(), 200)
    assert [record.message.case_id for record in records] == [f"{i:03}" for i in range(200)]


TYPE = ("message-type", b"anamnesis.simulator.v1.GetCaseRequest")
CONTENT = ("content-type", b"application/x-protobuf")
VERSION = ("schema-version", b"1")
POISON = {
    "NO_MESSAGE_TYPE": ([CONTENT, VERSION], b""),
    "WRONG_MESSAGE_TYPE": ([CONTENT, ("message-type", b"other.Thing"), VERSION], b""),
    "WRONG_CONTENT_TYPE": ([("content-type", b"application/json"), TYPE, VERSION], b"{}"),
    "UNKNOWN_SCHEMA_VERSION": ([CONTENT, TYPE, ("schema-version", b"one")], b""),
    "NEWER_SCHEMA_VERSION": ([CONTENT, TYPE, ("schema-version", b"2.0")], b""),
    "BROKEN_PROTOBUF": ([CONTENT, TYPE, VERSION], b"\xff\xff\xff"),
    "NO_VALUE": ([CONTENT, TYPE, VERSION], None),
}


def dead_letters(settings: KafkaSettings, topic: str, count: int) -> list[tuple[bytes | None, dict[str, bytes]]]:
    """Value and headers of the dead letters that came from `topic`."""
    reader = KafkaConsumer(
        DEAD_LETTERS, bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest", group_id=None
    )
    found: list[tuple[bytes | None, dict[str, bytes]]] = []
    until = time.monotonic() + 10
    while len(found) < count and time.monotonic() < until:
        for batch in reader.poll(timeout_ms=500).values():
            for raw in batch:
                headers = dict(raw.headers)
                if headers.get("topic") == topic.encode():  # others may be marks of a replay
                    found.append((raw.value, headers))
    reader.close()
    return found


@pytest.mark.parametrize("reason", POISON)
def test_poison_goes_to_the_dead_letters_whole_and_the_consumer_goes_on(
    settings: KafkaSettings, producer: EventProducer, topic: str, consumer: MakeConsumer, reason: str
) -> None:
    headers, value = POISON[reason]
    producer.publish(topic, Case(case_id="before"), key="k").result(10)
    place = producer.publish_raw(topic, value, key=b"k", headers=headers).result(10)
    producer.publish(topic, Case(case_id="after"), key="k").result(10)
    reading = consumer()
    assert [record.message.case_id for record in read(reading, 2)] == ["before", "after"]
    assert reading.lag() == 0
    ((kept, told),) = dead_letters(settings, topic, 1)
    assert kept == (value or b"")
    assert told["reason"] == reason.encode()
    assert (told["partition"], told["offset"]) == (str(place.partition).encode(), str(place.offset).encode())
    assert told["message-type"] == dict(headers).get("message-type", b"")


def test_what_breaks_only_the_contracts_rules_is_left_to_its_reader(
    settings: KafkaSettings, producer: EventProducer, topic: str, consumer: MakeConsumer
) -> None:
    producer.publish(topic, Case(case_id=""), key="k").result(10)  # the contract wants at least one character
    reading = consumer()
    (record,) = read(reading, 1)
    reading.reject(record, "NO_REQUEST_ID", "its reader cannot address an answer")
    ((kept, told),) = dead_letters(settings, topic, 1)
    assert kept == record.value
    assert told["reason"] == b"NO_REQUEST_ID"


def test_where_dead_letters_cannot_be_kept_nothing_is_skipped(
    settings: KafkaSettings, producer: EventProducer, topic: str
) -> None:
    class Broken(EventProducer):
        works = False

        def publish_raw(self, topic: str, value: bytes | None, **rest: object) -> object:  # type: ignore[override]
            if not self.works:
                raise Unavailable("kafka", "the dead-letter topic is gone")
            return super().publish_raw(topic, value, **rest)  # type: ignore[arg-type]

    broken = Broken(settings, "broken")
    reading = EventConsumer(settings, topic, Case, group=None, client_id="t", producer_for_dead_letters=broken)
    for case_id in ("before", None, "after"):
        if case_id is None:
            producer.publish_raw(topic, b"\xff", key=b"k", headers=headers_of(Case())).result(10)
        else:
            producer.publish(topic, Case(case_id=case_id), key="k").result(10)
    with pytest.raises(Unavailable):
        read(reading, 3)
    broken.works = True
    assert [record.message.case_id for record in read(reading, 2)] == ["before", "after"]
    reading.close()
    broken.close()


def test_commit_is_where_the_group_reads_on(producer: EventProducer, topic: str, consumer: MakeConsumer) -> None:
    publish(producer, topic, 20)
    first = consumer("g")
    assert len(read(first, 20)) == 20
    half = {partition: offset // 2 for partition, offset in first.positions().items()}
    assert first.commit(half)
    first.close()
    second = consumer("g")
    left = 20 - sum(half.values())
    assert len(read(second, left)) == left
    assert second.poll(0.5) == []


def test_what_was_not_committed_is_read_again(producer: EventProducer, topic: str, consumer: MakeConsumer) -> None:
    publish(producer, topic, 5)
    first = consumer("g")
    read(first, 5)
    first.close()
    assert ids(read(consumer("g"), 5)) == [f"c{i}" for i in range(5)]


def test_positions_seek_end_and_lag_agree(producer: EventProducer, topic: str, consumer: MakeConsumer) -> None:
    publish(producer, topic, 12)
    reading = consumer()
    assert reading.assignment() == {0, 1, 2, 3}
    assert reading.lag() == 12
    read(reading, 12)
    bookmark = reading.positions()
    assert bookmark == reading.end_offsets()
    assert reading.lag() == 0
    publish(producer, topic, 3, first=12)
    assert reading.lag() == 3
    assert ids(read(reading, 3)) == ["c12", "c13", "c14"]
    reading.seek(bookmark)
    assert ids(read(reading, 3)) == ["c12", "c13", "c14"]


def test_lag_is_a_metric_of_each_partition(producer: EventProducer, topic: str, consumer: MakeConsumer) -> None:
    reading = consumer("g")
    publish(producer, topic, 30)
    assert len(read(reading, 30)) == 30

    def behind() -> dict[int, int]:
        found = [
            o for lag in list(living) for o in lag.observations() if o.attributes and o.attributes["topic"] == topic
        ]
        assert all(observation.attributes["group"] == "g" for observation in found if observation.attributes)
        return {int(str(o.attributes["partition"])): int(o.value) for o in found if o.attributes}

    assert behind() and set(behind().values()) == {0}  # told by what was read
    publish(producer, topic, 12, first=30)
    assert reading.lag() == 12
    assert set(behind()) == {0, 1, 2, 3} and sum(behind().values()) == 12


def test_a_consumer_without_a_group_commits_nothing(consumer: MakeConsumer) -> None:
    with pytest.raises(InvalidArgument):
        consumer().commit({0: 1})


def test_two_of_a_group_share_the_partitions_and_one_inherits(
    producer: EventProducer, topic: str, consumer: MakeConsumer
) -> None:
    publish(producer, topic, 40)
    first, second = consumer("g"), consumer("g")
    told: list[tuple[str, set[int]]] = []
    first.on_rebalance(
        revoked=lambda partitions: told.append(("revoked", partitions)),
        assigned=lambda partitions: told.append(("assigned", partitions)),
    )
    assert len(read(first, 40)) == 40
    assert first.commit(first.positions())
    stop = threading.Event()
    # With rests: who polls without one hardly lets another thread have a word.
    other = threading.Thread(target=lambda: [second.poll(0.2) for _ in iter(lambda: stop.wait(0.05), True)])
    other.start()
    try:
        until = time.monotonic() + 60
        # The second is asked nothing meanwhile: it joins, and its join waits for the first.
        while len(first.assignment()) != 2 and time.monotonic() < until:
            first.keep_alive()
        assert first.assignment() | second.assignment() == {0, 1, 2, 3}
        assert first.assignment() & second.assignment() == set()
    finally:
        stop.set()
        other.join()
    second.close()
    until = time.monotonic() + 15
    while len(first.assignment()) < 4 and time.monotonic() < until:
        first.keep_alive()
    assert first.assignment() == {0, 1, 2, 3}
    assert told[:3] == [
        ("assigned", {0, 1, 2, 3}),
        ("revoked", {0, 1, 2, 3}),
        ("assigned", first.assignment() & told[2][1]),
    ]


def test_a_join_that_ends_while_nobody_polls_is_not_begun_again(consumer: MakeConsumer) -> None:
    first = consumer("g")
    until = time.monotonic() + 15
    while not first.assignment() and time.monotonic() < until:
        first.poll(0.2)
    told: list[set[int]] = []
    first.on_rebalance(assigned=told.append)
    stop = threading.Event()

    def seldom(member: EventConsumer[pb.GetCaseRequest]) -> None:
        """As a worker with every place taken."""
        while not stop.is_set():
            member.keep_alive()
            stop.wait(0.5)

    second = consumer("g")
    members = [threading.Thread(target=seldom, args=[member]) for member in (first, second)]
    for member in members:
        member.start()
    try:
        until = time.monotonic() + 15
        while not second.assignment() and time.monotonic() < until:
            time.sleep(0.1)
        assert second.assignment()
        time.sleep(6)  # two heartbeats: a rebalance that began again would be heard of
        assert len(told) == 1
        assert first.assignment() | second.assignment() == {0, 1, 2, 3}
    finally:
        stop.set()
        for member in members:
            member.join()


def test_keeping_alive_takes_nothing(producer: EventProducer, topic: str, consumer: MakeConsumer) -> None:
    reading = consumer("g")
    reading.poll(2.0)
    publish(producer, topic, 10)
    for _ in range(10):
        reading.keep_alive()
    assert ids(read(reading, 10)) == sorted(f"c{i}" for i in range(10))


def test_large_messages_pass_up_to_the_limit_and_are_refused_above(
    settings: KafkaSettings, producer: EventProducer, topic: str, consumer: MakeConsumer
) -> None:
    large = "x" * (7 * 1024 * 1024)
    producer.publish(topic, Case(case_id=large), key="k").result(10)
    (record,) = read(consumer(), 1)
    assert len(record.message.case_id) == len(large)
    with pytest.raises(ResourceExhausted):
        producer.publish(topic, Case(case_id="x" * (9 * 1024 * 1024)), key="k").result(10)


def test_topics_exist_with_their_partitions_and_may_be_asked_for_again(
    settings: KafkaSettings, topic: str, consumer: MakeConsumer
) -> None:
    ensure_topics(settings, [topic])
    assert len(consumer().assignment()) == settings.partitions


def test_nobody_at_the_address_is_unavailable_in_time() -> None:
    nobody = KafkaSettings(bootstrap="127.0.0.1:9", request_timeout_seconds=1.0, delivery_timeout_seconds=1.0)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        EventProducer(nobody, "test")
    with pytest.raises(Unavailable):
        ensure_topics(nobody, ["t"])
    with pytest.raises(Unavailable):
        EventConsumer(nobody, "t", Case, group="g", client_id="t", producer_for_dead_letters=None)
    assert time.monotonic() - started < 10


def test_reading_a_topic_that_does_not_exist_says_so(settings: KafkaSettings) -> None:
    with pytest.raises(Unavailable, match=r"test\.nowhere"):
        EventConsumer(settings, "test.nowhere", Case, group=None, client_id="t", producer_for_dead_letters=None)
