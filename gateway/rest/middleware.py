"""Around every REST request: a bound on the body, the trace id in the response, the edge where a bug becomes a 500."""

from __future__ import annotations

import logging

from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.rest.errors import OpenAIError

log = logging.getLogger(__name__)

TRACE_HEADER = "x-trace-id"
_DISCARDED_LIMITS = 8


class Edge:
    """Answers a bug with a 500 that says nothing of it, and names the trace in each response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        span = trace.get_current_span().get_span_context()
        begun = False

        async def send_named(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                if span.is_valid:
                    MutableHeaders(scope=message)[TRACE_HEADER] = trace.format_trace_id(span.trace_id)
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception:
            log.exception("a REST request failed", extra={"path": scope["path"]})
            if begun:
                raise  # the status is out: all that is left is to break the connection
            error = OpenAIError(500, "The server had an error while processing your request.", None, "internal_error")
            await JSONResponse(error.body, error.status)(scope, receive, send_named)


class BodyTooLarge(Exception):
    pass


class BodyLimit:
    """Refuses a body over the limit, declared or grown.

    What follows is read and thrown away up to a bound: a client that still sends would see a reset and not the answer.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        received = 0

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise BodyTooLarge
            return message

        if declared.isdigit() and int(declared) > self._limit:
            await self._refuse(scope, receive, send)
            return
        try:
            await self._app(scope, receive_bounded, send)
        except BodyTooLarge:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        discarded = 0
        while discarded < _DISCARDED_LIMITS * self._limit:
            message = await receive()
            discarded += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        error = OpenAIError(413, f"The request body is larger than {self._limit} bytes.", None, "request_too_large")
        await JSONResponse(error.body, error.status, {"Connection": "close"})(scope, receive, send)
