"""The gateway as a process: refuses wrong settings, serves, drains on SIGTERM without breaking an answer."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from anamnesis.inference.v1 import inference_pb2

START_SECONDS = 60


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


async def test_a_drain_finishes_the_answer_under_way_and_exits_0(tmp_path: Path, inference: Any) -> None:
    async def slow(request: inference_pb2.GenerateRequest) -> AsyncIterator[inference_pb2.GenerateResponse]:
        yield inference_pb2.GenerateResponse(started=inference_pb2.GenerateResponse.Started(model="doctor"))
        for word in range(20):
            delta = inference_pb2.GenerateResponse.Delta(text=f"{word} ")
            yield inference_pb2.GenerateResponse(delta=delta)
            await asyncio.sleep(0.1)
        end = inference_pb2.GenerateResponse.Finished(
            finish_reason=inference_pb2.FINISH_REASON_STOP, prompt_tokens=3, completion_tokens=20
        )
        yield inference_pb2.GenerateResponse(finished=end)

    inference.answer = slow
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway"],
            env=environment(tmp_path, grpc_port=0, rest_port=port, inference_policy_target=inference.target),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        await ready(url, process, log)
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="a-key-that-no-log-may-hold", max_retries=0)
        stream = await client.chat.completions.create(
            model="doctor",
            messages=[{"role": "user", "content": "words-that-no-log-may-hold"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        words, usage, signalled = "", None, False
        async for chunk in stream:
            if not signalled:
                process.send_signal(signal.SIGTERM)
                signalled = True
            usage = chunk.usage or usage
            words += "".join(choice.delta.content or "" for choice in chunk.choices)
        assert words.split() == [str(word) for word in range(20)]
        assert usage is not None and usage.total_tokens == 23
        assert await asyncio.to_thread(process.wait, 15) == 0
        with pytest.raises(openai.APIConnectionError):
            await client.models.list()
    finally:
        process.kill()
        process.wait()
    assert "no-log-may-hold" not in log.read_text()


async def ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    async with httpx.AsyncClient() as client:
        for _ in range(START_SECONDS * 10):
            assert process.poll() is None, log.read_text()
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise AssertionError("the gateway did not become ready: " + log.read_text())
