"""One trace goes through gRPC, a second service and Kafka, and comes out over real OTLP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import ensure_topics
from tests.otlp_receiver import OtlpReceiver, Span


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def probe(endpoint: str, onward: str = "") -> Iterator[str]:
    """A service in a process of its own."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")} | {
        "ANAMNESIS_PROBE_GRPC_PORT": str(port),
        "ANAMNESIS_PROBE_OTLP_ENDPOINT": endpoint,
        "ANAMNESIS_PROBE_ONWARD": onward,
    }
    process = subprocess.Popen([sys.executable, "-m", "tests.contract.service_kit_probe"], env=environment)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def received(broker: str) -> Iterator[OtlpReceiver]:
    topic = f"test.traces.{uuid.uuid4().hex}"
    ensure_topics(KafkaSettings(bootstrap=broker), [topic])
    with OtlpReceiver() as receiver:
        with probe(receiver.endpoint) as far, probe(receiver.endpoint, onward=far) as near:
            for role in ("caller", "reader"):
                arguments = [role, receiver.endpoint, broker, topic, near]
                subprocess.run([sys.executable, "-m", "tests.integration.service_kit_traced", *arguments], check=True)
        yield receiver


def only(spans: list[Span]) -> Span:
    assert len(spans) == 1, spans
    return spans[0]


def test_one_trace_links_every_hop(received: OtlpReceiver) -> None:
    root = only(received.spans(name="step"))
    first_client, first_server, second_client, second_server = (
        only([s for s in received.spans(trace_id=root.trace_id, kind=kind) if s.name.endswith(name)])
        for kind, name in (
            ("CLIENT", "/ListCases"),
            ("SERVER", "/ListCases"),
            ("CLIENT", "/GetCase"),
            ("SERVER", "/GetCase"),
        )
    )
    producer = only(received.spans(trace_id=root.trace_id, kind="PRODUCER"))
    consumer = only(received.spans(name="episode"))
    chain = [root, first_client, first_server, second_client, second_server]
    assert [span.parent_id for span in chain] == ["", *(span.span_id for span in chain[:-1])]
    assert producer.parent_id == root.span_id
    assert (consumer.trace_id, consumer.parent_id) == (root.trace_id, producer.span_id)
    assert [s.service for s in (root, first_server, consumer)] == ["caller", "probe", "reader"]


def test_spans_carry_the_attributes_that_name_the_rpc(received: OtlpReceiver) -> None:
    server = only([s for s in received.spans(kind="SERVER") if s.name.endswith("/ListCases")])
    assert server.attributes["rpc.system"] == "grpc"
    assert server.attributes["rpc.service"] == "anamnesis.simulator.v1.PatientSimulatorService"
    assert server.attributes["rpc.method"] == "ListCases"
    assert server.attributes["rpc.grpc.status_code"] == 0
    assert {"service.name", "service.version", "service.instance.id"} <= server.resource.keys()


def test_a_stream_that_is_dropped_has_ended_spans_on_both_sides(received: OtlpReceiver) -> None:
    client = only([s for s in received.spans(kind="CLIENT") if s.name.endswith("/Consult")])
    server = only([s for s in received.spans(kind="SERVER") if s.name.endswith("/Consult")])
    assert server.parent_id == client.span_id
    assert client.error and client.attributes["rpc.grpc.status_code"] == 1


def test_the_producers_span_says_where_the_message_lies(received: OtlpReceiver) -> None:
    attributes = only(received.spans(kind="PRODUCER")).attributes
    assert attributes["messaging.system"] == "kafka"
    assert attributes["messaging.kafka.offset"] == 0


def test_metrics_come_out_too(received: OtlpReceiver) -> None:
    served = received.metrics("rpc.server.call.duration", **{"rpc.method": "GetCase", "rpc.grpc.status_code": 0})
    assert served[-1].value == 1
    assert received.metrics("anamnesis.kafka.published", outcome="stored")[-1].value == 1
    assert received.metrics("anamnesis.kafka.consumed")[-1].value == 1


def test_a_collector_that_is_not_there_does_not_hold_up_the_end() -> None:
    started = time.monotonic()
    with probe("http://127.0.0.1:9") as target:
        while socket.socket().connect_ex(("127.0.0.1", int(target.rpartition(":")[2]))):
            assert time.monotonic() - started < 20
            time.sleep(0.05)
        time.sleep(0.5)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 10
