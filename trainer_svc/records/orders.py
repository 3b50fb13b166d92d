"""What people and the supervisor want of a running run: to pause, to be cancelled, to stop because the trainer does.

Orders are obeyed between steps and while waiting for trajectories, where nothing of a step is half done.
"""

import ctypes
import os
import signal
from types import FrameType

from trainer_svc.records.runs import Desired, RunStore, State

PR_SET_PDEATHSIG = 1


class Halt(Exception):
    """The run ends here, in this state, and what it did so far is in its checkpoint."""

    def __init__(self, state: State, why: str = "") -> None:
        super().__init__(why or state)
        self.state = state
        self.why = why


class Orders:
    def __init__(self, store: RunStore, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._stopping = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the parent, which decides

    def check(self) -> None:
        """Raises Halt when there is an order."""
        match self._store.desired(self._run_id):
            case Desired.CANCEL:
                raise Halt(State.CANCELLED)
            case Desired.PAUSE:
                raise Halt(State.PAUSED)
        if self._stopping:
            raise Halt(State.INTERRUPTED, "the trainer was shut down; the run goes on from its checkpoint")

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True


def die_with(parent: int) -> None:
    """A run must not outlive its server: the next server would start the same run beside it."""
    if hasattr(signal, "SIGKILL") and os.uname().sysname == "Linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the trainer is gone")
