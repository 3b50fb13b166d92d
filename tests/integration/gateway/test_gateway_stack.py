"""The gateway before the running stack: OpenAI's own client and ours, against real engines and a real trainer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletionMessageParam

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.inference.v1 import inference_pb2, inference_pb2_grpc
from anamnesis.rubric.v1 import evaluation_pb2
from anamnesis.trainer.v1 import trainer_pb2
from gateway.client import AnamnesisClient
from service_kit.errors import Code, ServiceError
from tests.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.engine

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "I have had a headache since Monday."}]


@pytest.fixture
def base_url(stack: Any) -> str:
    return f"http://{stack.targets['gateway_rest']}/v1"


@pytest_asyncio.fixture(loop_scope="session")
async def ai(base_url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="local", max_retries=0, timeout=120) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def model(ai: openai.AsyncOpenAI) -> str:
    return (await ai.models.list()).data[0].id


@pytest_asyncio.fixture(loop_scope="session")
async def client(stack: Any) -> AsyncIterator[AnamnesisClient]:
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        yield client


async def test_the_model_that_is_listed_can_be_fetched_and_another_cannot(ai: openai.AsyncOpenAI, model: str) -> None:
    assert (await ai.models.retrieve(model)).id == model
    with pytest.raises(openai.NotFoundError):
        await ai.models.retrieve("gpt-99")
    with pytest.raises(openai.NotFoundError) as raised:
        await ai.chat.completions.create(model="gpt-99", messages=MESSAGES)
    assert raised.value.code == "model_not_found"


async def test_the_synchronous_client_gets_an_answer_with_its_usage(base_url: str, model: str) -> None:
    def ask() -> Any:
        with openai.OpenAI(base_url=base_url, api_key="local", max_retries=0, timeout=120) as client:
            return client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=12, seed=1)

    completion = await asyncio.to_thread(ask)
    assert completion.object == "chat.completion"
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.content
    assert completion.usage.completion_tokens <= 12
    assert completion.usage.prompt_tokens > 5
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    reason = completion.choices[0].finish_reason
    assert reason == ("length" if completion.usage.completion_tokens == 12 else "stop")


async def test_a_stream_has_a_role_then_text_then_the_reason_then_the_usage(ai: openai.AsyncOpenAI, model: str) -> None:
    stream = await ai.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=10, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert reasons[-1] in ("length", "stop") and set(reasons[:-1]) == {None}
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and 1 <= chunks[-1].usage.completion_tokens <= 10
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 5, "tokens come as they are sampled"


async def test_a_stream_on_the_wire_ends_with_done(base_url: str, model: str) -> None:
    body = {"model": model, "messages": MESSAGES, "max_tokens": 3, "stream": True}
    async with httpx.AsyncClient(timeout=120) as http:
        response = await http.post(f"{base_url}/chat/completions", json=body)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert all("usage" not in json.loads(event) for event in events[:-1])


async def test_stop_ends_the_answer_before_the_word(ai: openai.AsyncOpenAI, model: str) -> None:
    count: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say: a, b, c, d, e, f, g."}]
    whole = await ai.chat.completions.create(model=model, messages=count, max_tokens=24, temperature=0)
    text = whole.choices[0].message.content or ""
    stop = text[len(text) // 2 :][:3]
    cut = await ai.chat.completions.create(model=model, messages=count, max_tokens=24, temperature=0, stop=stop)
    assert cut.choices[0].finish_reason == "stop"
    assert stop not in (cut.choices[0].message.content or "")


async def test_a_prompt_beyond_the_context_says_so(ai: openai.AsyncOpenAI, model: str) -> None:
    long: list[ChatCompletionMessageParam] = [{"role": "user", "content": "pain " * 6000} for _ in range(3)]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as raised:
            await ai.chat.completions.create(model=model, messages=long, max_tokens=5, stream=stream)
        assert raised.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_frees_the_engine(stack: Any, base_url: str, model: str, stream: bool) -> None:
    async with grpc.aio.insecure_channel(stack.targets["inference-policy"]) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)

        async def running() -> int:
            return (await stub.GetStats(inference_pb2.GetStatsRequest(), timeout=10)).running

        async def until(busy: bool) -> None:
            for _ in range(200):
                if bool(await running()) is busy:
                    return
                await asyncio.sleep(0.05)
            raise AssertionError(f"after 10 s the engine is {'idle' if busy else 'still busy'}")

        await until(busy=False)
        body = {"model": model, "messages": MESSAGES, "max_tokens": 1500, "stream": stream, "temperature": 2}
        async with httpx.AsyncClient(timeout=120) as http:
            asking = asyncio.create_task(http.post(f"{base_url}/chat/completions", json=body))
            await until(busy=True)
            asking.cancel()
            await asyncio.wait([asking])
            await until(busy=False)


async def test_one_trace_leads_from_the_rest_request_to_the_engine(
    stack: Any, ai: openai.AsyncOpenAI, model: str
) -> None:
    response = await ai.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, max_tokens=2)
    trace_id = response.headers["x-trace-id"]

    def whole(receiver: OtlpReceiver) -> bool:
        services = {span.service for span in receiver.spans(trace_id=trace_id, kind="SERVER")}
        return len(services) >= 2

    await asyncio.to_thread(stack.otlp.wait_for, whole, 30.0)
    assert not any("headache" in str(span.attributes) for span in stack.otlp.spans(trace_id=trace_id))


async def test_the_doctor_and_the_simulated_patient_talk_through_the_gateway(client: AnamnesisClient) -> None:
    cases = [case async for case in client.list_cases(patient_pb2.CASE_SPLIT_TRAIN)]
    assert len(cases) >= 8
    started = await client.start_consultation(cases[0].case_id, seed=3)
    messages = [dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=started.opening)]
    answer = "".join([piece async for piece in client.ask_doctor(messages, seed=3)])
    assert answer.strip()
    messages.append(dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content="When did it begin?"))
    response = await client.respond(cases[0].case_id, started.persona, messages, seed=3, max_doctor_turns=8)
    assert response.reply


async def test_an_unknown_case_is_not_found(client: AnamnesisClient) -> None:
    with pytest.raises(ServiceError) as raised:
        await client.start_consultation("no-such-case")
    assert raised.value.code is Code.NOT_FOUND


async def test_an_evaluation_without_its_data_is_refused_and_names_the_setting(client: AnamnesisClient) -> None:
    spec = evaluation_pb2.EvaluationSpec(benchmark=evaluation_pb2.BENCHMARK_HEALTHBENCH, candidate="policy")
    with pytest.raises(ServiceError) as raised:
        await client.start_evaluation(spec)
    assert raised.value.code is Code.FAILED_PRECONDITION
    assert "ANAMNESIS_RUBRIC_HEALTHBENCH_DATA" in raised.value.message


async def test_a_run_is_started_once_watched_and_cancelled(client: AnamnesisClient) -> None:
    run = await client.start_run("smoke", seed=11, run_id="gateway-cancelled")
    again = await client.start_run("smoke", seed=11, run_id="gateway-cancelled")
    assert run.run_id == again.run_id == "gateway-cancelled"
    states = []
    sequences = []
    async for event in client.watch_run(run.run_id):
        sequences.append(event.sequence)
        if event.WhichOneof("event") == "state":
            states.append(event.state)
        if len(sequences) == 3:
            await client.cancel_run(run.run_id)
    assert sequences == sorted(set(sequences))
    assert states[-1] == trainer_pb2.RUN_STATE_CANCELLED
    assert (await client.get_run(run.run_id)).state == trainer_pb2.RUN_STATE_CANCELLED
    runs, _ = await client.list_runs()
    assert run.run_id in [listed.run_id for listed in runs]


async def test_a_preset_that_is_not_there_is_an_invalid_argument(client: AnamnesisClient) -> None:
    with pytest.raises(ServiceError) as raised:
        await client.start_run("no-such-preset")
    assert raised.value.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND)
