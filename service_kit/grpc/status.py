"""ServiceError <-> google.rpc.Status, the one form in which an error crosses the wire.

Invariant: from_error(to_status(e)) keeps code, reason, metadata, violations and retry_after.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from service_kit.errors import (
    DOMAIN,
    STREAM_INTERRUPTED,
    Code,
    DeadlineExceeded,
    FieldViolation,
    ServiceError,
    Unavailable,
)

DETAILS_KEY = "grpc-status-details-bin"
# Details travel in trailers, which peers limit to 8 KiB in base64, beside the percent-encoded message: however wrong a
# request is, telling so must fit. All in bytes.
_MAX_DETAILS = 3 * 1024
_MAX_TEXT = 256
_MAX_MESSAGE = 512

GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: ServiceError) -> status_pb2.Status:
    """The error with ErrorInfo, and BadRequest and RetryInfo where they apply."""
    status = status_pb2.Status(code=int(error.code), message=_short(error.message, _MAX_MESSAGE))
    metadata = {key: _short(value, _MAX_TEXT) for key, value in error.metadata.items()}
    _pack(status, error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after * 1e9))
        _pack(status, error_details_pb2.RetryInfo(retry_delay=delay))
    bad = error_details_pb2.BadRequest()
    for violation in error.violations:
        field, description = _short(violation.field, _MAX_TEXT), _short(violation.description, _MAX_TEXT)
        if status.ByteSize() + bad.ByteSize() + len(field) + len(description) > _MAX_DETAILS:
            break  # the first ones suffice to begin repairing
        bad.field_violations.add(field=field, description=description)
    if bad.field_violations:
        _pack(status, bad)
    return status


def from_status(status: status_pb2.Status) -> ServiceError:
    """The error that the status tells of; the code's name is the reason where it has no ErrorInfo."""
    code = Code(status.code) if status.code in GRPC_CODES and status.code else Code.UNKNOWN
    error = ServiceError(code, code.name, status.message)
    for detail in status.details:
        info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            error.reason, error.metadata = info.reason, dict(info.metadata)
        elif detail.Is(bad.DESCRIPTOR) and detail.Unpack(bad):
            error.violations = [FieldViolation(v.field, v.description) for v in bad.field_violations]
        elif detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            error.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return error


def service_error(error: grpc.aio.AioRpcError, dependency: str) -> ServiceError:
    """The callee's error as ours, naming the dependency where it was absent, late or broken.

    What the caller can repair (INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, ...) is kept with its reason.
    """
    callee = from_status(_status_of(error))
    if callee.code in (Code.UNAVAILABLE, Code.CANCELLED) and callee.reason != STREAM_INTERRUPTED:
        unavailable = Unavailable(dependency, _explained(callee.message))
        unavailable.retry_after = callee.retry_after
        unavailable.metadata |= {"dependency_reason": callee.reason}
        return unavailable
    if callee.code is Code.DEADLINE_EXCEEDED:
        late = DeadlineExceeded("DEPENDENCY_DEADLINE_EXCEEDED", f"{dependency} did not answer in time")
        late.metadata["dependency"] = dependency
        return late
    if callee.code in (Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS):
        return ServiceError(
            Code.INTERNAL,
            "DEPENDENCY_FAILED",
            f"{dependency} failed: {callee.message}",
            metadata={"dependency": dependency, "dependency_reason": callee.reason},
        )
    callee.metadata.setdefault("dependency", dependency)
    return callee


def _explained(message: str) -> str:
    """What gRPC says of a connection that the other end closed in the handshake leaves out that TLS is the cause."""
    if "last error" in message and message.endswith("Socket closed"):
        return f"{message}: the other end hung up in the handshake; either it wants TLS, or it refuses our certificate"
    return message or "not reachable"


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    trailers: Any = error.trailing_metadata() or ()
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def _pack(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _short(text: str, limit: int) -> str:
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "…"
