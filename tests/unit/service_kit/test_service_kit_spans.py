"""Spans say how their work ended, in the conventions' words, and nothing of what it was about."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import messaging_attributes, rpc_attributes
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.trace import StatusCode, Tracer

from service_kit import spans
from service_kit.errors import Unavailable
from service_kit.grpc import rpc_attributes as rpc
from service_kit.kafka import messaging
from service_kit.spans import traced

SECRET = "my chest hurts"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[Tracer]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("test")
    provider.shutdown()


def ended_by(error: BaseException, tracer: Tracer, exporter: InMemorySpanExporter) -> ReadableSpan:
    with pytest.raises(type(error)), traced(tracer, "work", {"anamnesis.step": 1}):
        raise error
    (span,) = exporter.get_finished_spans()
    return span


def test_work_that_ends_well_has_no_error(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with traced(tracer, "work"):
        pass
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.UNSET and not span.attributes


def test_an_error_is_its_stable_reason_and_never_its_text(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    span = ended_by(Unavailable("engine", SECRET), tracer, exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None and span.attributes["error.type"] == Unavailable("engine", "").reason
    assert SECRET not in span.to_json()


def test_an_error_without_a_stable_reason_is_the_name_of_its_class(
    tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    span = ended_by(UnicodeDecodeError("utf-8", b"x", 0, 1, SECRET), tracer, exporter)
    assert span.attributes is not None and span.attributes["error.type"] == "UnicodeDecodeError"
    assert SECRET not in span.to_json()


def test_what_was_called_off_is_no_error(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    span = ended_by(asyncio.CancelledError(), tracer, exporter)
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes is not None and span.attributes["error.type"] == spans.CANCELLED


@pytest.mark.parametrize(
    "target, attributes",
    [
        ("rubric:7102", {"server.address": "rubric", "server.port": 7102}),
        ("dns:///rubric.anamnesis.svc:7102", {"server.address": "rubric.anamnesis.svc", "server.port": 7102}),
        ("ipv4:10.0.0.1:7103,10.0.0.2:7103", {"server.address": "ipv4:10.0.0.1:7103,10.0.0.2:7103"}),
    ],
)
def test_a_target_is_an_address_and_a_port_or_names_a_group(target: str, attributes: dict[str, object]) -> None:
    assert rpc.server_attributes(target) == attributes


def test_the_names_are_those_of_the_conventions_and_none_is_deprecated() -> None:
    named = {
        rpc_attributes: (rpc.METHOD, rpc.SYSTEM, rpc.STATUS_CODE),
        server_attributes: (rpc.SERVER_ADDRESS, rpc.SERVER_PORT),
        error_attributes: (spans.ERROR_TYPE,),
        messaging_attributes: (
            messaging.SYSTEM,
            messaging.OPERATION_NAME,
            messaging.OPERATION_TYPE,
            messaging.DESTINATION,
            messaging.PARTITION,
            messaging.OFFSET,
            messaging.GROUP,
            messaging.CLIENT_ID,
            messaging.BODY_SIZE,
        ),
    }
    for module, names in named.items():
        constants = {value: constant for constant, value in vars(module).items() if constant.isupper()}
        assert set(names) <= constants.keys()
        assert not any(documented_as_deprecated(module.__file__ or "", constants[name]) for name in names)


def documented_as_deprecated(path: str, constant: str) -> bool:
    """The package says so in the docstring below the constant alone."""
    with open(path, encoding="utf-8") as source:
        text = source.read()
    return text.partition(f"\n{constant}: ")[2].partition('"""')[2].lstrip().startswith("Deprecated")
