"""What a user of OpenAI's client sees when something behind the gateway, or the request itself, is wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from anamnesis.inference.v1 import inference_pb2
from service_kit.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable

STARTED = inference_pb2.GenerateResponse(started=inference_pb2.GenerateResponse.Started(model="doctor"))
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "My chest hurts."}]


def delta(text: str) -> inference_pb2.GenerateResponse:
    return inference_pb2.GenerateResponse(delta=inference_pb2.GenerateResponse.Delta(text=text))


def finished(reason: inference_pb2.FinishReason.ValueType) -> inference_pb2.GenerateResponse:
    end = inference_pb2.GenerateResponse.Finished(finish_reason=reason, prompt_tokens=5, completion_tokens=2)
    return inference_pb2.GenerateResponse(finished=end)


async def never_ends(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
    yield STARTED
    while True:
        yield delta("on and on ")
        await asyncio.sleep(0.02)


def refuses_with(error: Exception) -> Any:
    async def answer(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        raise error
        yield STARTED

    return answer


async def test_a_dead_engine_is_a_503_within_seconds(start_gateway: Any) -> None:
    gateway = await start_gateway()
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError) as raised:
        await gateway.openai().chat.completions.create(model="doctor", messages=MESSAGES)
    assert raised.value.status_code == 503
    assert raised.value.code == "service_unavailable"
    assert int(raised.value.response.headers["retry-after"]) >= 1
    assert "inference-policy" in raised.value.message
    assert time.monotonic() - began < 20


async def test_an_engine_that_hangs_is_a_504_at_its_deadline(start_gateway: Any, silent_server: str) -> None:
    gateway = await start_gateway(inference_policy_target=silent_server, generate_seconds=1.0)
    began = time.monotonic()
    with pytest.raises(openai.InternalServerError) as raised:
        await gateway.openai().chat.completions.create(model="doctor", messages=MESSAGES)
    assert raised.value.status_code in (503, 504)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("stream", [True, False])
async def test_a_full_engine_is_a_429_that_says_when_to_come_back(
    start_gateway: Any, inference: Any, stream: bool
) -> None:
    async def full(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        yield STARTED
        raise ResourceExhausted("QUEUE_FULL", "too many wait", retry_after=2.5)

    inference.answer = full
    gateway = await start_gateway(inference_policy_target=inference.target)
    with pytest.raises(openai.RateLimitError) as raised:
        await gateway.openai().chat.completions.create(model="doctor", messages=MESSAGES, stream=stream)
    assert raised.value.response.headers["retry-after"] == "3"


async def test_an_unknown_model_is_not_found(start_gateway: Any, inference: Any) -> None:
    inference.answer = refuses_with(NotFound("model", "gpt-99"))
    gateway = await start_gateway(inference_policy_target=inference.target)
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as raised:
            await gateway.openai().chat.completions.create(model="gpt-99", messages=MESSAGES, stream=stream)
        assert raised.value.code == "model_not_found"
        assert raised.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        await gateway.openai().models.retrieve("gpt-99")


async def test_a_prompt_beyond_the_context_says_so(start_gateway: Any, inference: Any) -> None:
    inference.answer = refuses_with(InvalidArgument("prompt", "9000 tokens are more than 8192", "PROMPT_TOO_LONG"))
    gateway = await start_gateway(inference_policy_target=inference.target)
    with pytest.raises(openai.BadRequestError) as raised:
        await gateway.openai().chat.completions.create(model="doctor", messages=MESSAGES)
    assert raised.value.code == "context_length_exceeded"
    assert raised.value.param == "messages"


async def test_a_stream_that_breaks_half_way_is_an_error_and_not_a_short_answer(
    start_gateway: Any, inference: Any
) -> None:
    async def breaks(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        yield STARTED
        yield delta("Where does")
        raise Unavailable("engine", "died")

    inference.answer = breaks
    gateway = await start_gateway(inference_policy_target=inference.target)
    stream = await gateway.openai().chat.completions.create(model="doctor", messages=MESSAGES, stream=True)
    text = ""
    with pytest.raises(openai.APIError):
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
    assert text == "Where does"
    with pytest.raises(openai.InternalServerError):
        await gateway.openai().chat.completions.create(model="doctor", messages=MESSAGES)


async def test_an_aborted_answer_does_not_pass_for_a_whole_one(start_gateway: Any, inference: Any) -> None:
    async def aborted(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        yield STARTED
        yield delta("Where")
        yield finished(inference_pb2.FINISH_REASON_ABORTED)

    inference.answer = aborted
    gateway = await start_gateway(inference_policy_target=inference.target)
    with pytest.raises(openai.InternalServerError) as raised:
        await gateway.openai().chat.completions.create(model="doctor", messages=MESSAGES)
    assert raised.value.code == "generation_aborted"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_frees_the_engine(start_gateway: Any, inference: Any, stream: bool) -> None:
    inference.answer = never_ends
    gateway = await start_gateway(inference_policy_target=inference.target)
    body = {"model": "doctor", "messages": MESSAGES, "stream": stream}
    async with httpx.AsyncClient(base_url=gateway.rest_url) as client:

        async def ask() -> None:
            async with client.stream("POST", "/v1/chat/completions", json=body) as response:
                async for _ in response.aiter_bytes():
                    pass

        asking = asyncio.create_task(ask())
        while not inference.asked:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert not inference.cancelled.is_set()
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.wait_for(inference.cancelled.wait(), 5)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"{", "JSON"),
        (b"", "JSON"),
        (b"[]", "object"),
        (b"\xff\xfe", "JSON"),
        (b'{"model": NaN}', "JSON"),
        (b"[" * 200_000, "JSON"),
        (b'{"model": "doctor", "messages": [], "max_tokens": ' + b"9" * 5000 + b"}", "JSON"),
    ],
)
async def test_a_body_that_is_no_json_object_is_a_400(start_gateway: Any, body: bytes, part: str) -> None:
    gateway = await start_gateway()
    async with httpx.AsyncClient(base_url=gateway.rest_url) as client:
        response = await client.post("/v1/chat/completions", content=body)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert part in error["message"]


@pytest.mark.parametrize("declared", [True, False])
async def test_an_oversized_body_is_a_413(start_gateway: Any, declared: bool) -> None:
    gateway = await start_gateway(max_body_bytes=10_000)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    content: Any = b" " * 20_000 if declared else pieces()
    async with httpx.AsyncClient(base_url=gateway.rest_url) as client:
        response = await client.post("/v1/chat/completions", content=content)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"logprobs": True}, "logprobs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"seed": 2**70}, "seed"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "patient", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "name": "Ann"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"no_such_thing": 1}, "no_such_thing"),
    ],
)
async def test_what_is_not_supported_is_refused_by_name(
    start_gateway: Any, changes: dict[str, Any], param: str
) -> None:
    gateway = await start_gateway()
    body = {"model": "doctor", "messages": MESSAGES, **changes}
    with pytest.raises(openai.BadRequestError) as raised:
        await gateway.openai().post("/chat/completions", body=body, cast_to=object)
    assert str(raised.value.param).startswith(param), raised.value
    assert raised.value.code
    assert param.split("[")[0] in raised.value.message


async def test_an_unknown_url_and_method_answer_in_openais_shape(start_gateway: Any) -> None:
    gateway = await start_gateway()
    async with httpx.AsyncClient(base_url=gateway.rest_url) as client:
        assert (await client.post("/v1/embeddings", json={})).json()["error"]["code"] == "unknown_url"
        response = await client.get("/v1/chat/completions")
    assert response.status_code == 405
    assert response.json()["error"]["message"]


async def test_the_probes_are_open_and_ready_turns_with_the_drain(start_gateway: Any) -> None:
    gateway = await start_gateway(auth="keys")
    async with httpx.AsyncClient(base_url=gateway.rest_url) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
    assert gateway.gateway.rest.accepting
    await gateway.gateway.drain()
    assert not gateway.gateway.rest.accepting
