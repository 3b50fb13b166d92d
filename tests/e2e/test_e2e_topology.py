"""Who really calls whom, as traced, is who may: the table behind authorization and network policies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from anamnesis.common.v1 import dialogue_pb2
from gateway.client import AnamnesisClient
from k8s.check.topology import Edge, outside_calls, service_calls
from tests.e2e.finished_run import FinishedRun
from tests.otlp_receiver import OtlpReceiver, Span

pytestmark = pytest.mark.engine
PATIENCE_SECONDS = 60.0
# Traces name the rollout worker by its settings' name, the table by its deployment's.
DEPLOYMENT = {"rollout": "rollout-worker"}
# What a run and one consultation through the gateway do for certain.
CERTAIN = {
    ("gateway", "trainer"),
    ("gateway", "simulator"),
    ("gateway", "inference-policy"),
    ("trainer", "kafka"),
    ("trainer", "inference-policy"),
    ("rollout-worker", "kafka"),
    ("rollout-worker", "inference-policy"),
    ("rollout-worker", "rubric"),
    ("rubric", "inference-frozen"),
}


def calls(spans: Iterable[Span]) -> set[Edge]:
    """(caller, callee): a SERVER span below another service's span, and whoever sends to Kafka."""
    by_id = {span.span_id: span for span in spans}
    found = set()
    for span in by_id.values():
        callee, caller = DEPLOYMENT.get(span.service, span.service), by_id.get(span.parent_id)
        if span.kind == "PRODUCER":
            found.add((callee, "kafka"))
        elif span.kind == "SERVER" and caller is not None and caller.service != span.service:
            found.add((DEPLOYMENT.get(caller.service, caller.service), callee))
    return found


async def consult(target: str) -> None:
    """One turn of each side: the doctor answers a user, and a patient answers the doctor."""
    complaint = dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="My head has ached since this morning.")
    question = dialogue_pb2.Message(role=dialogue_pb2.ROLE_ASSISTANT, content="I am sorry. Are you afraid of it?")
    async with AnamnesisClient(target) as client:
        async for _ in client.ask_doctor([complaint]):
            break
        case_id = (await anext(client.list_cases())).case_id
        begun = await client.start_consultation(case_id, seed=1)
        opening = dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content=begun.opening)
        await client.respond(case_id, begun.persona, [opening, question], seed=1)


async def test_every_traced_call_is_allowed_and_every_certain_one_was_traced(
    stack: Any, smoke_run: FinishedRun
) -> None:
    await consult(stack.targets["gateway"])

    def complete(receiver: OtlpReceiver) -> set[Edge] | None:
        found = calls(receiver.spans())
        return found if found >= CERTAIN else None

    found: set[Edge] = stack.otlp.wait_for(complete, PATIENCE_SECONDS)
    assert found <= service_calls() | outside_calls()
