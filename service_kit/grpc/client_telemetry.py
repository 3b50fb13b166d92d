"""A CLIENT span and a duration for each outgoing call; the span's context travels with it as W3C metadata.

Invariant: the call object is handed on untouched, so cancelling, writing and reading work as without telemetry, and the
span ends when the call does, however it ends. (The contrib interceptor wraps streams in a generator, which ends its
span only when somebody reads to the end.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.types import AttributeValue

from service_kit.grpc.rpc_attributes import DURATION_BUCKETS, STATUS_CODE, rpc_attributes, server_attributes
from service_kit.spans import ERROR_TYPE, end_with, fail

_tracer = trace.get_tracer(__name__)
_duration = metrics.get_meter(__name__).create_histogram(
    "rpc.client.call.duration",
    unit="s",
    description="From a call's begin to its end, retries included",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
)
_ending: set[asyncio.Task[None]] = set()  # asyncio keeps weak references alone


async def _traced(continuation: Callable[[Any, Any], Any], details: Any, request: Any, target: str) -> Any:
    method = details.method.decode() if isinstance(details.method, bytes) else str(details.method)
    attributes: dict[str, AttributeValue] = {**rpc_attributes(method), **server_attributes(target)}
    started = time.perf_counter()
    span = _tracer.start_span(method.lstrip("/"), kind=SpanKind.CLIENT, attributes=attributes)
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    for key, value in carrier.items():
        metadata[key] = value
    try:
        call = await continuation(details._replace(metadata=metadata), request)
    except BaseException as error:
        end_with(span, error)
        span.end()
        raise
    call.add_done_callback(lambda done: _end_soon(span, done, attributes, started))
    return call


def _end_soon(span: Span, call: Any, attributes: dict[str, AttributeValue], started: float) -> None:
    # code() is a coroutine although the answer is there, and a callback cannot await.
    seconds = time.perf_counter() - started
    task = asyncio.get_running_loop().create_task(_end(span, call, attributes, seconds))
    _ending.add(task)
    task.add_done_callback(_ending.discard)


async def _end(span: Span, call: Any, attributes: dict[str, AttributeValue], seconds: float) -> None:
    try:
        code = await call.code()
        attributes[STATUS_CODE] = code.name
        span.set_attribute(STATUS_CODE, code.name)
        if code is not grpc.StatusCode.OK:
            attributes[ERROR_TYPE] = code.name
            fail(span, code.name)
        _duration.record(seconds, attributes, trace.set_span_in_context(span))
    finally:
        span.end()


class _UnaryUnary(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, target: str) -> None:
        self._target = target

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _traced(continuation, client_call_details, request, self._target)


class _UnaryStream(grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, target: str) -> None:
        self._target = target

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await _traced(continuation, client_call_details, request, self._target)


class _StreamUnary(grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, target: str) -> None:
        self._target = target

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _traced(continuation, client_call_details, request_iterator, self._target)


class _StreamStream(grpc.aio.StreamStreamClientInterceptor):  # type: ignore[type-arg]
    def __init__(self, target: str) -> None:
        self._target = target

    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await _traced(continuation, client_call_details, request_iterator, self._target)


def telemetry_interceptors(target: str) -> Any:
    """One for each shape of call, as grpc.aio wants them."""
    return [_UnaryUnary(target), _UnaryStream(target), _StreamUnary(target), _StreamStream(target)]
