"""What the tests share: one stack of real processes for the whole session, and a broker for tests that need no more.

Invariant: a session has ports and a state directory of its own, so that it disturbs no other session and no stack that
a person plays with; what a killed session left running is stopped by the next one.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from service_kit.local_stack import LocalStack, StackError
from service_kit.local_stack.definition import StackDefinition, load_definition
from service_kit.local_stack.display import Display
from service_kit.local_stack.readiness import port_is_free

if TYPE_CHECKING:
    from tests.otlp_receiver import OtlpReceiver

REPOSITORY = Path(__file__).resolve().parent.parent
STATE = REPOSITORY / ".anamnesis"
SESSIONS = STATE / "test-sessions"
# Far from the default ports, below the range that systems give to outgoing connections.
PORT_OFFSETS = range(2000, 20000, 200)
KEPT_SESSIONS = 3
# The engines' start counts against the first test that asks for the stack.
ENGINE_TEST_SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need the engines run last, one after the other on the same stack."""
    for item in items:
        if item.get_closest_marker("engine") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(ENGINE_TEST_SECONDS))
    items.sort(key=lambda item: item.get_closest_marker("engine") is not None)


@dataclass
class RunningStack:
    """The laptop's stack as the tests use it."""

    local: LocalStack
    otlp: OtlpReceiver

    @property
    def targets(self) -> dict[str, str]:
        """host:port by the names of stack.toml's ports: gateway, gateway_rest, simulator, inference-policy, …"""
        return self.local.targets

    @property
    def bootstrap(self) -> str:
        return self.local.bootstrap

    @property
    def state_dir(self) -> Path:
        return self.local.state_dir

    def kill(self, name: str) -> None:
        """SIGKILL, children included."""
        self.local.kill(name)

    def restart(self, name: str) -> None:
        """Start it again (stopping it first if it runs) and wait until it is ready."""
        self.local.restart(name)


@pytest.fixture(scope="session")
def stack_state_dir() -> Iterator[Path]:
    """A state directory of this session; the logs of the last few sessions stay."""
    SESSIONS.mkdir(parents=True, exist_ok=True)
    _end_abandoned_sessions()
    directory = SESSIONS / str(os.getpid())
    shutil.rmtree(directory, ignore_errors=True)
    yield state_directory(directory)


def state_directory(directory: Path) -> Path:
    """A new one for a stack, with the prepared models and compiled engines that all stacks share."""
    directory.mkdir()
    for shared in ("models", "vllm-cache"):
        (STATE / shared).mkdir(exist_ok=True)
        (directory / shared).symlink_to(STATE / shared)
    return directory


@pytest.fixture(scope="session")
def otlp() -> Iterator[OtlpReceiver]:
    from tests.otlp_receiver import OtlpReceiver

    with OtlpReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def stack(stack_state_dir: Path, otlp: OtlpReceiver, request: pytest.FixtureRequest) -> Iterator[RunningStack]:
    """Every process of the stack, started once, traced into `stack.otlp`. Fails, saying why, if one does not start."""
    definition = load_definition()
    local = LocalStack(
        stack_state_dir, free_port_offset(definition), otlp_endpoint=otlp.endpoint, definition=definition
    )
    _start(local, request)
    try:
        yield RunningStack(local, otlp)
    finally:
        local.stop()


@pytest.fixture(scope="session")
def broker(stack_state_dir: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The bootstrap address of a broker of its own, beside no other process."""
    whole = load_definition()
    alone = StackDefinition(process=(whole.find("broker"),), topics=whole.topics)
    local = LocalStack(stack_state_dir / "lone-broker", free_port_offset(alone), definition=alone)
    _start(local, request)
    try:
        yield local.bootstrap
    finally:
        local.stop()


def free_port_offset(definition: StackDefinition) -> int:
    ports = [port for process in definition.process for port in process.ports.values()]
    for offset in PORT_OFFSETS:
        if all(port_is_free(port + offset) for port in ports):
            return offset
    raise RuntimeError(f"no free ports for a stack at any offset of {PORT_OFFSETS}")


def _start(local: LocalStack, request: pytest.FixtureRequest) -> None:
    """Start it with its progress shown, although pytest captures what tests print."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    console = Console(file=sys.__stderr__, force_terminal=False)
    with capture.global_and_fixture_disabled() if capture else nullcontext(), Display(console, "\nStarting") as display:
        try:
            local.start(display)
        except StackError as error:
            pytest.fail(error.message, pytrace=False)


def _end_abandoned_sessions() -> None:
    """Stop what a killed session left running, and keep only the newest logs."""
    sessions = sorted(SESSIONS.iterdir(), key=lambda path: path.stat().st_mtime)
    abandoned = [path for path in sessions if not Path(f"/proc/{path.name}").exists()]
    for record in (path for directory in abandoned for path in directory.rglob("stack.json")):
        LocalStack.recorded(record.parent).stop()
    for directory in abandoned[:-KEPT_SESSIONS]:
        shutil.rmtree(directory, ignore_errors=True)
