from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2
from gateway.rest.chat import fingerprint, generate_request
from gateway.rest.errors import OpenAIError, from_service_error, from_validation
from gateway.rest.schema import parse_chat_request
from service_kit.errors import (
    Code,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

HELLO = {"model": "doctor", "messages": [{"role": "user", "content": "Hello"}]}


def asked(**changes: Any) -> inference_pb2.GenerateRequest:
    return generate_request(parse_chat_request({**HELLO, **changes}), default_max_tokens=99)


def test_a_bare_request_has_openais_defaults_and_a_users_priority() -> None:
    request = asked()
    assert request.model == "doctor"
    assert request.priority == inference_pb2.PRIORITY_CONSULTATION
    assert request.sampling == rollout_pb2.Sampling(temperature=1.0, top_p=1.0, max_tokens=99)
    assert not request.HasField("seed")
    assert not request.HasField("constraint")


def test_what_is_asked_for_reaches_the_engine() -> None:
    request = asked(temperature=0, top_p=0.5, max_completion_tokens=7, stop="END", seed=42)
    assert request.sampling == rollout_pb2.Sampling(temperature=0.0, top_p=0.5, max_tokens=7, stop=["END"])
    assert request.seed == 42
    assert asked(max_tokens=8, stop=["a", "b"]).sampling.max_tokens == 8
    assert asked(seed=-1).seed == 2**64 - 1


def test_roles_and_text_parts_become_messages_with_nothing_added() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": ""},
    ]
    mapped = [(m.role, m.content) for m in asked(messages=messages).prompt.new_messages]
    assert mapped == [
        (dialogue_pb2.ROLE_SYSTEM, "Be brief."),
        (dialogue_pb2.ROLE_USER, "one two"),
        (dialogue_pb2.ROLE_ASSISTANT, "three"),
        (dialogue_pb2.ROLE_USER, ""),
    ]


@pytest.mark.parametrize(
    "neutral",
    [
        {"n": 1},
        {"presence_penalty": 0},
        {"frequency_penalty": 0.0},
        {"tools": []},
        {"tools": None},
        {"response_format": {"type": "text"}},
        {"logprobs": False},
        {"user": "someone", "metadata": {"a": "b"}},
        {"stop": None, "temperature": None, "stream": None},
    ],
)
def test_a_parameter_at_its_neutral_value_is_no_reason_to_refuse(neutral: dict[str, Any]) -> None:
    assert asked(**neutral) == asked()


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"guided_json": {}}, "guided_json"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(OpenAIError) as refused:
        parse_chat_request({**HELLO, **changes})
    assert refused.value.status == 400
    assert refused.value.param == param
    assert param in refused.value.message


def test_a_wrong_value_is_named_by_its_path_and_not_repeated() -> None:
    secret = "my own words"
    with pytest.raises(ValidationError) as raised:
        parse_chat_request({"model": "doctor", "messages": [{"role": secret, "content": "x"}]})
    error = from_validation(raised.value.errors(include_url=False, include_input=False))
    assert error.param == "messages[0].role"
    assert secret not in error.message


@pytest.mark.parametrize(
    ("ours", "status", "kind", "code"),
    [
        (InvalidArgument("sampling.max_tokens", "too many"), 400, "invalid_request_error", "invalid_value"),
        (
            InvalidArgument("prompt", "long", "PROMPT_TOO_LONG"),
            400,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (FailedPrecondition("NO", "no"), 400, "invalid_request_error", "failed_precondition"),
        (Unauthenticated("who?"), 401, "authentication_error", "invalid_api_key"),
        (PermissionDenied("no"), 403, "permission_error", "permission_denied"),
        (NotFound("run", "r"), 404, "not_found_error", "not_found"),
        (ResourceExhausted("FULL", "full"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (Unimplemented("x"), 501, "server_error", "not_implemented"),
        (Unavailable("engine", "gone"), 503, "server_error", "service_unavailable"),
        (DeadlineExceeded("LATE", "late"), 504, "server_error", "timeout"),
    ],
)
def test_each_of_our_errors_has_its_place_in_openais(ours: ServiceError, status: int, kind: str, code: str) -> None:
    error = from_service_error(ours)
    assert error.status == status
    body = error.body["error"]
    assert (body["type"], body["code"]) == (kind, code)
    assert ("Retry-After" in error.headers) == (status in (429, 503))


def test_an_internal_errors_text_stays_inside() -> None:
    error = from_service_error(ServiceError(Code.INTERNAL, "INTERNAL", "stack trace with words of a patient"))
    assert error.status == 500
    assert "patient" not in str(error.body)


def test_a_violations_field_is_named_as_the_caller_wrote_it() -> None:
    assert from_service_error(InvalidArgument("sampling.max_tokens", "x")).param == "max_tokens"
    assert from_service_error(InvalidArgument("prompt.new_messages[3].content", "x")).param == "messages"
    assert from_service_error(ResourceExhausted("FULL", "x", retry_after=0.2)).headers["Retry-After"] == "1"


def test_the_fingerprint_tells_weights_apart() -> None:
    assert fingerprint(rollout_pb2.PolicyVersion()) == "base"
    assert fingerprint(rollout_pb2.PolicyVersion(run_id="r1", incarnation=2, step=7)) == "r1.2.7"
