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
from unittest.mock import ANY

import grpc
import pytest

from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import ensure_topics
from tests.otlp_receiver import OtlpReceiver, Span

START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def probe(endpoint: str, onward: str = "") -> Iterator[str]:
    """A service in a process of its own, that listens: one that calls it on does not find it away."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")} | {
        "ANAMNESIS_PROBE_GRPC_PORT": str(port),
        "ANAMNESIS_PROBE_OTLP_ENDPOINT": endpoint,
        "ANAMNESIS_PROBE_ONWARD": onward,
    }
    process = subprocess.Popen([sys.executable, "-m", "tests.contract.service_kit_probe"], env=environment)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(START_SECONDS)
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
    consumer = only(received.spans(kind="CONSUMER"))
    chain = [root, first_client, first_server, second_client, second_server]
    assert [span.parent_id for span in chain] == ["", *(span.span_id for span in chain[:-1])]
    assert producer.parent_id == root.span_id
    assert (consumer.trace_id, consumer.parent_id) == (root.trace_id, producer.span_id)
    assert [s.service for s in (root, first_server, consumer)] == ["caller", "probe", "reader"]


def test_spans_carry_the_attributes_that_name_the_rpc(received: OtlpReceiver) -> None:
    server = only([s for s in received.spans(kind="SERVER") if s.name.endswith("/ListCases")])
    assert server.name == "anamnesis.simulator.v1.PatientSimulatorService/ListCases"
    assert server.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": server.name,
        "rpc.response.status_code": "OK",
    }
    client = only([s for s in received.spans(kind="CLIENT") if s.name == server.name])
    assert client.attributes == {**server.attributes, "server.address": "127.0.0.1", "server.port": ANY}
    assert {"service.namespace", "service.name", "service.version", "service.instance.id"} <= server.resource.keys()
    assert server.resource["deployment.environment.name"] == "development"


def test_a_stream_that_is_dropped_has_ended_spans_on_both_sides(received: OtlpReceiver) -> None:
    client = only([s for s in received.spans(kind="CLIENT") if s.name.endswith("/Consult")])
    server = only([s for s in received.spans(kind="SERVER") if s.name.endswith("/Consult")])
    assert server.parent_id == client.span_id
    assert client.error
    assert client.attributes["rpc.response.status_code"] == client.attributes["error.type"] == "CANCELLED"
    assert not server.error


def test_both_ends_of_a_topic_say_where_the_message_lies(received: OtlpReceiver) -> None:
    sent, processed = only(received.spans(kind="PRODUCER")), only(received.spans(kind="CONSUMER"))
    topic = sent.attributes["messaging.destination.name"]
    assert (sent.name, processed.name) == (f"send {topic}", f"process {topic}")
    common = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": ANY,
        "messaging.kafka.offset": 0,
    }
    assert sent.attributes == common | {
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.client.id": "caller",
        "messaging.message.body.size": 4,
    }
    assert processed.attributes == common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "readers",
    }


def test_metrics_come_out_too(received: OtlpReceiver) -> None:
    for side in ("server", "client"):
        method = "anamnesis.simulator.v1.PatientSimulatorService/GetCase"
        served = received.metrics(
            f"rpc.{side}.call.duration", **{"rpc.method": method, "rpc.response.status_code": "OK"}
        )
        assert served[-1].value == 1 and (served[-1].unit, served[-1].kind) == ("s", "histogram")
    for name in ("messaging.client.sent.messages", "messaging.client.consumed.messages", "messaging.process.duration"):
        assert received.metrics(name)[-1].value == 1


def test_a_duration_bears_the_trace_that_it_was_measured_in(received: OtlpReceiver) -> None:
    root = only(received.spans(name="step"))
    server = only([s for s in received.spans(trace_id=root.trace_id, kind="SERVER") if s.name.endswith("/GetCase")])
    measured = received.metrics("rpc.server.call.duration", **{"rpc.method": server.name})
    assert measured[-1].exemplars == ((server.trace_id, server.span_id),)


def test_a_collector_that_is_not_there_does_not_hold_up_the_end() -> None:
    started = time.monotonic()
    with probe("http://127.0.0.1:9") as target:
        while socket.socket().connect_ex(("127.0.0.1", int(target.rpartition(":")[2]))):
            assert time.monotonic() - started < 20
            time.sleep(0.05)
        time.sleep(0.5)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 10
