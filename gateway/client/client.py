"""The public client: the gateway's gRPC API from Python.

    async with AnamnesisClient("localhost:7100", api_key="anm_…") as client:
        run = await client.start_run("demo", {"schedule.steps": "4"})
        async for event in client.watch_run(run.run_id):
            print(event.sequence, event.WhichOneof("event"))

Every call has a deadline. Whatever goes wrong is a service_kit.errors.ServiceError: a code, a stable reason, a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from grpc import aio

from anamnesis.common.v1 import dialogue_pb2, patient_pb2, rollout_pb2
from anamnesis.gateway.v1 import (
    consultation_pb2,
    consultation_pb2_grpc,
    evaluation_pb2,
    evaluation_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
)
from anamnesis.rubric.v1 import evaluation_pb2 as rubric_evaluation_pb2
from anamnesis.simulator.v1 import simulator_pb2
from anamnesis.trainer.v1 import trainer_pb2
from gateway.client.retries import Retries
from service_kit.errors import Code, ServiceError
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.tls import Trust

Request = TypeVar("Request")
Response = TypeVar("Response")

DEFAULT_TARGET = "localhost:7100"
_GATEWAY = "gateway"
_SERVICE = "anamnesis.gateway.v1.TrainingService"
# A watch is taken up again after these; any other error is the caller's to see.
_BROKEN_STREAM = {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.ABORTED}
_ENDED = {
    trainer_pb2.RUN_STATE_SUCCEEDED,
    trainer_pb2.RUN_STATE_FAILED,
    trainer_pb2.RUN_STATE_CANCELLED,
    trainer_pb2.RUN_STATE_INTERRUPTED,
}


def has_ended(run: trainer_pb2.Run) -> bool:
    """Nothing more happens in this run by itself; one that was interrupted goes on only when it is resumed."""
    return run.state in _ENDED


class AnamnesisClient:
    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        api_key: str | None = None,
        *,
        ca: Path | None = None,
        call_seconds: float = 30.0,
        answer_seconds: float = 300.0,
        watch_seconds: float = 3600.0,
        patience_seconds: float = 180.0,
        retry_seconds: float = 2.0,
    ) -> None:
        """`ca`: the authority that has signed the gateway's certificate; without it the client speaks plaintext.
        `patience_seconds`: for how long a watch keeps coming back to a service that does not answer.
        `retry_seconds`: for how long another call does, where it may be sent again."""
        self.retries = Retries(retry_seconds)
        self._call_seconds = call_seconds
        self._answer_seconds = answer_seconds
        self._watch_seconds = watch_seconds
        self._patience_seconds = patience_seconds
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._channel = open_channel(target, tls=None if ca is None else Trust(ca=ca), health_of=_SERVICE)
        self._training = training_pb2_grpc.TrainingServiceStub(self._channel)
        self._consultation = consultation_pb2_grpc.ConsultationServiceStub(self._channel)
        self._evaluation = evaluation_pb2_grpc.EvaluationServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close(None)

    # Training

    async def start_run(
        self,
        preset: str,
        overrides: Mapping[str, str] | None = None,
        *,
        seed: int = 0,
        run_id: str = "",
        stage: trainer_pb2.Stage.ValueType = trainer_pb2.STAGE_UNSPECIFIED,
        start_from: str = "",
    ) -> trainer_pb2.Run:
        """`overrides` maps dotted settings to TOML values. The same run_id again is the same run.

        `start_from` is a run that succeeded; without one the trainer's own model is the beginning.
        """
        spec = trainer_pb2.RunSpec(preset=preset, overrides=overrides, seed=seed, stage=stage, start_from=start_from)
        request = training_pb2.StartRunRequest(spec=spec, run_id=run_id)
        return (await self._call(self._training.StartRun, request, self._call_seconds, reads=False)).run

    async def get_run(self, run_id: str) -> trainer_pb2.Run:
        request = training_pb2.GetRunRequest(run_id=run_id)
        return (await self._call(self._training.GetRun, request, self._call_seconds)).run

    async def list_runs(self, page_size: int = 50, page_token: str = "") -> tuple[list[trainer_pb2.Run], str]:
        """A page of runs and the next page's token, empty after the last."""
        request = training_pb2.ListRunsRequest(page_size=page_size, page_token=page_token)
        response = await self._call(self._training.ListRuns, request, self._call_seconds)
        return list(response.runs), response.next_page_token

    async def pause_run(self, run_id: str) -> trainer_pb2.Run:
        request = training_pb2.PauseRunRequest(run_id=run_id)
        return (await self._call(self._training.PauseRun, request, self._call_seconds, reads=False)).run

    async def resume_run(self, run_id: str) -> trainer_pb2.Run:
        request = training_pb2.ResumeRunRequest(run_id=run_id)
        return (await self._call(self._training.ResumeRun, request, self._call_seconds, reads=False)).run

    async def cancel_run(self, run_id: str) -> trainer_pb2.Run:
        request = training_pb2.CancelRunRequest(run_id=run_id)
        return (await self._call(self._training.CancelRun, request, self._call_seconds, reads=False)).run

    async def export_model(self, run_id: str, name: str) -> str:
        """Where the model directory is, on the trainer's volume."""
        request = training_pb2.ExportModelRequest(run_id=run_id, name=name)
        return (await self._call(self._training.ExportModel, request, self._answer_seconds, reads=False)).path

    async def watch_run(self, run_id: str, after_sequence: int = 0) -> AsyncGenerator[trainer_pb2.RunEvent, None]:
        """Every event once and in order until the run ends. A stream that breaks is taken up where it broke."""
        loop = asyncio.get_running_loop()
        silent_since: float | None = None
        pause = 0.2
        while True:
            try:
                async with aclosing(self._events(run_id, after_sequence)) as events:
                    async for event in events:
                        silent_since, pause = None, 0.2
                        if event.sequence > after_sequence:
                            after_sequence = event.sequence
                            yield event
                if has_ended(await self.get_run(run_id)):
                    return
            except ServiceError as error:
                silent_since = silent_since or loop.time()
                if error.code not in _BROKEN_STREAM or loop.time() - silent_since > self._patience_seconds:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    async def _events(self, run_id: str, after_sequence: int) -> AsyncGenerator[trainer_pb2.RunEvent, None]:
        request = training_pb2.WatchRunRequest(run_id=run_id, after_sequence=after_sequence)
        async with aclosing(self._stream(self._training.WatchRun, request, self._watch_seconds)) as responses:
            async for response in responses:
                yield response.event

    # Consultations

    async def ask_doctor(
        self,
        messages: Sequence[dialogue_pb2.Message],
        *,
        sampling: rollout_pb2.Sampling | None = None,
        seed: int | None = None,
    ) -> AsyncGenerator[str, None]:
        """The doctor's next turn as it is written; the patient is the USER, the doctor the ASSISTANT."""
        request = consultation_pb2.AskDoctorRequest(
            dialogue=dialogue_pb2.Dialogue(messages=messages), sampling=sampling, seed=seed
        )
        async with aclosing(self._stream(self._consultation.AskDoctor, request, self._answer_seconds)) as responses:
            async for response in responses:
                if response.text:
                    yield response.text

    async def list_cases(
        self, split: patient_pb2.CaseSplit.ValueType = patient_pb2.CASE_SPLIT_UNSPECIFIED
    ) -> AsyncIterator[simulator_pb2.CaseSummary]:
        page_token = ""
        while True:
            request = consultation_pb2.ListCasesRequest(page_size=100, page_token=page_token, split=split)
            response = await self._call(self._consultation.ListCases, request, self._call_seconds)
            for case in response.cases:
                yield case
            page_token = response.next_page_token
            if not page_token:
                return

    async def start_consultation(
        self, case_id: str, *, persona: patient_pb2.Persona | None = None, seed: int = 0
    ) -> consultation_pb2.StartConsultationResponse:
        request = consultation_pb2.StartConsultationRequest(
            case=patient_pb2.CaseReference(case_id=case_id), persona=persona, seed=seed
        )
        return await self._call(self._consultation.StartConsultation, request, self._answer_seconds)

    async def respond(
        self,
        case_id: str,
        persona: patient_pb2.Persona,
        messages: Sequence[dialogue_pb2.Message],
        *,
        seed: int = 0,
        max_doctor_turns: int = 0,
    ) -> consultation_pb2.RespondResponse:
        """The patient's answer to the doctor's turn with which the messages end."""
        request = consultation_pb2.RespondRequest(
            case=patient_pb2.CaseReference(case_id=case_id),
            persona=persona,
            seed=seed,
            dialogue=dialogue_pb2.Dialogue(messages=messages),
            max_doctor_turns=max_doctor_turns,
        )
        return await self._call(self._consultation.Respond, request, self._answer_seconds)

    # Evaluations

    async def start_evaluation(self, spec: rubric_evaluation_pb2.EvaluationSpec) -> rubric_evaluation_pb2.Evaluation:
        request = evaluation_pb2.StartEvaluationRequest(spec=spec)
        return (await self._call(self._evaluation.StartEvaluation, request, self._call_seconds, reads=False)).evaluation

    async def get_evaluation(self, evaluation_id: str) -> rubric_evaluation_pb2.Evaluation:
        request = evaluation_pb2.GetEvaluationRequest(evaluation_id=evaluation_id)
        return (await self._call(self._evaluation.GetEvaluation, request, self._call_seconds)).evaluation

    async def watch_evaluation(self, evaluation_id: str) -> AsyncGenerator[rubric_evaluation_pb2.Evaluation, None]:
        """As it stands now and after each change, until it has ended."""
        request = evaluation_pb2.WatchEvaluationRequest(evaluation_id=evaluation_id)
        async with aclosing(self._stream(self._evaluation.WatchEvaluation, request, self._watch_seconds)) as responses:
            async for response in responses:
                yield response.evaluation

    async def _call(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        limit: float,
        *,
        reads: bool = True,
    ) -> Response:
        async def once() -> Response:
            try:
                return await method(request, timeout=call_deadline(limit), metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                raise service_error(error, _GATEWAY) from error

        return await self.retries.call(once, reads=reads)

    async def _stream(
        self, method: aio.UnaryStreamMultiCallable[Request, Any], request: Request, limit: float
    ) -> AsyncGenerator[Any, None]:
        """Asked for again until its first response; one that is cut later is STREAM_INTERRUPTED."""
        call, first = await self.retries.call(lambda: self._begin(method, request, limit), reads=True)
        try:
            if first is not aio.EOF:  # type: ignore[attr-defined]  # which the stubs do not know
                yield first
                async for response in call:
                    yield response
        except grpc.aio.AioRpcError as error:
            raise service_error(error, _GATEWAY) from error
        finally:
            call.cancel()

    async def _begin(
        self, method: aio.UnaryStreamMultiCallable[Request, Any], request: Request, limit: float
    ) -> tuple[Any, Any]:
        """The call and its first response, EOF where it has none."""
        call = method(request, timeout=call_deadline(limit), metadata=self._metadata)
        try:
            return call, await call.read()
        except grpc.aio.AioRpcError as error:
            raise service_error(error, _GATEWAY) from error
        except BaseException:
            call.cancel()
            raise
