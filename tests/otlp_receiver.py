"""A real OTLP receiver of a few lines: what processes export over gRPC is here, as plain Python, to assert on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanProto


@dataclass(frozen=True)
class Span:
    """Ids are hex; `parent_id` is "" for a root; `links` are (trace_id, span_id); `kind` is SERVER, CLIENT, …"""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any]
    error: bool
    start_nanos: int
    end_nanos: int
    resource: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Metric:
    """One data point. `value` is a sum's or a gauge's value, or a histogram's count; `kind` is counter, gauge,
    up_down_counter or histogram; `exemplars` are (trace_id, span_id)."""

    service: str
    name: str
    attributes: dict[str, Any]
    value: float
    unit: str = ""
    kind: str = ""
    description: str = ""
    exemplars: tuple[tuple[str, str], ...] = ()


class OtlpReceiver:
    """Collects from when it is entered until it is left; give `endpoint` to the processes."""

    def __init__(self, port: int = 0) -> None:
        self._spans: list[Span] = []
        self._metrics: list[Metric] = []
        self._raw: list[bytes] = []
        self._arrived = Condition()
        self._server = grpc.server(ThreadPoolExecutor(2, "otlp"), options=[("grpc.max_receive_message_length", -1)])
        add_traces: Any = trace_grpc.add_TraceServiceServicer_to_server  # generated without types
        add_metrics: Any = metrics_grpc.add_MetricsServiceServicer_to_server
        add_traces(_Traces(self._take_spans), self._server)
        add_metrics(_Metrics(self._take_metrics), self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.stop(1).wait()

    def spans(
        self,
        *,
        trace_id: str | None = None,
        name: str | None = None,
        service: str | None = None,
        kind: str | None = None,
    ) -> list[Span]:
        """The spans received so far that match, in the order they started."""
        with self._arrived:
            found = list(self._spans)
        wanted = {"trace_id": trace_id, "name": name, "service": service, "kind": kind}
        for attribute, value in wanted.items():
            if value is not None:
                found = [span for span in found if getattr(span, attribute) == value]
        return sorted(found, key=lambda span: span.start_nanos)

    def metrics(self, name: str, **attributes: Any) -> list[Metric]:
        """The data points received so far under that name, the latest last."""
        with self._arrived:
            found = list(self._metrics)
        return [m for m in found if m.name == name and attributes.items() <= m.attributes.items()]

    def latest(self) -> dict[tuple[str, str], list[Metric]]:
        """Every data point received so far, by service and name."""
        with self._arrived:
            found = list(self._metrics)
        grouped: dict[tuple[str, str], list[Metric]] = {}
        for point in found:
            grouped.setdefault((point.service, point.name), []).append(point)
        return grouped

    def contains(self, text: str) -> bool:
        """Whether these words stand anywhere in what was exported: names, attributes, events, statuses, resources."""
        with self._arrived:
            return any(text.encode() in raw for raw in self._raw)

    def wait_for(self, condition: Callable[[Self], Any], timeout_seconds: float = 20.0) -> Any:
        """What `condition` gives as soon as it is true of what was received; fails after the timeout."""
        until = time.monotonic() + timeout_seconds
        while True:
            result = condition(self)
            if result:
                return result
            left = until - time.monotonic()
            if left <= 0:
                names = sorted({f"{span.service}: {span.name}" for span in self.spans()})
                raise AssertionError(f"not received within {timeout_seconds} s; spans so far: {names}")
            with self._arrived:
                self._arrived.wait(min(left, 0.25))

    def clear(self) -> None:
        with self._arrived:
            self._spans.clear()
            self._metrics.clear()
            self._raw.clear()

    def _take_spans(self, spans: Iterable[Span], raw: bytes) -> None:
        with self._arrived:
            self._spans += spans
            self._raw.append(raw)
            self._arrived.notify_all()

    def _take_metrics(self, metrics: Iterable[Metric], raw: bytes) -> None:
        with self._arrived:
            self._metrics += metrics
            self._raw.append(raw)
            self._arrived.notify_all()


class _Traces(trace_grpc.TraceServiceServicer):
    def __init__(self, take: Callable[[Iterable[Span], bytes], None]) -> None:
        self._take = take

    def Export(
        self, request: trace_pb2.ExportTraceServiceRequest, context: Any
    ) -> trace_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            about = _attributes(resource.resource.attributes)
            spans = [_span(span, about) for scope in resource.scope_spans for span in scope.spans]
            self._take(spans, resource.SerializeToString())
        return trace_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, take: Callable[[Iterable[Metric], bytes], None]) -> None:
        self._take = take

    def Export(
        self, request: metrics_pb2.ExportMetricsServiceRequest, context: Any
    ) -> metrics_pb2.ExportMetricsServiceResponse:
        for resource in request.resource_metrics:
            service = _attributes(resource.resource.attributes).get("service.name", "")
            self._take(
                [
                    point
                    for scope in resource.scope_metrics
                    for metric in scope.metrics
                    for point in _points(metric, service)
                ],
                resource.SerializeToString(),
            )
        return metrics_pb2.ExportMetricsServiceResponse()


def _span(span: SpanProto, resource: dict[str, Any]) -> Span:
    return Span(
        service=resource.get("service.name", ""),
        name=span.name,
        kind=SpanProto.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        attributes=_attributes(span.attributes),
        error=span.status.code == 2,
        start_nanos=span.start_time_unix_nano,
        end_nanos=span.end_time_unix_nano,
        resource=resource,
    )


def _points(metric: Any, service: str) -> list[Metric]:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    if kind == "sum":
        kind = "counter" if data.is_monotonic else "up_down_counter"
    return [
        Metric(
            service,
            metric.name,
            _attributes(point.attributes),
            float(_value(point)),
            metric.unit,
            kind,
            metric.description,
            tuple((exemplar.trace_id.hex(), exemplar.span_id.hex()) for exemplar in point.exemplars),
        )
        for point in data.data_points
    ]


def _value(point: Any) -> float:
    if hasattr(point, "count"):
        return float(point.count)
    return float(getattr(point, point.WhichOneof("value") or "as_int"))


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _any(pair.value) for pair in pairs}


def _any(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_any(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
