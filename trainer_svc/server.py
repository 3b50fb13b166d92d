"""TrainerService on grpc.aio: maps messages to `Training` and back, and tails the events of a run."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc

from anamnesis.common.v1 import rollout_pb2
from anamnesis.trainer.v1 import trainer_pb2, trainer_pb2_grpc
from service_kit.errors import InvalidArgument
from service_kit.grpc.interruption import resume_with
from trainer_svc.records.messages import STAGES, event_message, run_message
from trainer_svc.records.runs import ENDED, RunRecord
from trainer_svc.service import Training

EVENT_POLL_SECONDS = 0.25
DEFAULT_PAGE = 50


class TrainerServicer(trainer_pb2_grpc.TrainerServiceServicer):
    def __init__(self, training: Training) -> None:
        self._training = training

    async def StartRun(
        self, request: trainer_pb2.StartRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trainer_pb2.StartRunResponse:
        spec = request.spec
        stage = next((name for name, value in STAGES.items() if value == spec.stage), "")
        record = await self._training.start(
            spec.preset, dict(spec.overrides), spec.seed, request.run_id, stage, spec.start_from
        )
        return trainer_pb2.StartRunResponse(run=self._message(record))

    async def GetRun(
        self, request: trainer_pb2.GetRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trainer_pb2.GetRunResponse:
        return trainer_pb2.GetRunResponse(run=self._message(self._training.get(request.run_id)))

    async def ListRuns(
        self, request: trainer_pb2.ListRunsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trainer_pb2.ListRunsResponse:
        size = request.page_size or DEFAULT_PAGE
        records = self._training.store.newest(size + 1, _parse_token(request.page_token))
        token = _token(records[size - 1]) if len(records) > size else ""
        runs = [self._message(record) for record in records[:size]]
        return trainer_pb2.ListRunsResponse(runs=runs, next_page_token=token)

    async def WatchRun(
        self, request: trainer_pb2.WatchRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[trainer_pb2.WatchRunResponse]:
        self._training.get(request.run_id)
        sequence = request.after_sequence
        while True:
            # The state is read before the events: an ended run has appended its last one by then.
            ended = self._training.get(request.run_id).state in ENDED
            events = self._training.store.events_after(request.run_id, sequence)
            for event in events:
                sequence = event.sequence
                yield trainer_pb2.WatchRunResponse(event=event_message(event))
                resume_with(f"after_sequence={sequence}")
            if ended and not events:
                return
            if not events:
                await asyncio.sleep(EVENT_POLL_SECONDS)

    async def PauseRun(
        self, request: trainer_pb2.PauseRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trainer_pb2.PauseRunResponse:
        return trainer_pb2.PauseRunResponse(run=self._message(self._training.pause(request.run_id)))

    async def ResumeRun(
        self, request: trainer_pb2.ResumeRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trainer_pb2.ResumeRunResponse:
        return trainer_pb2.ResumeRunResponse(run=self._message(await self._training.resume(request.run_id)))

    async def CancelRun(
        self, request: trainer_pb2.CancelRunRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trainer_pb2.CancelRunResponse:
        return trainer_pb2.CancelRunResponse(run=self._message(self._training.cancel(request.run_id)))

    async def ExportModel(
        self, request: trainer_pb2.ExportModelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trainer_pb2.ExportModelResponse:
        path, (run_id, incarnation, step) = await self._training.export(request.run_id, request.name)
        version = rollout_pb2.PolicyVersion(run_id=run_id, incarnation=incarnation, step=step)
        return trainer_pb2.ExportModelResponse(path=str(path), version=version)

    def _message(self, record: RunRecord) -> trainer_pb2.Run:
        return run_message(record, self._training.ledger(record.run_id))


def _token(record: RunRecord) -> str:
    return base64.urlsafe_b64encode(json.dumps([record.created_at, record.run_id]).encode()).decode()


def _parse_token(token: str) -> tuple[float, str] | None:
    if not token:
        return None
    try:
        created_at, run_id = json.loads(base64.urlsafe_b64decode(token.encode()))
        return float(created_at), str(run_id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidArgument("page_token", "not a token of this service") from error
