"""Several policy replicas: what begins alike goes to the same one, and on when that one is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from anamnesis.common.v1 import dialogue_pb2, rollout_pb2
from anamnesis.inference.v1 import inference_pb2 as pb
from service_kit.errors import ServiceError
from service_kit.grpc.affine import AffineReplicas
from service_kit.grpc.channel import open_channel
from simulator_svc.rollout.patience import Patience
from simulator_svc.rollout.policy import OVERLOAD, Policy
from tests.contract.inference_replicas import InferenceReplica, serving

NEW = [dialogue_pb2.Message(role=dialogue_pb2.ROLE_USER, content="It hurts.")]
SAMPLING = rollout_pb2.Sampling(temperature=1.0, max_tokens=4)


class Replica(InferenceReplica):
    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[int] = []

    async def GenerateBatch(self, request: pb.GenerateBatchRequest, context: Any) -> pb.GenerateBatchResponse:
        self.seeds += [item.seed for item in request.requests]
        return pb.GenerateBatchResponse(completions=[pb.Completion(text="When?", token_ids=[5], logprobs=[-1.0])])


@pytest.fixture
async def replicas() -> AsyncIterator[list[Replica]]:
    started = [Replica(), Replica()]  # type: ignore[abstract]  # the generated base answers the rest
    async with serving(started):
        yield started


@pytest.fixture
async def policy(replicas: list[Replica]) -> AsyncIterator[Policy]:
    target = ",".join(replica.target for replica in replicas)
    affine = AffineReplicas(target, open_channel, dependency="inference policy", overload=OVERLOAD)
    yield Policy(affine, deadline=5.0, patience=Patience(seconds=0.5))
    await affine.close()


async def test_the_samples_and_turns_of_a_group_stay_together_and_groups_use_every_replica(
    policy: Policy, replicas: list[Replica]
) -> None:
    for group in range(16):
        for turn in range(3):
            await policy.speak([1] * turn, NEW, SAMPLING, group, f"group {group}")
    assert all(replica.seeds for replica in replicas)
    assert not set(replicas[0].seeds) & set(replicas[1].seeds)


async def test_a_group_whose_replica_is_away_goes_to_the_other_one(policy: Policy, replicas: list[Replica]) -> None:
    await replicas[0].server.stop(0)
    for group in range(8):
        await policy.speak([], NEW, SAMPLING, group, f"group {group}")
    assert sorted(replicas[1].seeds) == list(range(8))
    await replicas[1].server.stop(0)
    with pytest.raises(ServiceError):
        await policy.speak([], NEW, SAMPLING, 9, "group 9")
