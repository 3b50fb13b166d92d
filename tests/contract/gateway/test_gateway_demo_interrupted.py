"""However a demo ends, nothing of its stack is left: Ctrl-C, SIGTERM, a process that dies, a trainer that is away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service_kit.local_stack import LocalStack
from service_kit.local_stack.definition import StackDefinition, load_definition
from tests.conftest import free_port_offset

WAIT_SECONDS = 90
NOBODY = "127.0.0.1:9"


@pytest.fixture
def port_offset() -> int:
    whole = load_definition()
    return free_port_offset(StackDefinition(process=(whole.find("broker"),), topics=whole.topics)) + 137


def start(tmp_path: Path, port_offset: int, trainer: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.contract.gateway.demo_without_engines"]
    with (tmp_path / "demo.log").open("wb") as log:
        return subprocess.Popen(
            [*command, str(tmp_path), str(port_offset), trainer], stdout=log, stderr=subprocess.STDOUT
        )


async def stack_processes(tmp_path: Path, demo: subprocess.Popen[bytes]) -> list[int]:
    """The stack's process ids once both are up and the demo asks for a run."""
    for _ in range(WAIT_SECONDS * 10):
        text = (tmp_path / "demo.log").read_text()
        assert demo.poll() is None, text
        if "gateway: ready" in text:
            record = json.loads((tmp_path / "demo" / "stack.json").read_text())
            return [process["pid"] for process in record["processes"].values()]
        await asyncio.sleep(0.1)
    raise AssertionError("the demo's stack did not come up: " + (tmp_path / "demo.log").read_text())


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 130)],
    ids=["ctrl-c", "terminated"],
)
async def test_a_demo_that_is_interrupted_takes_its_stack_down(
    tmp_path: Path, port_offset: int, breaking_trainer: Any, number: signal.Signals, code: int
) -> None:
    demo = start(tmp_path, port_offset, breaking_trainer.target)
    try:
        processes = await stack_processes(tmp_path, demo)
        assert len(processes) == 2 and all(runs(pid) for pid in processes)
        await asyncio.sleep(1)  # it now waits for a trainer that never answers
        demo.send_signal(number)
        await asyncio.sleep(0.2)
        demo.send_signal(number)  # impatience changes nothing
        assert await asyncio.to_thread(demo.wait, WAIT_SECONDS) == code
        assert not any(runs(pid) for pid in processes)
        assert "interrupted" in (tmp_path / "demo.log").read_text()
    finally:
        demo.kill()
        LocalStack.recorded(tmp_path / "demo").stop()


async def test_a_demo_whose_process_dies_says_which_and_takes_the_rest_down(
    tmp_path: Path, port_offset: int, breaking_trainer: Any
) -> None:
    demo = start(tmp_path, port_offset, breaking_trainer.target)
    try:
        broker, gateway = await stack_processes(tmp_path, demo)
        os.kill(broker, signal.SIGKILL)
        assert await asyncio.to_thread(demo.wait, WAIT_SECONDS) == 1
        assert not runs(gateway)
        assert "broker" in (tmp_path / "demo.log").read_text().rpartition("did not finish")[2]
    finally:
        demo.kill()
        LocalStack.recorded(tmp_path / "demo").stop()


async def test_a_demo_without_a_trainer_fails_clearly_and_prints_no_figures(tmp_path: Path, port_offset: int) -> None:
    demo = start(tmp_path, port_offset, NOBODY)
    try:
        assert await asyncio.to_thread(demo.wait, WAIT_SECONDS) == 1
        text = (tmp_path / "demo.log").read_text()
        assert "trainer" in text.rpartition("did not finish")[2]
        assert "Traceback" not in text
        assert "figures" not in text
    finally:
        demo.kill()
        LocalStack.recorded(tmp_path / "demo").stop()
