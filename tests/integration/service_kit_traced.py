"""Two processes of a trace: `caller` calls a service, then publishes; `reader` reads what was published."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from opentelemetry import trace

from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc as services
from service_kit.grpc.channel import call_deadline, open_channel
from service_kit.kafka.consumer import EventConsumer, Record
from service_kit.kafka.producer import EventProducer
from service_kit.kafka.settings import KafkaSettings
from service_kit.logs import configure_logging
from service_kit.telemetry import configure_telemetry


async def call(target: str) -> None:
    async with open_channel(target) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        await stub.ListCases(pb.ListCasesRequest(page_token="c1"), timeout=call_deadline(10), wait_for_ready=True)
        # A stream that nobody reads to its end has a span as well.
        stream = stub.Consult(iter([pb.ConsultRequest(doctor_turn="hello")]), timeout=call_deadline(10))
        await stream.read()
        stream.cancel()


def publish(settings: KafkaSettings, topic: str) -> None:
    producer = EventProducer(settings, "caller")
    producer.publish(topic, pb.GetCaseRequest(case_id="c1"), key="k").result(10)
    producer.close()


def read(settings: KafkaSettings, topic: str) -> None:
    consumer = EventConsumer(
        settings, topic, pb.GetCaseRequest, group="readers", client_id="reader", producer_for_dead_letters=None
    )
    until = time.monotonic() + 20
    records: list[Record[pb.GetCaseRequest]] = []
    while not records and time.monotonic() < until:
        records = consumer.poll(1.0)
    for record in records:
        with record.processing():
            pass
    consumer.close()


def main(role: str, endpoint: str, bootstrap: str, topic: str, target: str) -> None:
    configure_logging(role, "INFO")
    telemetry = configure_telemetry(role, endpoint)
    settings = KafkaSettings(bootstrap=bootstrap)
    if role == "reader":
        read(settings, topic)
    else:
        with trace.get_tracer("test").start_as_current_span("step"):
            asyncio.run(call(target))
            publish(settings, topic)
    telemetry.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
