"""What the stack consists of, read from stack.toml. A definition is refused when loaded, never when half of it runs."""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

HOST = "127.0.0.1"
BUILT_IN = Path(__file__).with_name("stack.toml")
KAFKA_READY = "kafka"
CHECKOUT = Path(__file__).resolve().parents[2]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Requirement(_Data):
    """A file that must lie in the state directory before anything starts."""

    path: str
    made_by: str


class Topics(_Data):
    names: tuple[str, ...] = ()
    partitions: int = Field(default=4, ge=1)


class ProcessDefinition(_Data):
    name: str
    command: tuple[str, ...] = Field(min_length=1)
    # The one that bears the process's name is asked for its readiness.
    ports: Mapping[str, int]
    # Health is asked for this gRPC service; "" is the server's own liveness; "kafka" is a broker that answers.
    ready: str
    service: str | None = None
    # It is stopped before those, and started when they are ready, unless `waits` is false: it only answers, and can
    # be there before them.
    depends_on: tuple[str, ...] = ()
    waits: bool = True
    env: Mapping[str, str] = {}
    # The variable that names its directory of cases, where it reads one.
    cases_variable: str | None = None
    ready_seconds: float = Field(default=120, gt=0)
    drain_seconds: float = Field(default=30, gt=0)
    # SIGTERM goes to the process alone, which stops its own children, or (a mere wrapper) to all of them.
    signal_group: bool = False

    @property
    def waits_for(self) -> tuple[str, ...]:
        return self.depends_on if self.waits else ()


class StackDefinition(_Data):
    process: tuple[ProcessDefinition, ...] = Field(min_length=1)
    requires: tuple[Requirement, ...] = ()
    topics: Topics = Topics()

    @model_validator(mode="after")
    def is_consistent(self) -> Self:
        seen: set[str] = set()
        for process in self.process:
            if process.name in seen:
                raise ValueError(f"{process.name} is listed twice")
            unknown = [name for name in process.depends_on if name not in seen]
            if unknown:
                raise ValueError(f"{process.name} depends on {unknown}, not listed before it")
            if process.name not in process.ports:
                raise ValueError(f"none of the ports of {process.name} bears its name")
            seen.add(process.name)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(process.name for process in self.process)

    def find(self, name: str) -> ProcessDefinition:
        for process in self.process:
            if process.name == name:
                return process
        raise KeyError(f"no process {name}; there are {', '.join(self.names)}")

    def reading(self, cases: Path) -> dict[str, dict[str, str]]:
        """By process name, the variable that makes it read this directory of cases."""
        return {
            process.name: {process.cases_variable: str(cases.absolute())}
            for process in self.process
            if process.cases_variable
        }


def load_definition(path: Path = BUILT_IN) -> StackDefinition:
    return StackDefinition.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


class Placement(_Data):
    """Where one stack runs: fills the placeholders of commands and environments."""

    state_dir: Path
    ports: Mapping[str, int]
    otlp_endpoint: str | None = None

    @classmethod
    def of(cls, definition: StackDefinition, state_dir: Path, port_offset: int, otlp_endpoint: str | None) -> Self:
        ports = {name: port + port_offset for process in definition.process for name, port in process.ports.items()}
        outside = [f"{name} = {port}" for name, port in ports.items() if not 0 < port < 65536]
        if outside:
            raise ValueError(f"the port offset {port_offset} leaves the range of ports: {', '.join(outside)}")
        return cls(state_dir=state_dir.absolute(), ports=ports, otlp_endpoint=otlp_endpoint)

    def at(self, port: str) -> str:
        return f"{HOST}:{self.ports[port]}"

    def command(self, process: ProcessDefinition) -> list[str]:
        return [self._fill(part) for part in process.command]

    def environment(self, process: ProcessDefinition) -> dict[str, str]:
        """What the process gets beside the environment of whoever starts the stack."""
        environment: dict[str, str] = {}
        if process.service is not None:
            prefix = f"ANAMNESIS_{process.service}_"
            environment[f"{prefix}GRPC_PORT"] = str(self.ports[process.name])
            environment[f"{prefix}STATE_DIR"] = str(self.state_dir)
            if self.otlp_endpoint:
                environment[f"{prefix}OTLP_ENDPOINT"] = self.otlp_endpoint
        environment.update({name: self._fill(value) for name, value in process.env.items()})
        return environment

    def _fill(self, text: str) -> str:
        fields: dict[str, Any] = {
            "python": sys.executable,
            "scripts": sysconfig.get_path("scripts"),
            "checkout": str(CHECKOUT),
            "state_dir": str(self.state_dir),
            "port": self.ports,
            "at": {name: self.at(name) for name in self.ports},
        }
        return text.format_map(fields)
