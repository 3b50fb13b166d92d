"""Spans that tell how their work ended, and nothing of what it was about.

Invariant: what leaves a span by raising is its error.type, a stable reason or the name of a class; an exception's text
may quote what a person said, so it is in no status and no event. Work that was called off is no error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

ERROR_TYPE = "error.type"
CANCELLED = "cancelled"
# A code, not a sentence: UnicodeDecodeError and others say `reason` too, in prose.
_STABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@contextmanager
def traced(
    tracer: Tracer,
    name: str,
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    context: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """A span that is current while the block runs; the child of `context`'s span, or of the current one."""
    with tracer.start_as_current_span(
        name,
        context,
        kind,
        attributes,
        links,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except BaseException as error:
            end_with(span, error)
            raise


def end_with(span: Span, error: BaseException) -> None:
    """Say that the span's work ended by raising `error`."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        span.set_attribute(ERROR_TYPE, CANCELLED)
        return
    fail(span, error_type(error))


def fail(span: Span, reason: str) -> None:
    """Mark the span as failed, for a stable reason."""
    span.set_attribute(ERROR_TYPE, reason)
    span.set_status(Status(StatusCode.ERROR, reason))


def error_type(error: BaseException) -> str:
    """The stable reason of an error that has one, as ServiceError does, or else the name of its class."""
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) and _STABLE.fullmatch(reason) else type(error).__qualname__
