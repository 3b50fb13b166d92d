"""OpenTelemetry traces and metrics of one process, and the W3C trace context as Kafka headers.

Invariant: every process has a valid trace context, so ids travel and appear in logs; spans and metrics are exported
only where an OTLP endpoint is set, and no span has events: an exception's text may quote what a person said. A
measurement made within a span bears its ids as exemplar. Shutting down flushes what is buffered, within its bound.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Sequence
from importlib import metadata

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

FLUSH_SECONDS = 5.0
METRIC_INTERVAL_SECONDS = 10.0
# OpenTelemetry's own: "none" for an endpoint that takes traces alone.
METRICS_VARIABLE = "OTEL_METRICS_EXPORTER"
_W3C = TraceContextTextMapPropagator()
_TRACE_HEADERS = ("traceparent", "tracestate")


class Telemetry:
    """Owns the providers of this process."""

    def __init__(self, tracers: TracerProvider, meters: MeterProvider | None) -> None:
        self._tracers = tracers
        self._meters = meters

    def shutdown(self) -> None:
        """Flush and stop, within FLUSH_SECONDS even if nobody answers at the endpoint. Later calls do nothing."""
        # The exporters retry for longer than a process may take to stop, hence a thread that is left behind.
        stopping = threading.Thread(target=self._shutdown, name="telemetry-shutdown", daemon=True)
        stopping.start()
        stopping.join(FLUSH_SECONDS)

    def _shutdown(self) -> None:
        tracers, meters = self._tracers, self._meters
        others = threading.Thread(target=meters.shutdown, daemon=True) if meters else None
        if others:
            others.start()
        tracers.shutdown()
        if others:
            others.join()


_configured: Telemetry | None = None


def configure_telemetry(service: str, endpoint: str | None) -> Telemetry:
    """Set up this process's telemetry once; later calls return what the first one made."""
    global _configured
    if _configured is None:
        _configured = _build(service, endpoint)
    return _configured


def _build(service: str, endpoint: str | None) -> Telemetry:
    resource = _resource(service)
    if endpoint is None:
        # Ids are made and passed on, nothing is recorded: this costs a few microseconds a span.
        tracers = TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
        trace.set_tracer_provider(tracers)
        return Telemetry(tracers, None)
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=SpanLimits(max_events=0))
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint), schedule_delay_millis=1000))
    trace.set_tracer_provider(tracers)
    if os.environ.get(METRICS_VARIABLE) == "none":
        return Telemetry(tracers, None)
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=endpoint), export_interval_millis=METRIC_INTERVAL_SECONDS * 1000
    )
    meters = MeterProvider(
        metric_readers=[reader], resource=resource, shutdown_on_exit=False, exemplar_filter=TraceBasedExemplarFilter()
    )
    metrics.set_meter_provider(meters)
    return Telemetry(tracers, meters)


def _resource(service: str) -> Resource:
    """OTEL_RESOURCE_ATTRIBUTES adds to it: the pod, and another environment than a developer's."""
    default = Resource({"deployment.environment.name": "development"})
    return default.merge(
        Resource.create(
            {
                "service.namespace": "anamnesis",
                "service.name": service,
                "service.version": _version(),
                "service.instance.id": f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}",
            }
        )
    )


def _version() -> str:
    try:
        return metadata.version("anamnesis")
    except metadata.PackageNotFoundError:  # an image copies the packages without installing the project
        return "unknown"


def trace_headers(context: Context | None = None) -> list[tuple[str, bytes]]:
    """The current (or given) trace context as Kafka headers; empty outside of any span."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return [(name, value.encode()) for name, value in carrier.items()]


def context_from_headers(headers: Sequence[tuple[str, bytes]]) -> Context:
    """The trace context that a message carries; an empty one if it carries none or a broken one."""
    carrier = {
        name.lower(): value.decode("ascii", errors="replace")
        for name, value in headers
        if name.lower() in _TRACE_HEADERS and value is not None
    }
    return _W3C.extract(carrier, Context())
