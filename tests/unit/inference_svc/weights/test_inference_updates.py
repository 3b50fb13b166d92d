"""The order of versions, and what an update leaves behind when it fails or its caller goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inference_svc.engine.requests import PauseMode
from inference_svc.weights.store import Announced
from inference_svc.weights.updater import WeightUpdater
from inference_svc.weights.versions import BASE, Version
from service_kit.errors import FailedPrecondition, NotFound


class RecordingEngine:
    def __init__(self) -> None:
        self.version = BASE
        self.unfinished = 0
        self.switched: list[tuple[Path, Version, Path]] = []
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.fails = False

    async def switch(self, directory: Path, version: Version, mode: PauseMode, previous: Path) -> int:
        await self.may_finish.wait()
        if self.fails:
            raise RuntimeError("the loader broke")
        self.switched.append((directory, version, previous))
        self.version = version
        return 3


class PathStore:
    """Accepts what is not called missing."""

    def __init__(self) -> None:
        self.manifest: Announced | None = None
        self.kept: list[Path] = []

    def checked(self, announced: Announced) -> Path:
        if announced.path == "missing":
            raise NotFound("weights", announced.path)
        return Path("/store") / announced.path

    def serves(self, directory: Path) -> None:
        self.kept.append(directory)

    def current(self) -> Announced | None:
        return self.manifest


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
def store() -> PathStore:
    return PathStore()


@pytest.fixture
def updater(engine: RecordingEngine, store: PathStore) -> WeightUpdater:
    return WeightUpdater(engine, store, Path("/base"), lambda seconds, awaited: None)


def announced(step: int, *, run: str = "r", incarnation: int = 0, path: str = "", digest: str = "d") -> Announced:
    return Announced(Version(run, incarnation, step), path or f"{run}/{incarnation}-{step}", digest)


async def test_each_update_knows_what_was_served_before(updater: WeightUpdater, engine: RecordingEngine) -> None:
    await updater.update(announced(1), PauseMode.DRAIN)
    update = await updater.update(announced(2), PauseMode.ABORT)
    assert [previous for _, _, previous in engine.switched] == [Path("/base"), Path("/store/r/0-1")]
    assert (update.mode, update.in_flight) == (PauseMode.ABORT, 3)


async def test_the_same_version_again_changes_nothing(updater: WeightUpdater, engine: RecordingEngine) -> None:
    await updater.update(announced(1), PauseMode.DRAIN)
    again = await updater.update(announced(1), PauseMode.DRAIN)
    assert (again.in_flight, len(engine.switched)) == (0, 1)


async def test_other_weights_under_a_served_name_are_refused(updater: WeightUpdater) -> None:
    await updater.update(announced(1), PauseMode.DRAIN)
    with pytest.raises(FailedPrecondition) as refused:
        await updater.update(announced(1, digest="e"), PauseMode.DRAIN)
    assert refused.value.reason == "VERSION_CONFLICT"


@pytest.mark.parametrize("older", [announced(4, incarnation=1), announced(9, incarnation=0)])
async def test_an_older_version_of_the_run_is_refused(updater: WeightUpdater, older: Announced) -> None:
    await updater.update(announced(5, incarnation=1), PauseMode.DRAIN)
    with pytest.raises(FailedPrecondition) as refused:
        await updater.update(older, PauseMode.DRAIN)
    assert refused.value.reason == "VERSION_NOT_NEWER"


async def test_a_new_run_may_begin_again_at_step_zero(updater: WeightUpdater, engine: RecordingEngine) -> None:
    await updater.update(announced(5), PauseMode.DRAIN)
    await updater.update(announced(0, run="s"), PauseMode.DRAIN)
    assert engine.version == Version("s", 0, 0)


async def test_a_version_without_a_run_is_refused(updater: WeightUpdater) -> None:
    with pytest.raises(FailedPrecondition):
        await updater.update(Announced(BASE, "x", "d"), PauseMode.DRAIN)


async def test_a_failed_update_leaves_the_old_version_and_the_next_one_works(
    updater: WeightUpdater, engine: RecordingEngine, store: PathStore
) -> None:
    await updater.update(announced(1), PauseMode.DRAIN)
    with pytest.raises(NotFound):
        await updater.update(announced(2, path="missing"), PauseMode.DRAIN)
    engine.fails = True
    with pytest.raises(RuntimeError):
        await updater.update(announced(2), PauseMode.DRAIN)
    assert engine.version == Version("r", 0, 1)
    assert store.kept == [Path("/store/r/0-1")], "what still serves stays"
    engine.fails = False
    await updater.update(announced(2), PauseMode.DRAIN)
    assert engine.switched[-1][2] == Path("/store/r/0-1")


async def test_an_update_ends_even_when_its_caller_goes_away(updater: WeightUpdater, engine: RecordingEngine) -> None:
    engine.may_finish.clear()
    calling = asyncio.create_task(updater.update(announced(1), PauseMode.DRAIN))
    await asyncio.sleep(0.01)
    calling.cancel()
    engine.may_finish.set()
    await updater.close()
    assert engine.version == Version("r", 0, 1)


async def test_updates_at_once_are_served_one_after_the_other(updater: WeightUpdater, engine: RecordingEngine) -> None:
    both = (updater.update(announced(step), PauseMode.DRAIN) for step in (1, 2))
    await asyncio.gather(*both)
    assert [version.step for _, version, _ in engine.switched] == [1, 2]


async def test_a_late_replica_loads_what_was_published_and_survives_a_manifest_that_does_not_hold(
    updater: WeightUpdater, engine: RecordingEngine, store: PathStore
) -> None:
    await updater.load_current()
    assert engine.version == BASE
    store.manifest = announced(3, path="missing")
    await updater.load_current()
    assert engine.version == BASE
    store.manifest = announced(4)
    await updater.load_current()
    assert engine.version == Version("r", 0, 4)
