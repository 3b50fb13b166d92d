"""The laptop's stack as a cluster runs it: two replicas of each stateless service, and room for one engine more.

A surge engine takes the place of another of its deployment, as a Deployment with maxSurge 1 and maxUnavailable 0 does:
the new one is ready before the old one goes. Callers have every address of a service in one target.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from service_kit.local_stack import LocalStack, Progress
from service_kit.local_stack.definition import ProcessDefinition, StackDefinition, load_definition
from service_kit.local_stack.readiness import port_is_free

STATE = Path(".anamnesis").absolute()
REPLICATED = ("rubric", "simulator", "gateway")
ENGINES = ("inference-policy", "inference-frozen")
SINGLE = "trainer"
PORT_STEP = 50  # the second replica's ports lie so far behind the first's
DRAIN_SECONDS = 10


def second(name: str) -> str:
    return f"{name}-2"


def definition() -> StackDefinition:
    whole = load_definition()
    processes: list[ProcessDefinition] = []
    for name in ("broker", *ENGINES, "rubric", "simulator", SINGLE, "gateway"):
        process = with_both_addresses(whole.find(name))
        processes.append(process)
        if name in REPLICATED + ENGINES:
            processes.append(replica(process))
    return StackDefinition(process=tuple(processes), requires=whole.requires, topics=whole.topics)


def with_both_addresses(process: ProcessDefinition) -> ProcessDefinition:
    """Every target of another service names both of its replicas."""
    environment = dict(process.env)
    for variable, value in environment.items():
        for name in REPLICATED + ENGINES:
            if value == f"{{at[{name}]}}":
                environment[variable] = both(name)
    if process.service is not None:
        environment[f"ANAMNESIS_{process.service}_DRAIN_SECONDS"] = str(DRAIN_SECONDS)
    return process.model_copy(update={"env": environment})


def both(name: str) -> str:
    return f"ipv4:{{at[{name}]}},{{at[{second(name)}]}}"


def replica(process: ProcessDefinition) -> ProcessDefinition:
    """The same process on ports of its own."""
    ports = {second(name): port + PORT_STEP for name, port in process.ports.items()}
    return process.model_copy(
        update={"name": second(process.name), "ports": ports, "env": own_ports(process.env, process.ports)}
    )


def own_ports(environment: Mapping[str, str], ports: Mapping[str, int]) -> dict[str, str]:
    moved = dict(environment)
    for name in ports:
        moved = {key: value.replace(f"{{port[{name}]}}", f"{{port[{second(name)}]}}") for key, value in moved.items()}
    return moved


@contextmanager
def running_stack(progress: Progress) -> Iterator[LocalStack]:
    """Everything but the surge engines, with a state directory and ports of its own."""
    state_dir = STATE / "rolling-restart"
    LocalStack.recorded(state_dir).stop()
    shutil.rmtree(state_dir, ignore_errors=True)
    state_dir.mkdir(parents=True)
    for shared in ("models", "vllm-cache"):
        (STATE / shared).mkdir(exist_ok=True)
        (state_dir / shared).symlink_to(STATE / shared)
    processes = definition()
    stack = LocalStack(state_dir, free_offset(processes), definition=processes)
    try:
        stack.start(progress, leave_out=[second(name) for name in ENGINES])
        yield stack
    finally:
        stack.stop()


def free_offset(processes: StackDefinition) -> int:
    ports = [port for process in processes.process for port in process.ports.values()]
    return next(offset for offset in range(800, 20000, 200) if all(port_is_free(port + offset) for port in ports))


def replace(stack: LocalStack, name: str) -> None:
    """As a rolling update replaces it; returns when nothing of the old is left and all of the new is ready."""
    if name in ENGINES:
        stack.restart(second(name))
        stack.stop_one(name)
    else:
        for one in (name, second(name)) if name in REPLICATED else (name,):
            stack.restart(one)
