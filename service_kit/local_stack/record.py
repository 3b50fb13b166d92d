"""stack.json: which processes of the stack run, for the next command to find.

Invariant: the file is whole or absent (written beside and renamed), and what it says of a machine that has since been
restarted counts for nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from service_kit.local_stack.process import ProcessIdentity, boot_id


@dataclass
class StackRecord:
    port_offset: int
    processes: dict[str, ProcessIdentity] = field(default_factory=dict)

    @staticmethod
    def path(state_dir: Path) -> Path:
        return state_dir / "stack.json"

    @classmethod
    def read(cls, state_dir: Path) -> StackRecord | None:
        """The processes recorded that still run; None if nothing was recorded, or nothing of it is left."""
        try:
            data = json.loads(cls.path(state_dir).read_text(encoding="utf-8"))
            recorded = {
                name: ProcessIdentity(int(p["pid"]), int(p["start_time"])) for name, p in data["processes"].items()
            }
            offset, boot = int(data["port_offset"]), data["boot_id"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # not a record: as good as none
        if boot != boot_id():
            return None
        # A process whose leader died may have left children behind: those still count as running.
        running = {name: identity for name, identity in recorded.items() if identity.session()}
        return cls(offset, running) if running else None

    def write(self, state_dir: Path) -> None:
        if not self.processes:
            self.path(state_dir).unlink(missing_ok=True)
            return
        processes: Mapping[str, Mapping[str, int]] = {
            name: {"pid": identity.pid, "start_time": identity.start_time} for name, identity in self.processes.items()
        }
        data = {"port_offset": self.port_offset, "boot_id": boot_id(), "processes": processes}
        beside = self.path(state_dir).with_suffix(f".{os.getpid()}.tmp")
        beside.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        beside.replace(self.path(state_dir))


@contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """Only one command at a time changes the stack of a state directory; another waits for it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
