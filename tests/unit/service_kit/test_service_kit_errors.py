"""The errors of service_kit keep their meaning over the wire."""

from __future__ import annotations

import re

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from service_kit.errors import (
    Aborted,
    AlreadyExists,
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from service_kit.grpc.status import DETAILS_KEY, GRPC_CODES, from_status, service_error, to_status

EVERY_KIND: list[ServiceError] = [
    InvalidArgument("dialogue.turns[2].text", "too long"),
    InvalidArgument.of([FieldViolation("a", "b"), FieldViolation("c", "d")]),
    NotFound("patient case", "case-1"),
    AlreadyExists("run", "run-1"),
    FailedPrecondition("FROZEN", "the frozen deployment is never updated"),
    ResourceExhausted("QUEUE_FULL", "try later", retry_after=1.5),
    Unavailable("rubric_svc", "connection refused"),
    DeadlineExceeded("DEADLINE_EXCEEDED", "late"),
    Unauthenticated("no key"),
    PermissionDenied("not yours"),
    Unimplemented("ExportModel"),
    Aborted("STALE", "another run began"),
]


def as_received(error: ServiceError, details: bytes | None = None) -> AioRpcError:
    if details is None:
        details = to_status(error).SerializeToString()
    return AioRpcError(GRPC_CODES[int(error.code)], Metadata(), Metadata((DETAILS_KEY, details)), error.message, None)


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_wire(error: ServiceError) -> None:
    again = from_status(to_status(error))
    assert (again.code, again.reason, again.message) == (error.code, error.reason, error.message)
    assert (again.metadata, again.violations, again.retry_after) == (
        error.metadata,
        error.violations,
        error.retry_after,
    )


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_every_reason_has_the_form_that_error_info_prescribes(error: ServiceError) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]", error.reason)


def test_what_the_caller_can_repair_is_kept_with_its_reason() -> None:
    ours = service_error(as_received(NotFound("run", "r1")), "trainer")
    assert (ours.code, ours.reason) == (Code.NOT_FOUND, "RUN_NOT_FOUND")


def test_a_dependency_that_is_gone_or_late_is_named() -> None:
    gone = service_error(AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata(), "refused", None), "rubric")
    late = service_error(AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, Metadata(), Metadata(), "", None), "rubric")
    assert isinstance(gone, Unavailable) and gone.dependency == "rubric"
    assert isinstance(late, DeadlineExceeded) and late.metadata["dependency"] == "rubric"


def test_a_bug_of_the_callee_is_not_blamed_on_the_callers_request() -> None:
    ours = service_error(as_received(ServiceError(Code.INTERNAL, "INTERNAL", "internal error 7f")), "rubric")
    assert (ours.code, ours.reason) == (Code.INTERNAL, "DEPENDENCY_FAILED")
    assert "7f" in ours.message


def test_broken_details_fall_back_to_the_bare_code() -> None:
    ours = service_error(as_received(NotFound("run", "r1"), details=b"\xff\xff"), "trainer")
    assert (ours.code, ours.reason) == (Code.NOT_FOUND, "NOT_FOUND")


def test_what_goes_into_trailers_is_bounded_however_wrong_the_request() -> None:
    error = InvalidArgument.of([FieldViolation(f"items[{i}]" * 50, "ä" * 5000) for i in range(1000)])
    status = to_status(error)
    assert status.ByteSize() < 4 * 1024
    assert from_status(status).violations[0].field.startswith("items[0]")
