"""Starts, watches and stops the processes of one state directory.

Invariants: `start` ends with every process ready, or with none of those that it started left running; `stop` ends with
nothing of the stack left, children included. No process is restarted behind anyone's back: a death shows.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from service_kit.local_stack.definition import KAFKA_READY, Placement, StackDefinition, load_definition
from service_kit.local_stack.progress import Phase, ProcessView, Progress, silent
from service_kit.local_stack.readiness import port_is_free
from service_kit.local_stack.record import StackRecord, exclusive
from service_kit.local_stack.supervised import POLL_SECONDS, StackError, SupervisedProcess

OTLP_VARIABLE = "ANAMNESIS_OTLP_ENDPOINT"


class LocalStack:
    def __init__(
        self,
        state_dir: Path = Path(".anamnesis"),
        port_offset: int = 0,
        env_overrides: Mapping[str, Mapping[str, str]] | None = None,
        *,
        otlp_endpoint: str | None = None,
        cases: Path | None = None,
        definition: StackDefinition | None = None,
    ) -> None:
        """`env_overrides` has, by process name, variables that go before all others. Without `otlp_endpoint` the one of
        ANAMNESIS_OTLP_ENDPOINT counts, and without that nothing is traced."""
        self.state_dir = state_dir.absolute()
        self.port_offset = port_offset
        self.definition = definition or load_definition()
        endpoint = otlp_endpoint or os.environ.get(OTLP_VARIABLE) or None
        self._placement = Placement.of(self.definition, self.state_dir, port_offset, endpoint)
        self._overrides = dict(self.definition.reading(cases) if cases else {})
        for name, variables in (env_overrides or {}).items():
            self._overrides[name] = {**self._overrides.get(name, {}), **variables}
        for name in self._overrides:
            self.definition.find(name)
        self._processes: dict[str, SupervisedProcess] = {}

    @classmethod
    def recorded(cls, state_dir: Path, definition: StackDefinition | None = None) -> LocalStack:
        """The stack that runs in this state directory, wherever its ports are; nothing runs in it if there is none."""
        record = StackRecord.read(state_dir)
        stack = cls(state_dir, record.port_offset if record else 0, definition=definition)
        stack._adopt()
        return stack

    @property
    def targets(self) -> dict[str, str]:
        """host:port of every port in the definition, by its name."""
        return {name: self._placement.at(name) for name in self._placement.ports}

    @property
    def bootstrap(self) -> str:
        return self.targets["broker"]

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the processes that were started and not stopped, in the order of their start."""
        return tuple(name for name in self.definition.names if name in self._processes)

    def log(self, name: str) -> Path:
        return self.state_dir / "logs" / f"{name}.log"

    def start(self, progress: Progress = silent, *, leave_out: Collection[str] = ()) -> None:
        """Start what does not run yet; wait until all is ready. Raises StackError once what it started is stopped.

        What is left out stays as it is: `restart` starts it."""
        with exclusive(self.state_dir):
            self._check_place()
            self._adopt()
            self._bury_the_dead()
            before = self.running
            for name in before:
                self._processes[name].begin_waiting()
            wanted = [name for name in self.definition.names if name not in leave_out]
            missing = [name for name in wanted if name not in before]
            try:
                self._check_requirements()
                self._check_ports(missing)
                self._bring_up(wanted, progress)
            except BaseException:
                self._take_down([name for name in self.running if name not in before], progress)
                raise

    def wait_ready(self, names: Collection[str] | None = None, progress: Progress = silent) -> None:
        """Wait until all that was started, or just these, is ready. Raises StackError if one died or takes too long."""
        waited = [self._processes[name] for name in self.running if names is None or name in names]
        for process in waited:
            process.begin_waiting()
        while self._some_start(waited):
            progress(self.views())
            time.sleep(POLL_SECONDS)
        progress(self.views())

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a process a signal. SIGKILL takes its children too and returns when all are gone."""
        process = self._processes[self.definition.find(name).name]
        if number == signal.SIGKILL:
            process.kill()
        else:
            process.running.signal(number)

    def restart(self, name: str, progress: Progress = silent) -> None:
        """Stop a process if it still runs, start it again on the same ports and wait until it is ready."""
        with exclusive(self.state_dir):
            self.definition.find(name)
            if name in self._processes:
                self._take_down([name], progress)
            self._check_ports([name])
            try:
                self._bring_up([name], progress)
            except BaseException:
                self._take_down([name], progress)
                raise

    def stop_one(self, name: str, progress: Progress = silent) -> None:
        """Stop one process and leave the others as they are. Raises StackError if it had to be killed."""
        with exclusive(self.state_dir):
            if self._take_down([self.definition.find(name).name], progress):
                raise StackError("OVERRAN", f"{name} did not stop within its bound and was killed")

    def stop(self, progress: Progress = silent) -> list[str]:
        """Stop all that runs in the state directory, whoever started it, in the opposite order of the start.

        Returns the names of those that had to be killed."""
        with exclusive(self.state_dir):
            self._adopt()
            return self._take_down(self.running, progress)

    def views(self) -> list[ProcessView]:
        """Every process of the definition, as far as it is known."""
        return [self._view(name) for name in self.definition.names]

    def check(self) -> None:
        """Raises StackError if a process that was ready has died."""
        for name in self.running:
            self._processes[name].look()

    def look(self) -> list[ProcessView]:
        """Every process of the definition as it is now: each is asked once."""
        for process in self._processes.values():
            process.ask()
        return self.views()

    def _adopt(self) -> None:
        """Take over what an earlier command started in this state directory."""
        record = StackRecord.read(self.state_dir)
        for name, identity in record.processes.items() if record else ():
            if name not in self._processes and name in self.definition.names:
                definition = self.definition.find(name)
                self._processes[name] = SupervisedProcess.found(definition, self._placement, identity, self.log(name))

    def _bury_the_dead(self) -> None:
        """Forget what has died; the children that outlived it would hold its port and its memory."""
        for name in self.running:
            if not self._processes[name].running.alive:
                self._processes.pop(name).kill()
        self._write_record()

    def _check_place(self) -> None:
        record = StackRecord.read(self.state_dir)
        if record is not None and record.port_offset != self.port_offset:
            raise StackError(
                "STACK_RUNS_ELSEWHERE",
                f"the stack in {self.state_dir} runs with port offset {record.port_offset}, not {self.port_offset}: "
                "stop it first, or give another --state-dir",
            )

    def _check_requirements(self) -> None:
        for requirement in self.definition.requires:
            path = self.state_dir / requirement.path
            if not path.exists():
                raise StackError("NOT_PREPARED", f"{path} is missing: run `{requirement.made_by}`")

    def _check_ports(self, names: Sequence[str]) -> None:
        for name in names:
            for port_name in self.definition.find(name).ports:
                port = self._placement.ports[port_name]
                if not port_is_free(port):
                    raise StackError(
                        "PORT_TAKEN",
                        f"port {port}, which {name} needs, is taken by another program: stop that one, "
                        "or start the stack on other ports with --port-offset",
                    )

    def _bring_up(self, names: Sequence[str], progress: Progress) -> None:
        """Start each as soon as those of `names` that it depends on are ready, and watch until all are."""
        waiting = [name for name in names if name not in self._processes]
        while True:
            for name in list(waiting):
                definition = self.definition.find(name)
                if all(self._is_ready(other) for other in definition.waits_for if other in names):
                    waiting.remove(name)
                    self._processes[name] = SupervisedProcess.start(
                        definition, self._placement, self._overrides.get(name, {}), self.log(name)
                    )
                    self._write_record()
            some_start = self._some_start([self._processes[name] for name in names if name in self._processes])
            progress(self.views())
            if not waiting and not some_start:
                return
            time.sleep(POLL_SECONDS)

    def _some_start(self, processes: Sequence[SupervisedProcess]) -> bool:
        """Look at each; True while one is not ready. The topics are there before a broker counts as looked at."""
        for process in processes:
            started = process.phase is Phase.STARTING
            process.look()
            if started and process.phase is Phase.READY and process.definition.ready == KAFKA_READY:
                self._create_topics()
        return any(process.phase is Phase.STARTING for process in processes)

    def _is_ready(self, name: str) -> bool:
        return name in self._processes and self._processes[name].phase is Phase.READY

    def _create_topics(self) -> None:
        from service_kit.kafka.settings import KafkaSettings
        from service_kit.kafka.topics import ensure_topics

        topics = self.definition.topics
        ensure_topics(KafkaSettings(bootstrap=self.bootstrap, partitions=topics.partitions), topics.names)

    def _take_down(self, names: Collection[str], progress: Progress) -> list[str]:
        """Stop together all on which no other that still runs depends, until none is left."""
        order = [name for name in self.running if name in names]
        left = list(order)
        while left:
            leaves = [name for name in left if not any(name in self.definition.find(o).depends_on for o in left)]
            for name in leaves:
                self._processes[name].begin_stop()
            while not all([self._processes[name].has_stopped() for name in leaves]):
                progress(self.views())
                time.sleep(POLL_SECONDS)
            progress(self.views())
            left = [name for name in left if name not in leaves]
        killed = [name for name in order if self._processes.pop(name).overran]
        self._write_record()
        return killed

    def _view(self, name: str) -> ProcessView:
        if name in self._processes:
            return self._processes[name].view()
        missing = [other for other in self.definition.find(name).waits_for if not self._is_ready(other)]
        doing = f"waits for {', '.join(missing)}" if missing else ""
        return ProcessView(name, Phase.WAITING, doing=doing, port=self._placement.ports[name])

    def _write_record(self) -> None:
        identities = {name: process.running.identity for name, process in self._processes.items()}
        StackRecord(self.port_offset, identities).write(self.state_dir)
