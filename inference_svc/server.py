"""Maps the contract to plain Python and back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any

import grpc

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from anamnesis.inference.v1 import inference_pb2_grpc
from inference_svc.embed import Embedder
from inference_svc.engine.requests import Finish, PauseMode, Rank, Sampling, Step
from inference_svc.service import PromptParts, TextService, engine_seed
from inference_svc.settings import Deployment, InferenceSettings, Speculation
from inference_svc.telemetry.measures import embedding
from inference_svc.tokens import ChatMessage, Role
from inference_svc.weights.store import Announced, Format
from inference_svc.weights.updater import WeightUpdater
from inference_svc.weights.versions import Run, Version
from service_kit.errors import FailedPrecondition, ServiceError, Unavailable

SERVICE = pb.DESCRIPTOR.services_by_name["InferenceService"].full_name

# A caller that names no priority is a rollout.
RANKS: dict[int, Rank] = {
    pb.PRIORITY_UNSPECIFIED: Rank.ROLLOUT,
    pb.PRIORITY_CONSULTATION: Rank.CONSULTATION,
    pb.PRIORITY_JUDGE: Rank.JUDGE,
    pb.PRIORITY_ROLLOUT: Rank.ROLLOUT,
}
ROLES: dict[int, Role] = {
    dialogue_pb2.ROLE_SYSTEM: "system",
    dialogue_pb2.ROLE_USER: "user",
    dialogue_pb2.ROLE_ASSISTANT: "assistant",
}
FINISHES: dict[Finish, pb.FinishReason.ValueType] = {
    Finish.STOP: pb.FINISH_REASON_STOP,
    Finish.LENGTH: pb.FINISH_REASON_LENGTH,
    Finish.ABORTED: pb.FINISH_REASON_ABORTED,
}
MODES: dict[int, PauseMode] = {
    pb.IN_FLIGHT_DRAIN: PauseMode.DRAIN,
    pb.IN_FLIGHT_ABORT: PauseMode.ABORT,
    pb.IN_FLIGHT_CONTINUE: PauseMode.CONTINUE,
}
FORMATS: dict[int, Format] = {
    pb.WEIGHT_FORMAT_SAFETENSORS_FULL: Format.FULL,
    pb.WEIGHT_FORMAT_SAFETENSORS_LORA: Format.LORA,
}
Context = grpc.aio.ServicerContext[Any, Any]


class InferenceServicer(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, settings: InferenceSettings) -> None:
        self._settings = settings
        # Set by prepare(); no call is let in before.
        self.text: TextService
        # The frozen deployment's.
        self.embedder: Embedder | None = None
        # The policy deployment's.
        self.updater: WeightUpdater | None = None

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncGenerator[pb.GenerateResponse, None]:
        prompt = self._prompt(request)
        yield pb.GenerateResponse(started=pb.GenerateResponse.Started(prompt_token_ids=prompt, model=self.text.model))
        generated = 0
        async with aclosing(self.text.stream(prompt, sampling(request), RANKS[request.priority])) as steps:
            async for step in steps:
                generated += len(step.token_ids)
                if step.token_ids or step.text:
                    delta = pb.GenerateResponse.Delta(
                        text=step.text,
                        token_ids=step.token_ids,
                        logprobs=step.logprobs,
                        policy_version=version_message(self.text.engine.version),
                    )
                    yield pb.GenerateResponse(delta=delta)
                if step.finish:
                    finished = pb.GenerateResponse.Finished(
                        finish_reason=FINISHES[step.finish],
                        version_runs=run_messages(step.runs),
                        prompt_tokens=len(prompt),
                        completion_tokens=generated,
                        cached_prompt_tokens=step.cached_prompt_tokens,
                    )
                    yield pb.GenerateResponse(finished=finished)

    async def GenerateBatch(self, request: pb.GenerateBatchRequest, context: Context) -> pb.GenerateBatchResponse:
        rank = min(RANKS[item.priority] for item in request.requests)
        with self.text.admission.admitted(len(request.requests), rank):
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._complete(item, i)) for i, item in enumerate(request.requests)]
        self._check_alive()
        return pb.GenerateBatchResponse(completions=[task.result() for task in running])

    async def _complete(self, request: pb.GenerateRequest, index: int) -> pb.Completion:
        try:
            prompt = self._prompt(request, f"requests[{index}].")
            whole = await self.text.complete(prompt, sampling(request), RANKS[request.priority])
        except ServiceError as error:
            return pb.Completion(error_reason=error.reason, error_message=error.message)
        return completion_message(prompt, whole)

    async def Choose(self, request: pb.ChooseRequest, context: Context) -> pb.ChooseResponse:
        self.text.check_model(request.model)
        rank = RANKS[request.priority]
        with self.text.admission.admitted(len(request.items), rank):
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._choose(item, i, rank)) for i, item in enumerate(request.items)]
        self._check_alive()
        return pb.ChooseResponse(results=[task.result() for task in running])

    async def _choose(self, item: pb.ChooseItem, index: int, rank: Rank) -> pb.ChooseResult:
        try:
            scores = await self.text.choose(parts(item.prompt), item.choices, rank, f"items[{index}]")
        except ServiceError as error:
            return pb.ChooseResult(error_reason=error.reason, error_message=error.message)
        messages = [
            pb.ChoiceScore(choice=choice, probability=s.probability, logprob=s.logprob, token_count=s.token_count)
            for choice, s in zip(item.choices, scores, strict=True)
        ]
        best = max(range(len(scores)), key=lambda i: scores[i].logprob)
        return pb.ChooseResult(scores=messages, best=best)

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        if self.embedder is None:
            raise FailedPrecondition("NO_EMBEDDINGS", "this deployment serves no embeddings; the frozen one does")
        with embedding(self.embedder.model, len(request.texts)):
            vectors = await self.embedder.embed(list(request.texts))
        return pb.EmbedResponse(
            embeddings=[pb.Embedding(values=vector) for vector in vectors], model=self.embedder.model
        )

    async def UpdateWeights(self, request: pb.UpdateWeightsRequest, context: Context) -> pb.UpdateWeightsResponse:
        if self.updater is None:
            raise FailedPrecondition("FROZEN_DEPLOYMENT", "this deployment's weights never change")
        version = Version(request.version.run_id, request.version.incarnation, request.version.step)
        announced = Announced(version, request.path, request.sha256, FORMATS[request.format])
        update = await self.updater.update(announced, MODES[request.in_flight])
        response = pb.UpdateWeightsResponse(
            version=version_message(version),
            drained=update.in_flight if update.mode is PauseMode.DRAIN else 0,
            aborted=update.in_flight if update.mode is PauseMode.ABORT else 0,
            continued=update.in_flight if update.mode is PauseMode.CONTINUE else 0,
        )
        response.load_duration.FromTimedelta(timedelta(seconds=update.seconds))
        return response

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        model = pb.Model(
            model_id=self.text.model,
            policy_version=version_message(self.text.engine.version),
            max_context_tokens=self._settings.max_model_len,
            dtype=self.text.engine.dtype,
            updatable=self._settings.deployment is Deployment.POLICY,
            deployment=self._settings.deployment,
        )
        return pb.ListModelsResponse(models=[model])

    async def GetStats(self, request: pb.GetStatsRequest, context: Context) -> pb.GetStatsResponse:
        measures, engine = self.text.measures, self.text.engine
        return pb.GetStatsResponse(
            policy_version=version_message(engine.version),
            running=engine.gauges.running,
            waiting=engine.gauges.waiting,
            kv_cache_usage=engine.gauges.kv_cache_usage,
            prompt_tokens=measures.prompt_tokens,
            generated_tokens=measures.generated_tokens,
            cached_prompt_tokens=engine.gauges.prefix_hits,
            requests_finished=measures.finished,
            requests_aborted=measures.aborted,
            requests_failed=measures.failed,
            weight_updates=measures.updates,
            mean_update_seconds=measures.update_seconds / measures.updates if measures.updates else 0.0,
            speculation=self._speculation(),
        )

    def _speculation(self) -> pb.Speculation | None:
        if self._settings.speculation is Speculation.NONE:
            return None
        gauges = self.text.engine.gauges
        state = gauges.speculation
        return pb.Speculation(
            method=self._settings.speculation,
            rounds=gauges.rounds,
            drafted_tokens=gauges.drafted,
            accepted_tokens=gauges.accepted,
            active=state is not None and state.active,
            break_even=state.break_even if state else None,
            round_cost=state.cost if state else None,
            turned_off=state.turned_off if state else 0,
        )

    def _prompt(self, request: pb.GenerateRequest, path: str = "") -> list[int]:
        self.text.check_model(request.model)
        return self.text.prompt(parts(request.prompt), f"{path}prompt")

    def _check_alive(self) -> None:
        """A dead engine is no single prompt's outcome."""
        if self.text.engine.dead:
            raise Unavailable("engine", "the engine has died")


