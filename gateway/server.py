"""The public gRPC API. It maps messages and holds no logic: each method asks one service and hands its answer on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

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
from gateway.backends import RUBRIC, SIMULATOR, TRAINER, Backends, answer, answers
from gateway.doctor import consultation_request, raise_if_aborted, sampling_or_default, with_doctor_prompt
from service_kit.errors import STREAM_INTERRUPTED, InvalidArgument, ServiceError
from service_kit.grpc.interruption import resume_with

Context = grpc.aio.ServicerContext[Any, Any]


class TrainingService(training_pb2_grpc.TrainingServiceServicer):
    def __init__(self, backends: Backends) -> None:
        self._trainer = backends.trainer
        self._limit = backends.settings.call_seconds
        self._watch_limit = backends.settings.watch_seconds

    async def StartRun(self, request: training_pb2.StartRunRequest, context: Context) -> training_pb2.StartRunResponse:
        asked = trainer_pb2.StartRunRequest(spec=request.spec, run_id=request.run_id)
        response = await answer(self._trainer.StartRun, asked, self._limit, TRAINER)
        return training_pb2.StartRunResponse(run=response.run)

    async def GetRun(self, request: training_pb2.GetRunRequest, context: Context) -> training_pb2.GetRunResponse:
        asked = trainer_pb2.GetRunRequest(run_id=request.run_id)
        response = await answer(self._trainer.GetRun, asked, self._limit, TRAINER)
        return training_pb2.GetRunResponse(run=response.run)

    async def ListRuns(self, request: training_pb2.ListRunsRequest, context: Context) -> training_pb2.ListRunsResponse:
        asked = trainer_pb2.ListRunsRequest(page_size=request.page_size, page_token=request.page_token)
        response = await answer(self._trainer.ListRuns, asked, self._limit, TRAINER)
        return training_pb2.ListRunsResponse(runs=response.runs, next_page_token=response.next_page_token)

    async def WatchRun(
        self, request: training_pb2.WatchRunRequest, context: Context
    ) -> AsyncIterator[training_pb2.WatchRunResponse]:
        asked = trainer_pb2.WatchRunRequest(run_id=request.run_id, after_sequence=request.after_sequence)
        resume = f"after_sequence={request.after_sequence}"
        async with aclosing(answers(self._trainer.WatchRun, asked, self._watch_limit, TRAINER)) as responses:
            try:
                async for response in responses:
                    yield training_pb2.WatchRunResponse(event=response.event)
                    resume = f"after_sequence={response.event.sequence}"
                    resume_with(resume)
            except ServiceError as error:
                if error.reason == STREAM_INTERRUPTED:
                    error.metadata["resume"] = resume
                raise

    async def PauseRun(self, request: training_pb2.PauseRunRequest, context: Context) -> training_pb2.PauseRunResponse:
        asked = trainer_pb2.PauseRunRequest(run_id=request.run_id)
        response = await answer(self._trainer.PauseRun, asked, self._limit, TRAINER)
        return training_pb2.PauseRunResponse(run=response.run)

    async def ResumeRun(
        self, request: training_pb2.ResumeRunRequest, context: Context
    ) -> training_pb2.ResumeRunResponse:
        asked = trainer_pb2.ResumeRunRequest(run_id=request.run_id)
        response = await answer(self._trainer.ResumeRun, asked, self._limit, TRAINER)
        return training_pb2.ResumeRunResponse(run=response.run)

    async def CancelRun(
        self, request: training_pb2.CancelRunRequest, context: Context
    ) -> training_pb2.CancelRunResponse:
        asked = trainer_pb2.CancelRunRequest(run_id=request.run_id)
        response = await answer(self._trainer.CancelRun, asked, self._limit, TRAINER)
        return training_pb2.CancelRunResponse(run=response.run)

    async def ExportModel(
        self, request: training_pb2.ExportModelRequest, context: Context
    ) -> training_pb2.ExportModelResponse:
        asked = trainer_pb2.ExportModelRequest(run_id=request.run_id, name=request.name)
        response = await answer(self._trainer.ExportModel, asked, self._limit, TRAINER)
        return training_pb2.ExportModelResponse(path=response.path)


class ConsultationService(consultation_pb2_grpc.ConsultationServiceServicer):
    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._simulator = backends.simulator
        self._settings = backends.settings

    async def AskDoctor(
        self, request: consultation_pb2.AskDoctorRequest, context: Context
    ) -> AsyncIterator[consultation_pb2.AskDoctorResponse]:
        if not request.dialogue.messages:
            raise InvalidArgument("dialogue.messages", "the doctor needs at least one message to answer")
        asked = consultation_request(
            with_doctor_prompt(request.dialogue.messages),
            sampling_or_default(
                request.sampling if request.HasField("sampling") else None, self._settings.default_max_tokens
            ),
            request.seed if request.HasField("seed") else None,
        )
        async with aclosing(self._backends.generate(asked)) as responses:
            async for response in responses:
                if response.HasField("delta"):
                    yield consultation_pb2.AskDoctorResponse(
                        text=response.delta.text, policy_version=response.delta.policy_version
                    )
                elif response.HasField("finished"):
                    raise_if_aborted(response.finished)
                    runs = response.finished.version_runs
                    yield consultation_pb2.AskDoctorResponse(
                        finished=True, policy_version=runs[-1].policy_version if runs else None
                    )

    async def ListCases(
        self, request: consultation_pb2.ListCasesRequest, context: Context
    ) -> consultation_pb2.ListCasesResponse:
        asked = simulator_pb2.ListCasesRequest(
            page_size=request.page_size,
            page_token=request.page_token,
            split=request.split,
            specialty=request.specialty,
        )
        response = await answer(self._simulator.ListCases, asked, self._settings.call_seconds, SIMULATOR)
        return consultation_pb2.ListCasesResponse(cases=response.cases, next_page_token=response.next_page_token)

    async def StartConsultation(
        self, request: consultation_pb2.StartConsultationRequest, context: Context
    ) -> consultation_pb2.StartConsultationResponse:
        asked = simulator_pb2.StartConsultationRequest(
            case=request.case,
            persona=request.persona if request.HasField("persona") else None,
            seed=request.seed,
        )
        response = await answer(self._simulator.StartConsultation, asked, self._settings.respond_seconds, SIMULATOR)
        # What the patient holds back stays behind the gateway: `disclosed` is not the user's.
        return consultation_pb2.StartConsultationResponse(
            opening=response.opening, persona=response.persona, case_id=response.case_id
        )

    async def Respond(
        self, request: consultation_pb2.RespondRequest, context: Context
    ) -> consultation_pb2.RespondResponse:
        asked = simulator_pb2.RespondRequest(
            case=request.case,
            persona=request.persona,
            seed=request.seed,
            dialogue=request.dialogue,
            max_doctor_turns=request.max_doctor_turns,
        )
        response = await answer(self._simulator.Respond, asked, self._settings.respond_seconds, SIMULATOR)
        return consultation_pb2.RespondResponse(reply=response.reply, ending=response.ending)


class EvaluationService(evaluation_pb2_grpc.EvaluationServiceServicer):
    def __init__(self, backends: Backends) -> None:
        self._evaluation = backends.evaluation
        self._limit = backends.settings.call_seconds
        self._watch_limit = backends.settings.watch_seconds

    async def StartEvaluation(
        self, request: evaluation_pb2.StartEvaluationRequest, context: Context
    ) -> evaluation_pb2.StartEvaluationResponse:
        asked = rubric_evaluation_pb2.StartEvaluationRequest(spec=request.spec)
        response = await answer(self._evaluation.StartEvaluation, asked, self._limit, RUBRIC)
        return evaluation_pb2.StartEvaluationResponse(evaluation=response.evaluation)

    async def GetEvaluation(
        self, request: evaluation_pb2.GetEvaluationRequest, context: Context
    ) -> evaluation_pb2.GetEvaluationResponse:
        asked = rubric_evaluation_pb2.GetEvaluationRequest(evaluation_id=request.evaluation_id)
        response = await answer(self._evaluation.GetEvaluation, asked, self._limit, RUBRIC)
        return evaluation_pb2.GetEvaluationResponse(evaluation=response.evaluation)

    async def WatchEvaluation(
        self, request: evaluation_pb2.WatchEvaluationRequest, context: Context
    ) -> AsyncIterator[evaluation_pb2.WatchEvaluationResponse]:
        asked = rubric_evaluation_pb2.WatchEvaluationRequest(evaluation_id=request.evaluation_id)
        async with aclosing(answers(self._evaluation.WatchEvaluation, asked, self._watch_limit, RUBRIC)) as responses:
            async for response in responses:
                yield evaluation_pb2.WatchEvaluationResponse(evaluation=response.evaluation)


def add_services(server: grpc.aio.Server, backends: Backends) -> list[str]:
    """The full names of the services that now stand on the server."""
    training_pb2_grpc.add_TrainingServiceServicer_to_server(TrainingService(backends), server)
    consultation_pb2_grpc.add_ConsultationServiceServicer_to_server(ConsultationService(backends), server)
    evaluation_pb2_grpc.add_EvaluationServiceServicer_to_server(EvaluationService(backends), server)
    files = (training_pb2, consultation_pb2, evaluation_pb2)
    return [service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values()]
