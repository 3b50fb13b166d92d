"""The gateway as a process: refuses wrong settings, serves, drains on SIGTERM without breaking an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from anamnesis.inference.v1 import inference_pb2
from tests.otlp_receiver import OtlpReceiver

START_SECONDS = 60
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "words-that-stay-private"}]


def environment(tmp_path: Path, **settings: object) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")}
    chosen = {"state_dir": tmp_path, **settings}
    return ours | {f"ANAMNESIS_GATEWAY_{name.upper()}": str(value) for name, value in chosen.items()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "0.0.0.0"}, ["auth", "host", "loopback"]),
        ({"rest_port": "many"}, ["rest_port"]),
        ({"trainer_targt": "x"}, ["ANAMNESIS_GATEWAY_TRAINER_TARGT", "ANAMNESIS_GATEWAY_TRAINER_TARGET"]),
    ],
)
def test_wrong_settings_end_it_at_once_with_their_names(tmp_path: Path, settings: Any, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway"],
        env=environment(tmp_path, **settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr


@asynccontextmanager
async def gateway_process(tmp_path: Path, **settings: object) -> AsyncIterator[Running]:
    port = free_port()
    log = tmp_path / "gateway.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env=environment(tmp_path, grpc_port=0, rest_port=port, **settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    running = Running(process, f"http://127.0.0.1:{port}", log)
    try:
        await running.ready()
        yield running
    finally:
        process.kill()
        process.wait()


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="a-key-that-stays-secret", max_retries=0)

    async def ready(self) -> None:
        async with httpx.AsyncClient() as client:
            for _ in range(START_SECONDS * 10):
                assert self.process.poll() is None, self.log.read_text()
                try:
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.1)
        raise AssertionError("the gateway did not become ready: " + self.log.read_text())


async def twenty_words(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
    yield inference_pb2.GenerateResponse(started=inference_pb2.GenerateResponse.Started(model="doctor"))
    for word in range(20):
        delta = inference_pb2.GenerateResponse.Delta(text=f"{word} ")
        yield inference_pb2.GenerateResponse(delta=delta)
        await asyncio.sleep(0.1)
    end = inference_pb2.GenerateResponse.Finished(
        finish_reason=inference_pb2.FINISH_REASON_STOP, prompt_tokens=3, completion_tokens=20
    )
    yield inference_pb2.GenerateResponse(finished=end)


async def test_a_drain_finishes_the_answer_under_way_and_exits_0(tmp_path: Path, inference: Any) -> None:
    inference.answer = twenty_words
    async with gateway_process(tmp_path, inference_policy_target=inference.target) as gateway:
        stream = await gateway.openai().chat.completions.create(
            model="doctor", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        words, usage, signalled = "", None, False
        async for chunk in stream:
            if not signalled:
                gateway.process.send_signal(signal.SIGTERM)
                signalled = True
            usage = chunk.usage or usage
            words += "".join(choice.delta.content or "" for choice in chunk.choices)
        assert words.split() == [str(word) for word in range(20)]
        assert usage is not None and usage.total_tokens == 23
        assert await asyncio.to_thread(gateway.process.wait, 15) == 0
        with pytest.raises(openai.APIConnectionError):
            await gateway.openai().models.list()


async def test_a_request_is_one_trace_that_the_response_names_and_no_text_is_in_spans_or_logs(
    tmp_path: Path, inference: Any, otlp: OtlpReceiver
) -> None:
    inference.answer = twenty_words
    async with gateway_process(
        tmp_path, inference_policy_target=inference.target, otlp_endpoint=otlp.endpoint, log_level="DEBUG"
    ) as gateway:
        client = gateway.openai()
        response = await client.chat.completions.with_raw_response.create(model="doctor", messages=MESSAGES)
        trace_id = response.headers["x-trace-id"]
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="doctor", messages=MESSAGES, n=5)

        def both(receiver: OtlpReceiver) -> Any:
            spans = receiver.spans(trace_id=trace_id, service="gateway")
            return spans if {span.kind for span in spans} >= {"SERVER", "CLIENT"} else None

        spans = await asyncio.to_thread(otlp.wait_for, both)
        gateway.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.process.wait, 15) == 0
        log = gateway.log.read_text()
    server = next(span for span in spans if span.kind == "SERVER")
    call = next(span for span in spans if span.kind == "CLIENT")
    assert server.name == "POST /v1/chat/completions"
    assert call.name == "anamnesis.inference.v1.InferenceService/Generate"
    assert call.parent_id == server.span_id
    assert inference.trace_ids[0] == trace_id
    assert not otlp.spans(name="GET /readyz")
    for text in (log, str(otlp.spans(service="gateway"))):
        assert "stays-secret" not in text
        assert "stay-private" not in text
