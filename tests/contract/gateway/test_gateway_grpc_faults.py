"""The gateway's gRPC API while the services behind it are dead, hang, break or refuse."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest

from anamnesis.common.v1 import dialogue_pb2, patient_pb2
from anamnesis.gateway.v1 import training_pb2, training_pb2_grpc
from anamnesis.inference.v1 import inference_pb2
from gateway.doctor import DOCTOR_PROMPT
from service_kit.errors import STREAM_INTERRUPTED, Code, InvalidArgument, ServiceError, Unavailable
from service_kit.grpc.channel import service_error

ILL = [dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="I feel dizzy.")]


def told(text: str) -> inference_pb2.GenerateResponse:
    return inference_pb2.GenerateResponse(delta=inference_pb2.GenerateResponse.Delta(text=text))


async def test_every_dead_service_is_unavailable_and_named(start_gateway: Any) -> None:
    gateway = await start_gateway()
    async with gateway.client() as client:

        async def ask() -> None:
            async for _ in client.ask_doctor(ILL):
                pass

        calls = {
            "trainer": client.get_run("r1"),
            "simulator": client.respond("case", patient_pb2.Persona(), ILL),
            "rubric": client.get_evaluation("e1"),
            "inference-policy": ask(),
        }
        for dependency, call in calls.items():
            began = time.monotonic()
            with pytest.raises(ServiceError) as raised:
                await call
            assert raised.value.code is Code.UNAVAILABLE
            assert dependency in raised.value.message
            assert time.monotonic() - began < 15


async def test_a_service_that_hangs_ends_at_the_callers_deadline(start_gateway: Any, silent_server: str) -> None:
    gateway = await start_gateway(trainer_target=silent_server)
    async with gateway.client(call_seconds=1.0) as client:
        began = time.monotonic()
        with pytest.raises(ServiceError) as raised:
            await client.start_run("demo")
    assert raised.value.code in (Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE)
    assert time.monotonic() - began < 15


async def test_a_watch_that_breaks_goes_on_where_it_broke(start_gateway: Any, breaking_trainer: Any) -> None:
    gateway = await start_gateway(trainer_target=breaking_trainer.target)
    async with gateway.client() as client:
        seen = [event.sequence async for event in client.watch_run("r1")]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert breaking_trainer.streams == 3


async def test_a_watch_gives_up_when_its_patience_ends(start_gateway: Any) -> None:
    gateway = await start_gateway()
    async with gateway.client(patience_seconds=1.0) as client:
        with pytest.raises(ServiceError) as raised:
            async for _ in client.watch_run("r1"):
                pass
    assert raised.value.code is Code.UNAVAILABLE


async def test_the_doctor_gets_instructions_unless_the_dialogue_brings_its_own(
    start_gateway: Any, inference: Any
) -> None:
    async def refuses(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        raise InvalidArgument("prompt", "not today", "NOT_TODAY")
        yield told("")

    inference.answer = refuses
    gateway = await start_gateway(inference_policy_target=inference.target)
    own = [dialogue_pb2.Message(role=dialogue_pb2.ROLE_SYSTEM, content="Answer in French."), *ILL]
    async with gateway.client() as client:
        for messages in (ILL, own):
            with pytest.raises(ServiceError) as raised:
                async for _ in client.ask_doctor(messages, seed=7):
                    pass
            assert (raised.value.code, raised.value.reason) == (Code.INVALID_ARGUMENT, "NOT_TODAY")
    first, second = inference.asked
    assert [message.content for message in first.prompt.new_messages] == [DOCTOR_PROMPT, "I feel dizzy."]
    assert [message.content for message in second.prompt.new_messages] == ["Answer in French.", "I feel dizzy."]
    assert first.priority == inference_pb2.PRIORITY_CONSULTATION
    assert first.seed == 7


async def test_a_patient_who_leaves_frees_the_engine(start_gateway: Any, inference: Any) -> None:
    async def never_ends(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        while True:
            yield told("and ")
            await asyncio.sleep(0.02)

    inference.answer = never_ends
    gateway = await start_gateway(inference_policy_target=inference.target)
    async with gateway.client() as client, aclosing(client.ask_doctor(ILL)) as pieces:
        async for _ in pieces:
            break
    await asyncio.wait_for(inference.cancelled.wait(), 5)


async def test_an_empty_dialogue_is_refused_by_its_field(start_gateway: Any) -> None:
    gateway = await start_gateway()
    async with gateway.client() as client:
        with pytest.raises(ServiceError) as raised:
            async for _ in client.ask_doctor([]):
                pass
    assert raised.value.code is Code.INVALID_ARGUMENT
    assert raised.value.violations[0].field == "dialogue.messages"


async def test_a_watch_that_is_cut_says_where_to_take_it_up(start_gateway: Any, breaking_trainer: Any) -> None:
    gateway = await start_gateway(trainer_target=breaking_trainer.target)
    async with grpc.aio.insecure_channel(gateway.target) as channel:
        stub = training_pb2_grpc.TrainingServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in stub.WatchRun(training_pb2.WatchRunRequest(run_id="r1"), timeout=10):
                pass
    error = service_error(raised.value, "gateway")
    assert (error.code, error.reason) == (Code.UNAVAILABLE, STREAM_INTERRUPTED)
    assert error.metadata["resume"] == "after_sequence=3"
    assert (error.metadata["responses"], error.metadata["dependency"]) == ("3", "trainer")


async def test_an_answer_that_is_cut_is_no_whole_answer(start_gateway: Any, inference: Any) -> None:
    async def breaks(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        yield told("Where ")
        raise Unavailable("engine", "it died")

    inference.answer = breaks
    gateway = await start_gateway(inference_policy_target=inference.target)
    heard = []
    async with gateway.client() as client:
        with pytest.raises(ServiceError) as raised:
            async for text in client.ask_doctor(ILL):
                heard.append(text)
    assert heard == ["Where "]
    assert raised.value.reason == STREAM_INTERRUPTED
    assert raised.value.metadata["resume"] == "ask again"


async def test_an_answer_whose_engine_goes_before_the_first_word_is_asked_for_again(
    start_gateway: Any, inference: Any
) -> None:
    async def first_time_gone(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        if len(inference.asked) == 1:
            raise Unavailable("engine", "it died")
        yield told("Where does it hurt?")

    inference.answer = first_time_gone
    gateway = await start_gateway(inference_policy_target=inference.target)
    async with gateway.client() as client:
        assert [text async for text in client.ask_doctor(ILL)] == ["Where does it hurt?"]
    assert len(inference.asked) == 2
    assert client.retries.attempts == 1  # the gateway asked again, nobody else noticed
