"""How a call that a stop cuts off tells its caller to take it up again.

Invariant: what a handler said last with resume_with is what its caller is told; it is that call's alone, since each
call is served by a task of its own.
"""

from __future__ import annotations

from contextvars import ContextVar

from service_kit.errors import STREAM_INTERRUPTED, Code, ServiceError

ASK_AGAIN = "ask again"
_RETRY_SECONDS = 1.0
_resume: ContextVar[str] = ContextVar("resume", default=ASK_AGAIN)


def resume_with(how: str) -> None:
    """From here on a call that is cut off can be resumed so, as its request is written: `after_sequence=17`."""
    _resume.set(how)


def interruption(service: str) -> ServiceError:
    return ServiceError(
        Code.UNAVAILABLE,
        STREAM_INTERRUPTED,
        f"{service} stops and could not finish this call in time",
        metadata={"service": service, "resume": _resume.get()},
        retry_after=_RETRY_SECONDS,
    )
