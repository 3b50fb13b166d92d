"""What stands around every RPC, from the outside in: telemetry, deadline, errors, admission, validation.

Invariant: a call ends with OK, or with a code and reason of service_kit.errors. Whatever else a handler raises is a
bug: it is logged with its traceback under an id, and the caller is told INTERNAL and that id, never UNKNOWN.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NoReturn

import grpc
import protovalidate
from google.protobuf.message import Message

from service_kit.errors import Code, DeadlineExceeded, FieldViolation, InvalidArgument, ServiceError, Unimplemented
from service_kit.grpc import deadlines
from service_kit.grpc.handlers import Around, Check, Context, wrap
from service_kit.grpc.status import DETAILS_KEY, GRPC_CODES, service_error, to_status

log = logging.getLogger(__name__)

# A handler that lets these of a callee through did not fail itself.
_PASSED_ON = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


class AroundEveryCall(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Puts `arounds` (outermost first) about each call of the services that `applies` to."""

    def __init__(self, arounds: Sequence[Around], check: Check, applies: Callable[[str], bool]) -> None:
        self._arounds = arounds
        self._check = check
        self._applies = applies

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not self._applies(handler_call_details.method):
            return handler  # None: gRPC answers UNIMPLEMENTED
        return wrap(handler, handler_call_details.method, self._around, self._check)

    @asynccontextmanager
    async def _around(self, method: str, context: Context) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for around in self._arounds:
                await stack.enter_async_context(around(method, context))
            yield


@asynccontextmanager
async def deadline(method: str, context: Context) -> AsyncIterator[None]:
    """Lets call_deadline know how long the caller waits."""
    deadlines.enter_call(context.time_remaining())
    yield


@asynccontextmanager
async def errors(method: str, context: Context) -> AsyncIterator[None]:
    """Turns what was raised into google.rpc.Status."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except Exception as error:  # the process's edge towards its callers
        await _abort(context, _told(method, context, error))


def _told(method: str, context: Context, error: Exception) -> ServiceError:
    """What the caller is told of it."""
    match error:
        case ServiceError():
            if error.code is Code.INTERNAL:
                log.error("call failed", extra={"rpc": method, "reason": error.reason, "error": error.message})
            return error
        case TimeoutError():
            return DeadlineExceeded("DEADLINE_EXCEEDED", "not done in time")
        # The generated base sets the code before it raises; any other is a bug of ours or of a library.
        case NotImplementedError() if context.code() is grpc.StatusCode.UNIMPLEMENTED:
            return Unimplemented(method.lstrip("/"))
        case grpc.aio.AioRpcError() if error.code() in _PASSED_ON:
            return service_error(error, "a service this one calls")
    return _bug(method, error)


def _bug(method: str, error: Exception) -> ServiceError:
    error_id = uuid.uuid4().hex
    log.error("the handler failed unexpectedly", exc_info=error, extra={"rpc": method, "error_id": error_id})
    return ServiceError(
        Code.INTERNAL, "INTERNAL", f"internal error {error_id}; the service's log has it", metadata={"id": error_id}
    )


async def _abort(context: Context, error: ServiceError) -> NoReturn:
    status = to_status(error)
    trailers = [*(context.trailing_metadata() or ()), (DETAILS_KEY, status.SerializeToString())]
    await context.abort(GRPC_CODES[status.code], status.message, tuple(trailers))
    raise AssertionError("abort raises")


def validate(message: Message) -> None:
    """Refuses a message that breaks a rule of its contract, naming every field that does."""
    found = protovalidate.collect_violations(message)
    if found:
        raise InvalidArgument.of([FieldViolation(_path(v.proto), v.proto.message) for v in found], "CONTRACT_VIOLATION")


def _path(violation: protovalidate.ViolationPb) -> str:
    """`context.consultation.max_doctor_turns`, `items[2].prompt`; `request` for a rule on the whole message."""
    parts: list[str] = []
    for element in violation.field.elements if violation.field else ():
        parts.append(element.field_name)
        if element.subscript is not None:
            parts[-1] += f"[{element.subscript.value!r}]"
    return ".".join(parts) or "request"


def is_infrastructure(method: str) -> bool:
    """Health and reflection: they answer in every phase, outside the limits, and are not traced."""
    return method.startswith(("/grpc.health.", "/grpc.reflection."))
