"""One operating-system process of the stack and everything it started.

Invariant: each runs in a session of its own, so that after `kill_all` nothing that it started survives, whoever its
parent is by then. A process is known by its id together with its start time: a reused id is another process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.05
_STATE, _SESSION, _START_TIME = 0, 3, 19  # fields of /proc/<pid>/stat after the command's name


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _runs(stat: list[str]) -> bool:
    # A zombie has ended: it only waits for a parent that may never ask.
    return stat[_STATE] not in "ZX"


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class ProcessIdentity:
    pid: int
    start_time: int  # clock ticks since the machine's boot

    @property
    def alive(self) -> bool:
        stat = _stat(self.pid)
        return stat is not None and _runs(stat) and int(stat[_START_TIME]) == self.start_time

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - self.start_time / os.sysconf("SC_CLK_TCK"))

    def session(self) -> list[int]:
        """The running processes of its session: itself, its children and theirs, also after its own end."""
        leader = _stat(self.pid)
        if leader is not None and int(leader[_START_TIME]) != self.start_time:
            return []  # the id was given away, which the kernel does only when nothing of the session is left
        members = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                stat = _stat(int(entry.name))
                if stat is not None and _runs(stat) and int(stat[_SESSION]) == self.pid:
                    members.append(int(entry.name))
        return members


class RunningProcess:
    """A process that this one started (it is reaped) or found running (init reaps it)."""

    def __init__(self, identity: ProcessIdentity, child: subprocess.Popen[bytes] | None = None) -> None:
        self.identity = identity
        self._child = child

    @classmethod
    def spawn(cls, command: Sequence[str], environment: Mapping[str, str], log: Path) -> RunningProcess:
        """Start it with its output in `log`. Raises OSError if the command cannot be run."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        stat = _stat(child.pid)
        assert stat is not None  # not reaped yet, so /proc still has it
        return cls(ProcessIdentity(child.pid, int(stat[_START_TIME])), child)

    @property
    def pid(self) -> int:
        return self.identity.pid

    @property
    def alive(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            return False
        return self.identity.alive

    @property
    def exit_code(self) -> int | None:
        """As Popen has it: negative for a signal. None while it runs or when it was not this process's child."""
        return self._child.poll() if self._child is not None else None

    def signal(self, number: int) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def signal_all(self, number: int) -> None:
        for pid in self.identity.session():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def kill_all(self) -> None:
        """End it and everything of its session at once."""
        while self.identity.session():  # again: a fork may have been under way
            self.signal_all(signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        if self._child is not None:
            self._child.wait()

    def any_left(self) -> bool:
        """True while anything of its session runs."""
        if self._child is not None:
            self._child.poll()
        return bool(self.identity.session())
