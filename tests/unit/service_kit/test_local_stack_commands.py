"""`anamnesis up`, `status` and `down` over a stack of tiny processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from service_kit.local_stack import LocalStack, StackError, commands
from service_kit.local_stack.definition import StackDefinition
from service_kit.local_stack.record import StackRecord

TINY = Path(__file__).with_name("tiny_process.py")


def tiny_stack(*behaviours: str) -> StackDefinition:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = {
        "name": "gateway",
        "command": ["{python}", str(TINY), "{port[gateway]}", *behaviours],
        "ports": {"gateway": port},
        "ready": "tiny.v1.TinyService",
    }
    return StackDefinition.model_validate({"process": [process]})


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    definition = tiny_stack()
    monkeypatch.setattr("service_kit.local_stack.stack.load_definition", lambda: definition)
    yield tmp_path / "state"
    LocalStack.recorded(tmp_path / "state").stop()


def run(command: str, state_dir: Path) -> tuple[int, str]:
    app = typer.Typer()
    commands.register(app)
    result = CliRunner().invoke(app, [command, "--state-dir", str(state_dir)], env={"COLUMNS": "120"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_up_shows_where_to_connect_and_down_leaves_nothing(state_dir: Path) -> None:
    code, output = run("up", state_dir)
    assert code == 0
    assert "gateway: ready after" in output and "gRPC 127.0.0.1:" in output
    code, output = run("status", state_dir)
    assert code == 0 and "ready" in output
    code, output = run("down", state_dir)
    assert code == 0 and "gateway: stopped" in output and "killed" not in output
    assert run("status", state_dir)[0] == 4
    assert StackRecord.read(state_dir) is None


def test_up_twice_keeps_the_processes(state_dir: Path) -> None:
    run("up", state_dir)
    before = StackRecord.read(state_dir)
    assert run("up", state_dir)[0] == 0
    assert StackRecord.read(state_dir) == before


def test_down_without_a_stack_says_so(state_dir: Path) -> None:
    assert run("down", state_dir) == (0, f"Nothing runs in {state_dir}.\n")


def test_status_says_with_exit_code_3_that_a_process_does_not_answer(state_dir: Path) -> None:
    run("up", state_dir)
    record = StackRecord.read(state_dir)
    assert record is not None
    os.kill(record.processes["gateway"].pid, signal.SIGSTOP)
    code, output = run("status", state_dir)
    os.kill(record.processes["gateway"].pid, signal.SIGCONT)
    assert code == 3 and "starting" in output


def test_a_stack_in_the_foreground_stops_when_it_is_told_to_end(tmp_path: Path) -> None:
    definition = tiny_stack().model_dump_json()
    script = (
        "import sys\n"
        "from service_kit.local_stack import stack\n"
        "from service_kit.local_stack.definition import StackDefinition\n"
        "definition, state_dir = sys.argv[1:]\n"
        "stack.load_definition = lambda: StackDefinition.model_validate_json(definition)\n"
        "sys.argv = ['anamnesis', 'up', '--no-detach', '--state-dir', state_dir]\n"
        "from service_kit.cli import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, definition, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "Ctrl-C" in line:
            break
    record = StackRecord.read(tmp_path)
    assert record is not None and record.processes["gateway"].alive
    process.send_signal(signal.SIGTERM)
    output = process.stdout.read()
    assert process.wait(30) == 0
    assert "Stopped." in output
    assert not record.processes["gateway"].alive


def test_up_raises_what_the_frame_prints_when_a_process_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = tiny_stack("die")
    monkeypatch.setattr("service_kit.local_stack.stack.load_definition", lambda: definition)
    with pytest.raises(StackError, match="gateway ended with exit code 7"):
        run("up", tmp_path)
