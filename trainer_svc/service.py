"""What can be asked of training runs, in plain Python: start, find, pause, resume, cancel, export."""

import asyncio
import sqlite3
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from service_kit.errors import FailedPrecondition, InvalidArgument, NotFound
from trainer_svc.config import BadOverride, RunConfig, UnknownPreset, preset_names, resolve
from trainer_svc.publication.export import export_model
from trainer_svc.records.ledger import Account, Ledger
from trainer_svc.records.runs import ACTIVE, RESUMABLE, ActiveRunExists, Desired, RunRecord, RunStore, State
from trainer_svc.settings import TrainerSettings
from trainer_svc.supervisor import Supervisor

CANCELLED_REASON = "run_cancelled"


class Training:
    def __init__(self, settings: TrainerSettings, connection: sqlite3.Connection, supervisor: Supervisor) -> None:
        self._settings = settings
        self._db = connection
        self._supervisor = supervisor
        self.store = RunStore(connection)
        self._starting = asyncio.Lock()

    async def start(
        self,
        preset: str,
        overrides: Mapping[str, str],
        seed: int,
        run_id: str,
        stage: str = "",
        start_from: str = "",
    ) -> RunRecord:
        """A retried call with the same id is the same run; another spec under that id is refused."""
        try:
            config = resolve(preset, overrides, stage, start_from)
        except UnknownPreset:
            raise NotFound("preset", f"{preset} (there are {', '.join(preset_names(stage))})") from None
        except BadOverride as error:
            raise InvalidArgument(f"spec.overrides[{error.name}]", error.description) from error
        if start_from and self.get(start_from).state != State.SUCCEEDED:
            raise FailedPrecondition("RUN_NOT_FINISHED", f"run {start_from} has no model to start from")
        name = f"{stage}-{preset}" if stage else preset
        run_id = run_id or f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:4]}"
        async with self._starting:
            known = self.store.find(run_id)
            if known is not None:
                same = (known.preset, known.overrides, known.seed) == (preset, dict(overrides), seed)
                if not same or RunConfig.model_validate_json(known.config) != config:
                    raise FailedPrecondition("RUN_ID_TAKEN", f"run {run_id} exists with another specification")
                return known
            try:
                self.store.create(run_id, preset, overrides, seed, config.model_dump_json(), config.schedule.steps)
                return await self._supervisor.launch(run_id)
            except ActiveRunExists as error:
                raise _active(error) from error

    def get(self, run_id: str) -> RunRecord:
        record = self.store.find(run_id)
        if record is None:
            raise NotFound("run", run_id)
        return record

    def ledger(self, run_id: str) -> list[Account]:
        return Ledger(self._db, run_id).accounts()

    def pause(self, run_id: str) -> RunRecord:
        record = self.get(run_id)
        if record.state in ACTIVE:
            self.store.desire(run_id, Desired.PAUSE)
        elif record.state != State.PAUSED:
            raise FailedPrecondition("RUN_NOT_ACTIVE", f"run {run_id} is {record.state}: nothing to pause")
        return self.get(run_id)

    async def resume(self, run_id: str) -> RunRecord:
        record = self.get(run_id)
        async with self._starting:
            record = self.get(run_id)
            if record.state in ACTIVE:
                self.store.desire(run_id, Desired.RUN)
                return self.get(run_id)
            if record.state not in RESUMABLE:
                raise FailedPrecondition("RUN_NOT_RESUMABLE", f"run {run_id} is {record.state}")
            try:
                return await self._supervisor.launch(run_id)
            except ActiveRunExists as error:
                raise _active(error) from error

    def cancel(self, run_id: str) -> RunRecord:
        record = self.get(run_id)
        if record.state in ACTIVE:
            self.store.desire(run_id, Desired.CANCEL)
        elif record.state in RESUMABLE:
            Ledger(self._db, run_id).drop_outstanding(CANCELLED_REASON, checkpoint=0)
            self.store.change_state(run_id, State.CANCELLED, only_from=RESUMABLE)
        elif record.state != State.CANCELLED:
            raise FailedPrecondition("RUN_NOT_ACTIVE", f"run {run_id} is {record.state}")
        return self.get(run_id)

    async def export(self, run_id: str, name: str) -> tuple[Path, tuple[str, int, int]]:
        """The newest published weights as a Hugging Face directory, with the adapter where there is one."""
        record = self.get(run_id)
        if not record.checkpoint_path:
            raise FailedPrecondition("NO_CHECKPOINT", f"run {run_id} has no checkpoint yet")
        return await asyncio.to_thread(export_model, self._settings, record, name)


def _active(error: ActiveRunExists) -> FailedPrecondition:
    return FailedPrecondition(
        "RUN_ACTIVE", f"run {error.run_id} is active: one run at a time trains a policy deployment; cancel or await it"
    )
