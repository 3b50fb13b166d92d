"""Some of the stack's processes for a benchmark, with a state directory and ports of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from service_kit.local_stack import LocalStack
from service_kit.local_stack.definition import StackDefinition, Topics, load_definition
from service_kit.local_stack.display import Display
from service_kit.local_stack.readiness import port_is_free

STATE = Path(".anamnesis").absolute()


@contextmanager
def running_stack(
    name: str,
    processes: Sequence[str],
    overrides: Mapping[str, Mapping[str, str]],
    console: Console,
    otlp_endpoint: str | None = None,
) -> Iterator[LocalStack]:
    """Models and compiled engines are shared with every other stack; all else is this benchmark's and begins empty."""
    state_dir = STATE / name
    LocalStack.recorded(state_dir).stop()
    shutil.rmtree(state_dir, ignore_errors=True)
    state_dir.mkdir(parents=True)
    for shared in ("models", "vllm-cache"):
        (STATE / shared).mkdir(exist_ok=True)
        (state_dir / shared).symlink_to(STATE / shared)
    whole = load_definition()
    definition = StackDefinition(
        process=tuple(whole.find(process) for process in processes),
        requires=whole.requires,
        topics=whole.topics if "broker" in processes else Topics(),
    )
    stack = LocalStack(
        state_dir, free_offset(definition), overrides, otlp_endpoint=otlp_endpoint, definition=definition
    )
    try:
        with Display(console, "Starting") as display:
            stack.start(display)
        yield stack
    finally:
        stack.stop()


def free_offset(definition: StackDefinition) -> int:
    ports = [port for process in definition.process for port in process.ports.values()]
    return next(offset for offset in range(400, 20000, 200) if all(port_is_free(port + offset) for port in ports))
