"""The worker on the real stack: real engines, rubric and broker."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

from anamnesis.common.v1.dialogue_pb2 import ROLE_SYSTEM, ROLE_USER, Message
from anamnesis.common.v1.rollout_pb2 import PURPOSE_EVALUATE, RolloutRequest, Sampling, Trajectory
from anamnesis.inference.v1.inference_pb2 import GenerateBatchRequest, GenerateRequest, Prompt
from anamnesis.inference.v1.inference_pb2_grpc import InferenceServiceStub
from service_kit.grpc.channel import open_channel
from simulator_svc.cases.library import CaseLibrary
from tests.integration.rollout.rollout_traffic import Traffic, consultations, fragments, new_run, state_of

if TYPE_CHECKING:
    from tests.conftest import RunningStack

pytestmark = pytest.mark.engine

CASES = [case.case_id for case in CaseLibrary.load().list()]


@pytest.fixture(scope="module")
def traffic(stack: RunningStack) -> Iterator[Traffic]:
    traffic = Traffic(stack.bootstrap)
    yield traffic
    traffic.close()


def measured(requests: Sequence[RolloutRequest]) -> list[RolloutRequest]:
    """Evaluation is not filtered, so a small model's bad turns do not end an episode."""
    for request in requests:
        request.purpose = PURPOSE_EVALUATE
    return list(requests)


async def test_sixteen_requests_are_played_by_real_engines_and_the_segments_are_what_the_policy_saw(
    stack: RunningStack, traffic: Traffic
) -> None:
    run = new_run()
    requests = measured([*consultations(run, CASES, 8, turns=2, tokens=24), *fragments(run, CASES, 8, tokens=24)])
    traffic.publish(requests)
    records = await asyncio.to_thread(traffic.terminal, requests, 300)
    assert Counter(record.request.request_id for record in records) == Counter(r.request_id for r in requests)
    assert {record.request.request_id: state_of(record) for record in records} == {
        request.request_id: ("COMPLETED", []) for request in requests
    }
    async with open_channel(stack.targets["inference-policy"]) as channel:
        policy = InferenceServiceStub(channel)
        for record in records:
            check_sampled(record)
            assert await derived_again(policy, record) == [token for s in record.segments for token in s.token_ids]
    assert all({r.name for r in record.rewards} == {"rubric", "coherence"} for record in records)


def check_sampled(record: Trajectory) -> None:
    sampled = [segment for segment in record.segments if segment.trainable]
    assert sampled and not record.segments[0].trainable
    for segment in sampled:
        assert 0 < len(segment.token_ids) == len(segment.logprobs) <= 24
        assert all(-math.inf < logprob <= 1e-3 for logprob in segment.logprobs)
        assert sum(run.token_count for run in segment.version_runs) == len(segment.token_ids)


async def derived_again(policy: InferenceServiceStub, record: Trajectory) -> list[int]:
    """The sequence from the texts of patient and instructions, and the sampled ids."""
    context = record.request.context
    ids: list[int] = []
    new = [Message(role=ROLE_SYSTEM, content=context.system_prompt)]
    sampled = iter([list(segment.token_ids) for segment in record.segments if segment.trainable])
    history = len(context.fragment.so_far.messages)
    new += record.dialogue.messages[:history]
    for message in record.dialogue.messages[history:]:
        if message.role == ROLE_USER:
            new.append(message)
            continue
        prompt = Prompt(token_ids_so_far=ids, new_messages=new)
        request = GenerateRequest(prompt=prompt, sampling=Sampling(max_tokens=1))
        answer = await policy.GenerateBatch(GenerateBatchRequest(requests=[request]), timeout=60)
        ids, new = [*answer.completions[0].prompt_token_ids, *next(sampled)], []
    return ids


async def test_a_worker_killed_on_the_real_stack_loses_nothing(stack: RunningStack, traffic: Traffic) -> None:
    requests = measured(consultations(new_run(), CASES, 12, turns=2, tokens=24))
    traffic.publish(requests)
    run_id = requests[0].run_id
    await asyncio.to_thread(traffic.records, run_id, lambda found: len(found) >= 1, 120)
    await asyncio.to_thread(stack.kill, "rollout-worker")
    await asyncio.to_thread(stack.restart, "rollout-worker")
    records = await asyncio.to_thread(traffic.terminal, requests, 300)
    ids: dict[str, set[str]] = {}
    for record in records:
        assert state_of(record) == ("COMPLETED", [])
        ids.setdefault(record.request.request_id, set()).add(record.trajectory_id)
    assert all(len(of_request) == 1 for of_request in ids.values())
