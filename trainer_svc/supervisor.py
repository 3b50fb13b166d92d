"""Each run trains in a process of its own: whatever kills it, the API stays up and the run can go on.

A run process that ends without having said why leaves its run INTERRUPTED. The process dies with its parent.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence

from trainer_svc.records.runs import ACTIVE, ActiveRunExists, RunRecord, RunStore, State

logger = logging.getLogger(__name__)

RUN_COMMAND = (sys.executable, "-m", "trainer_svc.process")


class Supervisor:
    """Owns the run processes and the tasks that wait for them."""

    def __init__(self, store: RunStore, command: Sequence[str] = RUN_COMMAND) -> None:
        self._store = store
        self._command = tuple(command)
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def recover(self, auto_resume: bool) -> None:
        """At start: runs that a dead server left active are INTERRUPTED; with auto_resume the newest one goes on."""
        for record in self._store.in_states(ACTIVE):
            self._store.change_state(record.run_id, State.INTERRUPTED, "the trainer was stopped in mid-run")
        interrupted = self._store.in_states((State.INTERRUPTED,))
        if auto_resume and interrupted:
            await self.launch(interrupted[-1].run_id)

    async def launch(self, run_id: str) -> RunRecord:
        """Starts the next incarnation; raises ActiveRunExists when another run is active."""
        watcher = self._watchers.get(run_id)
        if watcher is not None:  # the process before may still be on its way out
            await asyncio.wait_for(asyncio.shield(watcher), timeout=30.0)
        record = self._store.begin_incarnation(run_id)
        process = await asyncio.create_subprocess_exec(
            *self._command, "--run-id", run_id, "--incarnation", str(record.incarnation), "--parent", str(os.getpid())
        )
        self._processes[run_id] = process
        self._watchers[run_id] = asyncio.create_task(self._watch(run_id, process), name=f"run-{run_id}")
        return record

    async def stop(self, run_id: str, bound_seconds: float) -> None:
        """SIGTERM lets the run stop at the next step boundary; past the bound it is killed."""
        process = self._processes.get(run_id)
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout=bound_seconds)
        except TimeoutError:
            logger.warning("run did not stop in time and is killed", extra={"run_id": run_id})
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(w for r, w in self._watchers.items() if r == run_id))

    def kill(self, run_id: str) -> None:
        """SIGKILL, as the kernel does when memory is short."""
        self._processes[run_id].kill()

    async def close(self, bound_seconds: float) -> None:
        await asyncio.gather(*(self.stop(run_id, bound_seconds) for run_id in list(self._processes)))

    async def _watch(self, run_id: str, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        del self._processes[run_id]
        said = f"the training process ended with status {code} without saying why"
        if self._store.change_state(run_id, State.INTERRUPTED, said, only_from=ACTIVE):
            logger.error("run interrupted", extra={"run_id": run_id, "status": code})
        del self._watchers[run_id]


__all__ = ["ActiveRunExists", "Supervisor"]
