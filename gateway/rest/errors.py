"""Errors as OpenAI's clients know them: {"error": {"message", "type", "param", "code"}}; the status picks the class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from service_kit.errors import STREAM_INTERRUPTED, ServiceError

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

# gRPC code name -> HTTP status and OpenAI's code.
_STATUS = {
    "INVALID_ARGUMENT": (400, "invalid_value"),
    "OUT_OF_RANGE": (400, "invalid_value"),
    "FAILED_PRECONDITION": (400, "failed_precondition"),
    "UNAUTHENTICATED": (401, "invalid_api_key"),
    "PERMISSION_DENIED": (403, "permission_denied"),
    "NOT_FOUND": (404, "not_found"),
    "ALREADY_EXISTS": (409, "already_exists"),
    "RESOURCE_EXHAUSTED": (429, "rate_limit_exceeded"),
    "UNIMPLEMENTED": (501, "not_implemented"),
    "UNAVAILABLE": (503, "service_unavailable"),
    "ABORTED": (503, "generation_aborted"),
    "CANCELLED": (503, "generation_aborted"),
    "DEADLINE_EXCEEDED": (504, "timeout"),
}
_RETRY_AFTER_SECONDS = 1.0
_CONTEXT_OVERFLOW = "PROMPT_TOO_LONG"  # inference_svc's reason


class OpenAIError(Exception):
    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        kind = _TYPES.get(self.status) or ("server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.retry_after is not None:  # whole seconds, and never zero: a client that is told 0 hammers
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def from_service_error(error: ServiceError) -> OpenAIError:
    """Ours as OpenAI's. An internal error's text stays inside."""
    if error.reason == _CONTEXT_OVERFLOW:
        return OpenAIError(400, error.message, "messages", "context_length_exceeded")
    if error.reason == STREAM_INTERRUPTED:
        return OpenAIError(503, error.message, None, "stream_interrupted", retry_after=_RETRY_AFTER_SECONDS)
    if error.code.name not in _STATUS:
        return OpenAIError(500, "The server had an error while processing your request.", None, "internal_error")
    status, code = _STATUS[error.code.name]
    retry_after = (error.retry_after or _RETRY_AFTER_SECONDS) if status in (429, 503) else None
    param = _param(error.violations[0].field) if error.violations else None
    return OpenAIError(status, error.message, param, code, retry_after=retry_after)


def model_not_found(model: str) -> OpenAIError:
    return OpenAIError(404, f"The model {model} does not exist.", "model", "model_not_found")


def from_validation(errors: Sequence[Mapping[str, Any]]) -> OpenAIError:
    """The first thing wrong with the body, named by its path as OpenAI does: `messages[0].role`."""
    first = errors[0]
    param = ""
    for part in first["loc"]:
        if part == "body":
            continue
        param += f"[{part}]" if isinstance(part, int) else ("." if param else "") + str(part)
    code = "missing_required_parameter" if first["type"] == "missing" else "invalid_value"
    if first["type"] == "extra_forbidden":
        return OpenAIError(400, f"{param} is not supported here. Leave it out.", param, "unsupported_parameter")
    message = str(first["msg"])
    return OpenAIError(400, f"Invalid value for {param}: {message}." if param else message, param or None, code)


def _param(field: str) -> str:
    """Our contract's field as the caller wrote it."""
    return {
        "prompt.new_messages": "messages",
        "dialogue.messages": "messages",
    }.get(field.partition("[")[0], field.removeprefix("sampling."))
