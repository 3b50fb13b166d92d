"""A CLIENT span for each outgoing call, whose context travels with it as W3C metadata.

Invariant: the call object is handed on untouched, so cancelling, writing and reading work as without telemetry, and the
span ends when the call does, however it ends. (The contrib interceptor wraps streams in a generator, which ends its
span only when somebody reads to the end.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from service_kit.grpc.rpc_attributes import rpc_attributes

_tracer = trace.get_tracer(__name__)
_ending: set[asyncio.Task[None]] = set()  # asyncio keeps weak references alone


async def _traced(continuation: Callable[[Any, Any], Any], details: Any, request: Any, target: str) -> Any:
    method = details.method.decode() if isinstance(details.method, bytes) else str(details.method)
    span = _tracer.start_span(
        method.lstrip("/"), kind=SpanKind.CLIENT, attributes=rpc_attributes(method) | {"server.address": target}
    )
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    for key, value in carrier.items():
        metadata[key] = value
    try:
        call = await continuation(details._replace(metadata=metadata), request)
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        span.end()
        raise
    call.add_done_callback(lambda done: _end_soon(span, done))
    return call


def _end_soon(span: Span, call: Any) -> None:
    # code() is a coroutine although the answer is there, and a callback cannot await.
    task = asyncio.get_running_loop().create_task(_end(span, call))
    _ending.add(task)
    task.add_done_callback(_ending.discard)


async def _end(span: Span, call: Any) -> None:
    try:
        code = await call.code()
        span.set_attribute("rpc.grpc.status_code", code.value[0])
        if code is not grpc.StatusCode.OK:
            span.set_status(Status(StatusCode.ERROR, code.name))
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
