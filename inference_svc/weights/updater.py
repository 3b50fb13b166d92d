"""Another version of the weights, without a restart.

Invariant: one update at a time; a version is served only after the store accepted it; an update that fails leaves the
old version serving and says why; one that has begun runs to its end, whether or not its caller still waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inference_svc.engine.requests import PauseMode
from inference_svc.weights.store import Announced
from inference_svc.weights.versions import BASE, Version
from service_kit.errors import FailedPrecondition, ServiceError

log = logging.getLogger(__name__)


class Switchable(Protocol):
    """What an update needs of the engine."""

    version: Version
    unfinished: int

    async def switch(self, directory: Path, version: Version, mode: PauseMode, previous: Path) -> int: ...


class Store(Protocol):
    """What an update needs of the weight store; see WeightStore."""

    def checked(self, announced: Announced) -> Path: ...

    def serves(self, directory: Path) -> None: ...

    def current(self) -> Announced | None: ...


@dataclass(frozen=True)
class Update:
    mode: PauseMode
    in_flight: int
    seconds: float


class WeightUpdater:
    def __init__(
        self, engine: Switchable, store: Store, base_directory: Path, updated: Callable[[float, bool], None]
    ) -> None:
        """`updated` is told how long an update took, and whether requests waited for its end."""
        self._engine = engine
        self._store = store
        self._served_directory = base_directory
        self._served_digest = ""
        self._updated = updated
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Update]] = set()

    async def update(self, announced: Announced, mode: PauseMode) -> Update:
        task = asyncio.create_task(self._update(announced, mode))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def load_current(self) -> None:
        """What the trainer published last, for a replica that starts late. A manifest that does not hold is logged."""
        try:
            announced = await asyncio.to_thread(self._store.current)
            if announced is not None:
                await self.update(announced, PauseMode.DRAIN)
        except ServiceError as error:
            log.warning("the published weights are not served", extra={"reason": error.reason, "why": error.message})

    async def close(self) -> None:
        """Waits for an update in progress."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _update(self, announced: Announced, mode: PauseMode) -> Update:
        async with self._lock:
            began = time.monotonic()
            if self._is_served(announced):
                return Update(mode, 0, 0.0)
            directory = await asyncio.to_thread(self._store.checked, announced)
            in_flight = await self._engine.switch(directory, announced.version, mode, self._served_directory)
            self._served_directory, self._served_digest = directory, announced.sha256
            seconds = time.monotonic() - began
            self._updated(seconds, self._engine.unfinished > 0)
            await asyncio.to_thread(self._store.serves, directory)
            log.info(
                "serving other weights",
                extra={"version": str(announced.version), "seconds": round(seconds, 3), "in_flight": in_flight},
            )
            return Update(mode, in_flight, seconds)

    def _is_served(self, announced: Announced) -> bool:
        """The same version again is welcome; an older one, or other weights under its name, is refused."""
        served = self._engine.version
        if announced.version == BASE:
            raise FailedPrecondition("VERSION_WITHOUT_RUN", "a version to load names its run")
        if announced.version == served:
            if announced.sha256 != self._served_digest:
                raise FailedPrecondition("VERSION_CONFLICT", f"{served} is served with other weights")
            return True
        if not announced.version.may_follow(served):
            raise FailedPrecondition("VERSION_NOT_NEWER", f"{served} is served; {announced.version} is not newer")
        return False