def parts(prompt: pb.Prompt) -> PromptParts:
    messages = [ChatMessage(ROLES[message.role], message.content) for message in prompt.new_messages]
    return PromptParts(list(prompt.token_ids_so_far), messages, prompt.answer_prefix)


def sampling(request: pb.GenerateRequest) -> Sampling:
    wanted, constraint = request.sampling, request.constraint
    kind = constraint.WhichOneof("constraint")
    return Sampling(
        max_tokens=wanted.max_tokens,
        temperature=wanted.temperature,
        top_p=wanted.top_p or 1.0,
        top_k=wanted.top_k,
        stop=tuple(wanted.stop),
        seed=engine_seed(request.seed) if request.HasField("seed") else None,
        regex=constraint.regex if kind == "regex" else None,
        json_schema=constraint.json_schema if kind == "json_schema" else None,
    )


def completion_message(prompt: Sequence[int], whole: Step) -> pb.Completion:
    return pb.Completion(
        text=whole.text,
        prompt_token_ids=prompt,
        token_ids=whole.token_ids,
        logprobs=whole.logprobs,
        version_runs=run_messages(whole.runs),
        finish_reason=FINISHES[whole.finish or Finish.ABORTED],
        cached_prompt_tokens=whole.cached_prompt_tokens,
    )


def version_message(version: Version) -> rollout_pb2.PolicyVersion:
    return rollout_pb2.PolicyVersion(run_id=version.run_id, incarnation=version.incarnation, step=version.step)


def run_messages(runs: Sequence[Run]) -> list[rollout_pb2.VersionRun]:
    return [rollout_pb2.VersionRun(policy_version=version_message(r.version), token_count=r.tokens) for r in runs]
