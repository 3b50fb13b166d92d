"""The gRPC server as the gateway's services see it: whatever they register on it stands behind the guard.

The guard runs within the handler, so that what it raises is mapped, logged and traced like any other error of a call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import grpc

from gateway.auth.guard import Guard


class GuardedServer:
    """Takes the place of grpc.aio.Server for `add_…Servicer_to_server`, and for nothing else."""

    def __init__(self, server: Any, guard: Guard) -> None:
        self._server = server
        self._guard = guard

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self._server.add_generic_rpc_handlers([_GuardedHandler(handler, self._guard) for handler in handlers])

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        behind = {name: guarded(handler, self._guard) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, behind)


class _GuardedHandler(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    def __init__(self, handler: Any, guard: Guard) -> None:
        self._handler = handler
        self._guard = guard

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = self._handler.service(handler_call_details)
        return handler and guarded(handler, self._guard)


def guarded(handler: Any, guard: Guard) -> Any:
    """The same handler behind the guard. Every method takes one request; a stream comes back or one response does."""
    if handler.request_streaming:
        raise TypeError("the gateway has no method with a request stream; guard that kind before adding one")
    codec = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if handler.response_streaming:

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            await guard.admit(authorization_of(context))
            async with aclosing(handler.unary_stream(request, context)) as responses:
                async for response in responses:
                    yield response

        return grpc.unary_stream_rpc_method_handler(stream, **codec)

    async def unary(request: Any, context: Any) -> Any:
        await guard.admit(authorization_of(context))
        return await handler.unary_unary(request, context)

    return grpc.unary_unary_rpc_method_handler(unary, **codec)


def authorization_of(context: Any) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str):
            return value
    return None
