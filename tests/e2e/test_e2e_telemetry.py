"""What a running stack exports: conventions kept by every span, the metrics of the table, and no word that was said."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from gateway.client import AnamnesisClient
from k8s.telemetry.catalogue import catalogue
from service_kit.telemetry import METRIC_INTERVAL_SECONDS
from tests.e2e.finished_run import FinishedRun
from tests.e2e.telemetry_rules import breaches
from tests.integration.rollout.rollout_traffic import Traffic, consultations, fragments, new_run
from tests.otlp_receiver import Metric, OtlpReceiver, Span

pytestmark = pytest.mark.engine
PATIENCE_SECONDS = 60.0
CASE = "migraine-aura"
GENERATE = "anamnesis.inference.v1.InferenceService/Generate"


async def chat(stack: Any, text: str, **options: Any) -> httpx.Response:
    base = f"http://{stack.targets['gateway_rest']}/v1"
    async with httpx.AsyncClient(timeout=120) as http:
        model = (await http.get(f"{base}/models")).json()["data"][0]["id"]
        body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8, **options}
        return await http.post(f"{base}/chat/completions", json=body)


def span_of(spans: list[Span], service: str, kind: str, name: str) -> Span:
    (found,) = [s for s in spans if (s.service, s.kind) == (service, kind) and s.name == name]
    return found


async def test_a_users_chat_is_one_trace_from_rest_to_the_engine(stack: Any) -> None:
    response = await chat(stack, "I have had a headache since Monday.", seed=3)
    trace_id = response.headers["x-trace-id"]
    usage = response.json()["usage"]

    def whole(receiver: OtlpReceiver) -> list[Span] | None:
        spans = receiver.spans(trace_id=trace_id)
        # Each process exports by itself: the caller's span may be there before the callee's.
        services = {span.service for span in spans if span.name.startswith(("POST", "chat"))}
        return spans if services == {"gateway", "inference-policy"} else None

    spans: list[Span] = stack.otlp.wait_for(whole, PATIENCE_SECONDS)
    model = response.json()["model"]
    chain = [
        span_of(spans, "gateway", "SERVER", "POST /v1/chat/completions"),
        span_of(spans, "gateway", "CLIENT", GENERATE),
        span_of(spans, "inference-policy", "SERVER", GENERATE),
        span_of(spans, "inference-policy", "INTERNAL", f"chat {model}"),
    ]
    assert [span.parent_id for span in chain] == ["", *(span.span_id for span in chain[:-1])]
    assert not any(span.error for span in chain)
    assert chain[0].attributes["http.response.status_code"] == 200
    generation = chain[-1].attributes
    assert generation["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert generation["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert generation["gen_ai.request.seed"] == 3
    assert [problem for span in spans for problem in breaches(span)] == []


async def test_a_generation_whose_user_hangs_up_is_in_the_trace_too(stack: Any) -> None:
    with pytest.raises(httpx.ReadTimeout):
        base = f"http://{stack.targets['gateway_rest']}/v1"
        async with httpx.AsyncClient(timeout=httpx.Timeout(30, read=1.5)) as http:
            model = (await http.get(f"{base}/models")).json()["data"][0]["id"]
            words = f"Tell me a long story. {uuid.uuid4().hex}"
            body = {"model": model, "messages": [{"role": "user", "content": words}], "max_tokens": 400, "seed": 77}
            await http.post(f"{base}/chat/completions", json=body)

    def cut_short(receiver: OtlpReceiver) -> Span | None:
        spans = receiver.spans(service="inference-policy", kind="INTERNAL")
        return next((s for s in spans if s.attributes.get("gen_ai.request.seed") == 77), None)

    span: Span = stack.otlp.wait_for(cut_short, PATIENCE_SECONDS)
    assert span.attributes["error.type"] == "cancelled"
    assert span.attributes["gen_ai.usage.output_tokens"] < 400
    (server,) = [s for s in stack.otlp.spans(trace_id=span.trace_id, kind="SERVER") if s.span_id == span.parent_id]
    assert server.attributes["rpc.response.status_code"] == "CANCELLED"


async def test_no_word_of_patient_doctor_or_prompt_is_exported_or_logged(stack: Any) -> None:
    marker = f"Zanthorp{uuid.uuid4().hex}"
    words = f"I am {marker} and my chest hurts."
    assert (await chat(stack, words)).status_code == 200
    assert (await chat(stack, words, stop=[marker])).status_code == 200
    assert (await chat(stack, words, temperature=99)).status_code == 400
    said = [dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=words)]
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        async for _ in client.ask_doctor(said, sampling=rollout_pb2.Sampling(max_tokens=8, temperature=1.0)):
            pass
        opened = await client.start_consultation(CASE)
        asked = [
            dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=opened.opening),
            dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content=f"{words} How long have you had it?"),
        ]
        await client.respond(CASE, opened.persona, asked)
    traffic = Traffic(stack.bootstrap)
    try:
        run = new_run()
        requests = [*fragments(run, [CASE], 1), *consultations(run, [CASE], 1, turns=1)]
        requests[0].context.fragment.so_far.messages[-1].content = words
        requests[1].context.system_prompt = words
        traffic.publish(requests)
        traffic.publish_bytes(words.encode())  # a dead letter
        traffic.terminal(requests, 120)
    finally:
        traffic.close()
    # What they exported last is there once another export of each kind has come.
    time.sleep(METRIC_INTERVAL_SECONDS + 2)
    assert stack.otlp.contains("anamnesis.rollout.requests.v1")
    assert not stack.otlp.contains(marker)
    for log in sorted((stack.state_dir / "logs").glob("*.log")):
        assert marker not in log.read_text(encoding="utf-8", errors="replace"), log.name


def test_every_span_of_a_run_keeps_the_conventions(stack: Any, smoke_run: FinishedRun) -> None:
    spans = stack.otlp.spans()
    problems = Counter(f"{span.service} {span.name}: {problem}" for span in spans for problem in breaches(span))
    assert not problems
    kinds = {span.kind for span in spans}
    assert kinds == {"SERVER", "CLIENT", "INTERNAL", "PRODUCER", "CONSUMER"}


async def test_the_stack_exports_the_metrics_of_the_table(stack: Any, smoke_run: FinishedRun) -> None:
    async with AnamnesisClient(stack.targets["gateway"]) as client:
        await client.start_consultation(CASE)
    await chat(stack, "I have had a headache since Monday.")
    wanted = {(service, m.name) for m in catalogue().values() if not m.after for service in m.services}
    otlp: OtlpReceiver = stack.otlp

    def missing() -> list[tuple[str, str]]:
        return sorted(wanted - otlp.latest().keys())

    until = time.monotonic() + 3 * METRIC_INTERVAL_SECONDS
    while missing() and time.monotonic() < until:
        time.sleep(1)
    assert missing() == []
    assert [problem for (service, _), points in otlp.latest().items() for problem in strange(service, points[-1])] == []


def strange(service: str, point: Metric) -> Iterator[str]:
    metric = catalogue().get(point.name)
    if metric is None:
        yield f"{service} exports {point.name}, which is not in the table"
        return
    if service not in metric.services + metric.also:
        yield f"{service} exports {point.name}, and the table does not say so"
    found = (point.kind, point.unit, point.description)
    if found != (metric.type, metric.unit, metric.description):
        yield f"{point.name} is {found}"


def test_durations_lead_to_a_trace(stack: Any, smoke_run: FinishedRun) -> None:
    otlp: OtlpReceiver = stack.otlp
    exemplars = [pair for point in otlp.metrics("rpc.server.call.duration") for pair in point.exemplars]
    known = {(span.trace_id, span.span_id) for span in otlp.spans(kind="SERVER")}
    assert exemplars and known & set(exemplars)
