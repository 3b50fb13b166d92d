"""What the inference server answers, over gRPC, whatever its engine does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from anamnesis.common.v1 import rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from inference_svc.engine.requests import Rank
from inference_svc.settings import Deployment, InferenceSettings
from service_kit.grpc import server_telemetry
from tests.contract.inference_svc.scripted_engine import Served, generate, prompt, served

SECONDS = 10.0
LIMIT = 10


def settings(state_dir: Path, deployment: Deployment = Deployment.POLICY) -> InferenceSettings:
    (state_dir / "weights").mkdir(exist_ok=True)
    return InferenceSettings(
        grpc_port=0, state_dir=state_dir, deployment=deployment, max_unfinished=LIMIT, max_model_len=256
    )


@pytest.fixture
async def policy(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(settings(tmp_path)) as running:
        yield running


@pytest.fixture
async def frozen(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(settings(tmp_path, Deployment.FROZEN)) as running:
        yield running


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, list[str], float | None]:
    """Code, reason, violated fields, seconds to wait."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    assert status is not None
    reason, fields, wait = "", [], None
    for detail in status.details:
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(request):
            fields = [violation.field for violation in request.field_violations]
        elif detail.Unpack(retry):
            wait = retry.retry_delay.ToTimedelta().total_seconds()
    return refused.value.code(), reason, fields, wait


async def test_a_stream_is_the_prompt_then_tokens_then_the_account(policy: Served) -> None:
    events = [event async for event in policy.stub.Generate(generate(tokens=3), timeout=SECONDS)]
    assert [event.WhichOneof("event") for event in events] == ["started", "delta", "delta", "delta", "finished"]
    assert events[0].started.model == "smollm2-135m-instruct"
    assert list(events[0].started.prompt_token_ids) == policy.engine.asked[0][0]
    assert [list(event.delta.token_ids) for event in events[1:4]] == [[100], [101], [102]]
    finished = events[-1].finished
    assert finished.finish_reason == pb.FINISH_REASON_LENGTH
    assert (finished.prompt_tokens, finished.completion_tokens) == (len(policy.engine.asked[0][0]), 3)
    assert [run.token_count for run in finished.version_runs] == [3]


async def test_what_is_asked_for_reaches_the_engine(policy: Served) -> None:
    request = generate(seed=2**64 - 1, priority=pb.PRIORITY_CONSULTATION, constraint=pb.Constraint(regex="a|b"))
    request.sampling.top_k = 5
    request.sampling.stop.append("\n")
    async for _ in policy.stub.Generate(request, timeout=SECONDS):
        pass
    _, sampling, rank = policy.engine.asked[0]
    assert (sampling.top_k, sampling.top_p, sampling.stop, sampling.regex) == (5, 1.0, ("\n",), "a|b")
    assert sampling.seed is not None and 0 <= sampling.seed < 2**63
    assert rank is Rank.CONSULTATION


