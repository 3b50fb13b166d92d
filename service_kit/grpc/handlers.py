"""One wrapper for the four shapes of an RPC handler.

Invariant: an `around` sees every call of a method once, from before its first request is decoded until its last
response is encoded, whatever its shape; exceptions and cancellation pass through it. Each call runs in a task of its
own (grpc.aio starts one), so context variables set in an `around` are the call's alone.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message

from service_kit.errors import InvalidArgument

Context = grpc.aio.ServicerContext[Any, Any]
Around = Callable[[str, Context], AbstractAsyncContextManager[None]]
Check = Callable[[Message], None]


@dataclass(frozen=True)
class Undecodable:
    """Stands in for a request whose bytes are no message: grpc.aio itself would answer UNKNOWN."""

    message_type: str


def wrap(handler: Any, method: str, around: Around, check: Check) -> Any:
    """The handler with `around` about each call and `check` applied to each request message."""
    serialize = handler.response_serializer
    deserialize = _lenient(handler.request_deserializer)

    def checked(request: Any) -> Any:
        if isinstance(request, Undecodable):
            raise InvalidArgument("request", f"these bytes are no {request.message_type}", "UNDECODABLE_REQUEST")
        check(request)
        return request

    async def checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            yield checked(request)

    take = checked_stream if handler.request_streaming else checked

    if not handler.response_streaming:
        behavior = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def unary(request: Any, context: Context) -> bytes:
            async with around(method, context):
                response = await behavior(take(request), context)
                encoded: bytes = serialize(response)  # here, so that a wrong response is an INTERNAL with a traceback
                return encoded
            raise AssertionError("an around never swallows an exception")

        to_unary = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return to_unary(unary, request_deserializer=deserialize, response_serializer=None)

    behavior = handler.stream_stream if handler.request_streaming else handler.unary_stream
    to_stream = (
        grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
    )

    if inspect.isasyncgenfunction(behavior):
        # As a generator of ours it would be left open by grpc.aio where the caller goes while a message is sent.
        async def stream(request: Any, context: Context) -> None:
            async with around(method, context), aclosing(behavior(take(request), context)) as responses:
                async for response in responses:
                    await context.write(serialize(response))

        return to_stream(stream, request_deserializer=deserialize, response_serializer=None)

    async def writes(request: Any, context: Context) -> None:  # a coroutine that calls context.write
        async with around(method, context):
            await behavior(take(request), context)

    return to_stream(writes, request_deserializer=deserialize, response_serializer=serialize)


def _lenient(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    message_type = getattr(getattr(deserialize, "__self__", None), "DESCRIPTOR", None)
    name = getattr(message_type, "full_name", None) or "protobuf message"

    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:  # whatever the codec raises, the bytes were the caller's
            return Undecodable(name)

    return decode
