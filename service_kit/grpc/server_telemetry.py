"""A SERVER span and a duration for each call served.

Invariant: the span is the child of the caller's, is current while the handler runs, and ends with the code that the
caller was told. Only codes that tell of our fault (UNAVAILABLE, INTERNAL, ...) mark it as an error, not a bad request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from opentelemetry import context as contexts
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import SpanKind

from service_kit.errors import Code
from service_kit.grpc.handlers import Context
from service_kit.grpc.rpc_attributes import DURATION_BUCKETS, STATUS_CODE, rpc_attributes, status_name
from service_kit.spans import ERROR_TYPE, fail

_OURS = {
    Code.UNKNOWN,
    Code.DEADLINE_EXCEEDED,
    Code.UNIMPLEMENTED,
    Code.INTERNAL,
    Code.UNAVAILABLE,
    Code.DATA_LOSS,
}
_tracer = trace.get_tracer(__name__)
_duration = metrics.get_meter(__name__).create_histogram(
    "rpc.server.call.duration",
    unit="s",
    description="From a request's arrival to the last response",
    explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
)


@asynccontextmanager
async def telemetry(method: str, context: Context) -> AsyncIterator[None]:
    attributes = rpc_attributes(method)
    carrier = {str(key): value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
    span = _tracer.start_span(
        method.lstrip("/"), context=propagate.extract(carrier), kind=SpanKind.SERVER, attributes=attributes
    )
    # Not detached: the context belongs to the call's own task and ends with it.
    contexts.attach(trace.set_span_in_context(span))
    started = time.perf_counter()
    code = int(Code.UNKNOWN)  # unless it ends in a way that is known
    try:
        yield
        code = _told(context)
    except grpc.aio.AbortError:
        code = _told(context)
        raise
    except asyncio.CancelledError:
        remaining = context.time_remaining()
        code = Code.DEADLINE_EXCEEDED if remaining is not None and remaining <= 0 else Code.CANCELLED
        raise
    finally:
        attributes[STATUS_CODE] = status_name(code)
        span.set_attribute(STATUS_CODE, status_name(code))
        if code in _OURS:
            attributes[ERROR_TYPE] = status_name(code)
            fail(span, status_name(code))
        # While the span is current: the measurement's exemplar names it.
        _duration.record(time.perf_counter() - started, attributes)
        span.end()


def _told(context: Context) -> int:
    code: Any = context.code()  # 0 or None where nobody set it, an int or a StatusCode where somebody did
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else int(code or 0)
