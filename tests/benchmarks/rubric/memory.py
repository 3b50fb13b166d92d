"""1,000 dialogues by 12 criteria in one streamed call to a real rubric service process: seconds, and its peak memory.

The criteria are verifiable, so that no engine is needed and the service's own memory is what is measured. A tenth of
the dialogues goes first: a service whose memory grew with what it has answered would show it in the difference.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from anamnesis.common.v1 import dialogue_pb2
from anamnesis.rubric.v1 import rubric_pb2 as pb
from anamnesis.rubric.v1 import rubric_pb2_grpc
from rubric_svc import mapping
from rubric_svc.case_store import CaseStore
from rubric_svc.model import Rubric
from service_kit.grpc.channel import open_channel
from tests.benchmarks.rubric.injections import verifiable_criteria

DIALOGUES, CRITERIA, TURNS = 1000, 12, 12
CASES = Path("simulator_svc/cases/data")
SECONDS = 900.0


@dataclass(frozen=True)
class Memory:
    """`seconds` and `peak_mb` of the whole call; `tenth_mb` after a tenth of it, `idle_mb` before any."""

    seconds: float
    verdicts: int
    idle_mb: float
    tenth_mb: float
    peak_mb: float


@contextmanager
def service() -> Iterator[tuple[int, str]]:
    """A rubric service's process: its id and address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as state:
        environment = {
            **os.environ,
            "ANAMNESIS_RUBRIC_GRPC_PORT": str(port),
            "ANAMNESIS_RUBRIC_STATE_DIR": state,
            "ANAMNESIS_RUBRIC_INFERENCE_FROZEN_TARGET": "127.0.0.1:1",
        }
        process = subprocess.Popen([sys.executable, "-m", "rubric_svc"], env=environment, stderr=subprocess.DEVNULL)
        try:
            yield process.pid, f"127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def requests() -> list[pb.ScoreDialogueRequest]:
    """Consultations of the built-in patients, each a little different, under one rubric."""
    store = CaseStore(CASES)
    facts = [f for file in sorted(CASES.glob("*.toml")) for f in store.get(file.stem).facts if f.spoken]
    rubric = mapping.rubric_to_proto(Rubric("bench", tuple(verifiable_criteria()[:CRITERIA])))
    asked = ("I see. When did it begin?", "I'm sorry to hear that. How bad is it?", "Do you take any medicines?")
    found = []
    for number in range(DIALOGUES):
        messages = []
        for turn in range(TURNS // 2):
            said = facts[(number * 7 + turn) % len(facts)].spoken
            messages.append(dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=f"{said} ({number})"))
            question = f"{asked[(number + turn) % len(asked)]} ({number}.{turn})"
            messages.append(dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=question))
        dialogue = dialogue_pb2.Dialogue(messages=messages)
        found.append(pb.ScoreDialogueRequest(dialogue=dialogue, rubric=rubric, scope=pb.SCOPE_WHOLE_DIALOGUE))
    return found


def measure() -> Memory:
    with service() as (pid, address):
        return asyncio.run(_measure(pid, address))


async def _measure(pid: int, address: str) -> Memory:
    asked = requests()
    async with open_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
        stub = rubric_pb2_grpc.RubricServiceStub(channel)
        idle = peak_rss_mb(pid)
        await _score(stub, asked[: DIALOGUES // 10])
        tenth = peak_rss_mb(pid)
        started = time.perf_counter()
        verdicts = await _score(stub, asked)
        return Memory(time.perf_counter() - started, verdicts, idle, tenth, peak_rss_mb(pid))


async def _score(stub: rubric_pb2_grpc.RubricServiceStub, asked: list[pb.ScoreDialogueRequest]) -> int:
    verdicts, seen = 0, set()
    async for answer in stub.ScoreDialogues(pb.ScoreDialoguesRequest(requests=asked), timeout=SECONDS):
        if answer.error_reason or answer.response.score.void:
            raise RuntimeError(f"dialogue {answer.index}: {answer.error_reason or 'void'}")
        seen.add(answer.index)
        verdicts += len(answer.response.score.verdicts)
    if len(seen) != len(asked):
        raise RuntimeError(f"{len(asked) - len(seen)} dialogues got no answer")
    return verdicts


def peak_rss_mb(pid: int) -> float:
    """The process's high-water mark, in 10^6 bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return kib * 1024 / 1e6