async def test_a_prompt_longer_than_the_context_names_the_field(policy: Served) -> None:
    code, reason, fields, _ = await refusal(policy.stub.Generate(generate("x " * 400), timeout=SECONDS))
    assert (code, reason, fields) == (grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_TOO_LONG", ["prompt"])


async def test_a_token_that_the_model_does_not_have_names_the_field(policy: Served) -> None:
    request = generate()
    request.prompt.CopyFrom(prompt(so_far=[1, 49152]))
    code, reason, fields, _ = await refusal(policy.stub.Generate(request, timeout=SECONDS))
    assert (code, reason, fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "UNKNOWN_TOKEN",
        ["prompt.token_ids_so_far"],
    )


async def test_an_unknown_model_is_not_found(policy: Served) -> None:
    item = pb.ChooseItem(prompt=prompt(), choices=["a"])
    for call in (
        policy.stub.Generate(generate(model="gpt"), timeout=SECONDS),
        policy.stub.Choose(pb.ChooseRequest(model="gpt", items=[item]), timeout=SECONDS),
    ):
        code, reason, _, _ = await refusal(call)
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_one_bad_prompt_does_not_fail_its_neighbours(policy: Served) -> None:
    requests = [generate(), generate("x " * 400), generate(model="gpt"), generate(tokens=2)]
    response = await policy.stub.GenerateBatch(pb.GenerateBatchRequest(requests=requests), timeout=SECONDS)
    reasons = [completion.error_reason for completion in response.completions]
    assert reasons == ["", "PROMPT_TOO_LONG", "MODEL_NOT_FOUND", ""]
    assert [list(c.token_ids) for c in response.completions] == [[100, 101, 102], [], [], [100, 101]]
    assert "requests[1].prompt" in response.completions[1].error_message


async def test_one_bad_choice_does_not_fail_its_neighbours(policy: Served) -> None:
    items = [
        pb.ChooseItem(prompt=prompt(), choices=["Yes", "No"]),
        pb.ChooseItem(prompt=prompt(), choices=["x " * 400]),
    ]
    response = await policy.stub.Choose(pb.ChooseRequest(items=items), timeout=SECONDS)
    assert [result.error_reason for result in response.results] == ["", "PROMPT_TOO_LONG"]
    good = response.results[0]
    assert [score.choice for score in good.scores] == ["Yes", "No"]
    assert sum(score.probability for score in good.scores) == pytest.approx(1.0)
    assert good.best == 0


async def test_a_full_queue_says_when_to_come_again_and_still_takes_a_user(policy: Served) -> None:
    policy.engine.go_on.clear()
    batch = pb.GenerateBatchRequest(requests=[generate()] * 9)
    waiting = policy.stub.GenerateBatch(batch, timeout=SECONDS)
    while len(policy.engine.asked) < 9:
        await asyncio.sleep(0.01)
    code, reason, _, wait = await refusal(policy.stub.Generate(generate(), timeout=SECONDS))
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ENGINE_QUEUE_FULL")
    assert wait
    user = policy.stub.Generate(generate(priority=pb.PRIORITY_CONSULTATION), timeout=SECONDS)
    policy.engine.go_on.set()
    assert len([event async for event in user]) == 5
    assert len((await waiting).completions) == 9


async def test_a_caller_that_goes_away_ends_its_request_in_the_engine(policy: Served) -> None:
    call = policy.stub.Generate(generate(tokens=200), timeout=SECONDS)
    await anext(aiter(call))
    policy.engine.go_on.clear()
    call.cancel()
    await until(lambda: policy.engine.given_up == 1)
    stats = await policy.stub.GetStats(pb.GetStatsRequest(), timeout=SECONDS)
    assert (stats.requests_aborted, stats.requests_finished) == (1, 0)


async def test_callers_that_go_away_while_tokens_are_sent_are_told_as_cancelled(
    policy: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(server_telemetry, "_tracer", provider.get_tracer("test"))
    for _ in range(20):
        call = policy.stub.Generate(generate(tokens=200), timeout=SECONDS)
        await anext(aiter(call))
        call.cancel()
    await until(lambda: policy.engine.given_up == len(exporter.get_finished_spans()) == 20)
    codes = {(span.attributes or {})["rpc.response.status_code"] for span in exporter.get_finished_spans()}
    assert codes == {"CANCELLED"}
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_deadline_ends_the_whole_batch_in_the_engine(policy: Served) -> None:
    policy.engine.go_on.clear()
    batch = pb.GenerateBatchRequest(requests=[generate(), generate()])
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await policy.stub.GenerateBatch(batch, timeout=0.3)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: policy.engine.given_up == 2)


async def test_a_dead_engine_is_unavailable_and_no_prompts_own_fault(policy: Served) -> None:
    policy.engine.dies = True
    batch = pb.GenerateBatchRequest(requests=[generate(), generate()])
    for call in (policy.stub.Generate(generate(), timeout=SECONDS), policy.stub.GenerateBatch(batch, timeout=SECONDS)):
        code, reason, _, _ = await refusal(call)
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE")


def update(**fields: object) -> pb.UpdateWeightsRequest:
    request = pb.UpdateWeightsRequest(
        version=rollout_pb2.PolicyVersion(run_id="run", step=1),
        path="run/0-1",
        format=pb.WEIGHT_FORMAT_SAFETENSORS_FULL,
        sha256="0" * 64,
        in_flight=pb.IN_FLIGHT_DRAIN,
    )
    for name, value in fields.items():
        setattr(request, name, value)
    return request


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"path": "../../etc"}, grpc.StatusCode.INVALID_ARGUMENT, "PATH_OUTSIDE_STORE"),
        ({}, grpc.StatusCode.NOT_FOUND, "WEIGHTS_NOT_FOUND"),
        ({"format": pb.WEIGHT_FORMAT_SAFETENSORS_LORA}, grpc.StatusCode.NOT_FOUND, "WEIGHTS_NOT_FOUND"),
        ({"sha256": "xyz"}, grpc.StatusCode.INVALID_ARGUMENT, "CONTRACT_VIOLATION"),
        ({"in_flight": 0}, grpc.StatusCode.INVALID_ARGUMENT, "CONTRACT_VIOLATION"),
    ],
)
async def test_an_update_that_cannot_be_says_why(
    policy: Served, fields: dict[str, object], code: grpc.StatusCode, reason: str
) -> None:
    answered, why, _, _ = await refusal(policy.stub.UpdateWeights(update(**fields), timeout=SECONDS))
    assert (answered, why) == (code, reason)
    models = await policy.stub.ListModels(pb.ListModelsRequest(), timeout=SECONDS)
    assert models.models[0].policy_version == rollout_pb2.PolicyVersion()


async def test_the_frozen_deployment_never_changes(frozen: Served) -> None:
    code, reason, _, _ = await refusal(frozen.stub.UpdateWeights(update(), timeout=SECONDS))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "FROZEN_DEPLOYMENT")
    models = await frozen.stub.ListModels(pb.ListModelsRequest(), timeout=SECONDS)
    assert (models.models[0].updatable, models.models[0].deployment) == (False, "frozen")


async def test_the_policy_deployment_serves_no_embeddings(policy: Served) -> None:
    code, reason, _, _ = await refusal(policy.stub.Embed(pb.EmbedRequest(texts=["a"]), timeout=SECONDS))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_EMBEDDINGS")


async def until(holds: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.01)
