"""What can go wrong, in words that every service shares.

Invariant: logic raises these and knows no gRPC; service_kit.grpc turns each into google.rpc.Status and back, so that
the code, the stable reason and the violations survive any number of hops. INTERNAL means a bug.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

DOMAIN = "anamnesis"
# Reason of a stream that ends before it is whole, through no fault of its caller; it passes any number of hops. Its
# metadata say how many `responses` came before, and how to `resume`.
STREAM_INTERRUPTED = "STREAM_INTERRUPTED"


class Code(IntEnum):
    """The canonical codes of google.rpc.Code, with the same numbers."""

    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class FieldViolation:
    """`field` is a path as the caller would write it: `context.consultation.max_doctor_turns`, `items[2].prompt`."""

    field: str
    description: str


class ServiceError(Exception):
    """A failure with a meaning for the caller. `reason` is UPPER_SNAKE_CASE and stable; `message` may be reworded."""

    def __init__(
        self,
        code: Code,
        reason: str,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.violations = list(violations)
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.code.name} {self.reason}: {self.message}"


class InvalidArgument(ServiceError):
    def __init__(self, field: str, description: str, reason: str = "INVALID_ARGUMENT") -> None:
        violation = FieldViolation(field, description)
        super().__init__(Code.INVALID_ARGUMENT, reason, f"{field}: {description}", violations=[violation])

    @classmethod
    def of(cls, violations: Sequence[FieldViolation], reason: str = "INVALID_ARGUMENT") -> InvalidArgument:
        """All the violations of one request in one answer."""
        error = cls(violations[0].field, violations[0].description, reason)
        error.violations = list(violations)
        error.message = "; ".join(f"{v.field}: {v.description}" for v in violations)
        return error


class NotFound(ServiceError):
    def __init__(self, what: str, identifier: str) -> None:
        key = _reason(what)
        super().__init__(
            Code.NOT_FOUND, f"{key}_NOT_FOUND", f"there is no {what} {identifier!r}", metadata={key.lower(): identifier}
        )


class AlreadyExists(ServiceError):
    def __init__(self, what: str, identifier: str) -> None:
        key = _reason(what)
        super().__init__(
            Code.ALREADY_EXISTS,
            f"{key}_ALREADY_EXISTS",
            f"there is already a {what} {identifier!r}",
            metadata={key.lower(): identifier},
        )


class FailedPrecondition(ServiceError):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(Code.FAILED_PRECONDITION, reason, message)


class Aborted(ServiceError):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(Code.ABORTED, reason, message)


class ResourceExhausted(ServiceError):
    def __init__(self, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(Code.RESOURCE_EXHAUSTED, reason, message, retry_after=retry_after)


class Unavailable(ServiceError):
    """Something this call depends on is not there now; the same call may succeed later."""

    def __init__(self, dependency: str, message: str) -> None:
        super().__init__(
            Code.UNAVAILABLE,
            "DEPENDENCY_UNAVAILABLE",
            f"{dependency}: {message}",
            metadata={"dependency": dependency},
        )
        self.dependency = dependency


class DeadlineExceeded(ServiceError):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, reason, message)


class Unauthenticated(ServiceError):
    def __init__(self, message: str, reason: str = "UNAUTHENTICATED") -> None:
        super().__init__(Code.UNAUTHENTICATED, reason, message)


class PermissionDenied(ServiceError):
    def __init__(self, message: str, reason: str = "PERMISSION_DENIED") -> None:
        super().__init__(Code.PERMISSION_DENIED, reason, message)


class Unimplemented(ServiceError):
    def __init__(self, what: str) -> None:
        super().__init__(Code.UNIMPLEMENTED, "UNIMPLEMENTED", f"{what} is not implemented")


def _reason(what: str) -> str:
    """`patient case` -> `PATIENT_CASE`."""
    return re.sub(r"[^A-Z0-9]+", "_", what.upper()).strip("_")
