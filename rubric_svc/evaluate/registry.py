"""The evaluations of a service: started by name, kept on disk, watched, and taken up again after a restart.

Invariant: an evaluation that was answered to its starter exists on disk. It is RUNNING until its report is written or
its failure is; what was RUNNING when the process ended goes on when it starts again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import Context
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from rubric_svc.evaluate.run import Evaluation, Progress
from rubric_svc.evaluate.scores import Summary, summarize
from service_kit.errors import NotFound, ServiceError

log = logging.getLogger(__name__)
STATUS = "status.json"


class State(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Spec:
    benchmark: str
    candidate: str
    limit: int
    seed: int


@dataclass(frozen=True, slots=True)
class Status:
    """`means` are (name, value, standard error, count), the overall one among them."""

    evaluation_id: str
    spec: Spec
    state: State
    started_at: float
    done: int = 0
    total: int = 0
    means: tuple[tuple[str, float, float, int], ...] = ()
    unplayed: Mapping[str, int] = field(default_factory=dict)
    ungraded: int = 0
    error: str = ""


# Plays an evaluation in a directory of its own, telling its progress, and returns it.
Play = Callable[[Spec, Path, Progress], Awaitable[Evaluation]]


class Evaluations:
    def __init__(self, directory: Path, check: Callable[[Spec], None], play: Play) -> None:
        """`check` raises ServiceError for a spec that cannot be played here."""
        self._directory = directory
        self._check = check
        self._play = play
        self._known: dict[str, Status] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Condition()

    async def take_up(self) -> None:
        """What lies on disk is known again, and what was running runs."""
        for path in sorted(self._directory.glob(f"*/{STATUS}")):
            status = _read(path)
            self._known[status.evaluation_id] = status
            if status.state is State.RUNNING:
                self._launch(status)

    async def close(self) -> None:
        """Interrupts what runs; it goes on with the next start."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def start(self, spec: Spec) -> Status:
        self._check(spec)
        identity = f"{spec.benchmark}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}"
        status = Status(identity, spec, State.RUNNING, time.time())
        (self._directory / identity).mkdir(parents=True)
        await self._keep(status)
        self._launch(status)
        return status

    def get(self, evaluation_id: str) -> Status:
        try:
            return self._known[evaluation_id]
        except KeyError:
            raise NotFound("evaluation", evaluation_id) from None

    async def watch(self, evaluation_id: str) -> AsyncGenerator[Status, None]:
        """Its status now and after each change, until it has ended."""
        shown = None
        while True:
            status = self.get(evaluation_id)
            if status is not shown:
                yield status
                shown = status
            if status.state is not State.RUNNING:
                return
            async with self._changed:
                while self._known[evaluation_id] is shown:
                    await self._changed.wait()

    def _launch(self, status: Status) -> None:
        # In a context of its own: an evaluation outlives the call that started it, and that call's deadline.
        task = asyncio.create_task(self._run(status), name=status.evaluation_id, context=Context())
        self._tasks[status.evaluation_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(status.evaluation_id, None))

    async def _run(self, status: Status) -> None:
        told: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        teller = asyncio.create_task(self._tell(status.evaluation_id, told))
        try:
            end = await self._played(status, lambda done, total: told.put_nowait((done, total)))
        finally:
            # Before the end is told: a late word of progress must not overwrite it.
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)
        await self._keep(end)

    async def _played(self, status: Status, progress: Progress) -> Status:
        try:
            evaluation = await self._play(status.spec, self._directory / status.evaluation_id, progress)
        except ServiceError as error:
            return replace(self.get(status.evaluation_id), state=State.FAILED, error=f"{error.reason}: {error.message}")
        except Exception:  # the edge of a background task: a bug ends this evaluation and is named
            log.exception("a bug ended an evaluation", extra={"evaluation_id": status.evaluation_id})
            return replace(self.get(status.evaluation_id), state=State.FAILED, error="INTERNAL: see the service's log")
        return _ended(status, evaluation)

    async def _tell(self, evaluation_id: str, told: asyncio.Queue[tuple[int, int]]) -> None:
        while True:
            done, total = await told.get()
            await self._keep(replace(self.get(evaluation_id), done=done, total=total))

    async def _keep(self, status: Status) -> None:
        _write(self._directory / status.evaluation_id / STATUS, status)
        async with self._changed:
            self._known[status.evaluation_id] = status
            self._changed.notify_all()


def _ended(status: Status, evaluation: Evaluation) -> Status:
    summary: Summary = summarize([one.example for one in evaluation.reported()], seed=status.spec.seed)
    return replace(
        status,
        state=State.SUCCEEDED if summary.overall else State.FAILED,
        done=len(evaluation.journal.done),
        total=len(evaluation.tasks),
        means=tuple((name, m.value, m.standard_error, m.count) for name, m in summary.means.items()),
        unplayed=dict(evaluation.unplayed),
        ungraded=summary.ungraded,
        error="" if summary.overall else "NO_SCORE: nothing could be played and judged",
    )


def _write(path: Path, status: Status) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(status)), encoding="utf-8")
    temporary.replace(path)


def _read(path: Path) -> Status:
    row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    row["spec"] = Spec(**row["spec"])
    row["state"] = State(row["state"])
    row["means"] = tuple((name, value, error, count) for name, value, error, count in row["means"])
    return Status(**row)
