"""One process of the stack from its start to its end: what it is doing, whether it is ready, how it died."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path

from service_kit.errors import FailedPrecondition
from service_kit.local_stack.definition import Placement, ProcessDefinition
from service_kit.local_stack.logs import last_lines, last_message
from service_kit.local_stack.process import ProcessIdentity, RunningProcess
from service_kit.local_stack.progress import Phase, ProcessView
from service_kit.local_stack.readiness import is_ready

LOG_LINES = 15
POLL_SECONDS = 0.2
# After its leader is gone, what is left of a session gets this long to notice.
ORPHAN_SECONDS = 1.5


class StackError(FailedPrecondition):
    """The stack cannot be started, or did not come up; the message says which process, and why."""


class SupervisedProcess:
    def __init__(
        self,
        definition: ProcessDefinition,
        port: int,
        log: Path,
        running: RunningProcess,
        phase: Phase = Phase.STARTING,
    ) -> None:
        self.definition = definition
        self.running = running
        self.phase = phase
        # True after it had to be killed, because it did not end within its drain bound.
        self.overran = False
        self._found = phase is Phase.READY
        self._port = port
        self._log = log
        self._began = time.monotonic()
        self._seconds = 0.0
        self._leader_gone_at: float | None = None

    @classmethod
    def start(
        cls, definition: ProcessDefinition, placement: Placement, overrides: Mapping[str, str], log: Path
    ) -> SupervisedProcess:
        log.unlink(missing_ok=True)
        environment = placement.environment(definition) | dict(overrides)
        try:
            running = RunningProcess.spawn(placement.command(definition), environment, log)
        except OSError as error:
            raise StackError("CANNOT_START", f"{definition.name} cannot be started: {error}") from error
        return cls(definition, placement.ports[definition.name], log, running)

    @classmethod
    def found(
        cls, definition: ProcessDefinition, placement: Placement, identity: ProcessIdentity, log: Path
    ) -> SupervisedProcess:
        """One that an earlier command started, and waited for."""
        return cls(definition, placement.ports[definition.name], log, RunningProcess(identity), Phase.READY)

    def begin_waiting(self) -> None:
        """Its readiness is doubted: ask again, with the whole bound."""
        self.phase, self._began = Phase.STARTING, time.monotonic()

    def look(self) -> None:
        """See how it does. Raises StackError if it died, or takes longer to be ready than it may."""
        if not self.running.alive:
            self.phase = Phase.FAILED
            raise StackError("PROCESS_DIED", f"{self._how_it_died()}; {self._log_end()}")
        if self.phase is not Phase.STARTING:
            return
        self._seconds = time.monotonic() - self._began
        if is_ready(self._port, self.definition.ready):
            self.phase = Phase.READY
        elif self._seconds > self.definition.ready_seconds:
            self.phase = Phase.FAILED
            raise StackError(
                "NOT_READY", f"{self.definition.name} is not ready after {self._seconds:.0f} s; {self._log_end()}"
            )

    def ask(self) -> None:
        """See how it does, whatever that is: nothing is raised."""
        self._seconds = self.running.identity.age
        if not self.running.alive:
            self.phase = Phase.FAILED
        else:
            self.phase = Phase.READY if is_ready(self._port, self.definition.ready) else Phase.STARTING

    def begin_stop(self) -> None:
        self.phase, self._began = Phase.STOPPING, time.monotonic()
        if self.definition.signal_group:
            self.running.signal_all(signal.SIGTERM)
        else:
            self.running.signal(signal.SIGTERM)

    def has_stopped(self) -> bool:
        """True once nothing of it runs. What overruns its bound is killed, and so are children that outlive it."""
        if self.phase is Phase.STOPPED:
            return True
        self._seconds = time.monotonic() - self._began
        if self._leader_gone_at is None and not self.running.alive:
            self._leader_gone_at = self._seconds
        if self._leader_gone_at is not None and not self.definition.signal_group:
            overran, bound = False, self._leader_gone_at + ORPHAN_SECONDS
        else:
            overran, bound = True, self.definition.drain_seconds
        if self.running.any_left():
            if self._seconds < bound:
                return False
            self.overran = overran
        self.kill()
        return True

    def kill(self) -> None:
        """End it with its children at once, as a machine that fails would."""
        self.running.kill_all()
        self.phase = Phase.STOPPED

    def view(self) -> ProcessView:
        doing = "" if self.phase is Phase.READY else last_message(self._log)
        return ProcessView(
            self.definition.name, self.phase, self._seconds, doing, self.running.pid, self._port, self._found
        )

    def _how_it_died(self) -> str:
        code = self.running.exit_code
        if code is None:
            return f"{self.definition.name} died"
        if code < 0:
            return f"{self.definition.name} died of {signal.Signals(-code).name}"
        return f"{self.definition.name} ended with exit code {code}"

    def _log_end(self) -> str:
        lines = last_lines(self._log, LOG_LINES)
        end = "\n".join(f"  {line}" for line in lines) if lines else "  (nothing was logged)"
        return f"its log ({self._log}) ends:\n{end}"
