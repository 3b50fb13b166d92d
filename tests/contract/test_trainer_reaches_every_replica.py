"""New weights are told to every replica behind one name, as a headless Service has them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
import torch
from safetensors.torch import save_file

from anamnesis.common.v1.rollout_pb2 import PolicyVersion
from anamnesis.inference.v1 import inference_pb2
from trainer_svc.publication.publish import NoReplicaUpdated, WeightPublisher

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
WEIGHTS = {"layer.weight": torch.zeros(2, 2)}


class Replica:
    def __init__(self) -> None:
        self.told: list[str] = []
        self.full = False
        self.hangs = False

    async def UpdateWeights(
        self, request: inference_pb2.UpdateWeightsRequest, context: Any
    ) -> inference_pb2.UpdateWeightsResponse:
        if self.hangs:
            await asyncio.sleep(30)
        if self.full:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no room for it")
        self.told.append(request.path)
        return inference_pb2.UpdateWeightsResponse()


@pytest_asyncio.fixture
async def replicas(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, list[Replica]]]:
    """Three servers on one port of three loopback addresses, and a name for all of them."""
    found, servers, port = [Replica() for _ in ADDRESSES], [], 0
    for address, replica in zip(ADDRESSES, found, strict=True):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        update = grpc.unary_unary_rpc_method_handler(
            replica.UpdateWeights,
            request_deserializer=inference_pb2.UpdateWeightsRequest.FromString,
            response_serializer=inference_pb2.UpdateWeightsResponse.SerializeToString,
        )
        service = "anamnesis.inference.v1.InferenceService"
        handler = grpc.method_handlers_generic_handler(service, {"UpdateWeights": update})
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port(f"{address}:{port}")
        await server.start()
        servers.append(server)
    resolve = asyncio.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self: asyncio.BaseEventLoop, host: str, wanted: int, **options: Any) -> list[Any]:
        if host != "inference-policy":
            return await resolve(self, host, wanted, **options)
        return [info for address in ADDRESSES for info in await resolve(self, address, wanted, **options)]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    yield f"inference-policy:{port}", found
    for server in servers:
        await server.stop(0)


async def publish(store: Path, target: str) -> dict[str, str]:
    """The failures, by replica."""
    base = store / "base"
    base.mkdir(parents=True)
    save_file(WEIGHTS, base / "model.safetensors")
    publisher = WeightPublisher(store, base, [target], deadline_seconds=10.0)
    version = PolicyVersion(run_id="run", incarnation=1, step=2)
    return (await asyncio.to_thread(publisher.publish, WEIGHTS, version)).failures


async def test_every_replica_behind_the_name_is_told_once(replicas: tuple[str, list[Replica]], tmp_path: Path) -> None:
    target, found = replicas
    assert await publish(tmp_path, target) == {}
    assert [replica.told for replica in found] == [["run/1-2"]] * len(found)


async def test_a_replica_that_refuses_is_named_and_the_others_go_on(
    replicas: tuple[str, list[Replica]], tmp_path: Path
) -> None:
    target, found = replicas
    found[1].full = True
    (failure,) = (await publish(tmp_path, target)).items()
    assert failure[0].startswith(f"ipv4:{ADDRESSES[1]}:") and "no room for it" in failure[1]
    assert [len(replica.told) for replica in found] == [1, 0, 1]


async def test_where_all_refuse_nothing_was_published(replicas: tuple[str, list[Replica]], tmp_path: Path) -> None:
    target, found = replicas
    for replica in found:
        replica.full = True
    with pytest.raises(NoReplicaUpdated, match="no room for it"):
        await publish(tmp_path, target)


async def publisher_of(store: Path, target: str, deadline_seconds: float) -> WeightPublisher:
    base = store / "base"
    base.mkdir(parents=True)
    save_file(WEIGHTS, base / "model.safetensors")
    return WeightPublisher(store, base, [target], deadline_seconds=deadline_seconds)


def version(step: int) -> PolicyVersion:
    return PolicyVersion(run_id="run", incarnation=1, step=step)


async def test_a_replica_that_hangs_costs_one_deadline_and_then_nothing(
    replicas: tuple[str, list[Replica]], tmp_path: Path
) -> None:
    target, found = replicas
    publisher = await publisher_of(tmp_path, target, deadline_seconds=1.5)
    found[2].hangs = True
    first = await asyncio.to_thread(publisher.publish, WEIGHTS, version(1))
    assert [replica.split(":")[1] for replica in first.failures] == [ADDRESSES[2]]
    began = time.monotonic()
    second = await asyncio.to_thread(publisher.publish, WEIGHTS, version(2))
    assert time.monotonic() - began < 1.0
    assert second.failures == {} and second.left_out == list(first.failures)
    assert [replica.told for replica in found] == [["run/1-1", "run/1-2"], ["run/1-1", "run/1-2"], []]


async def test_a_late_replica_takes_the_newest_version_and_is_in_again(
    replicas: tuple[str, list[Replica]], tmp_path: Path
) -> None:
    target, found = replicas
    publisher = await publisher_of(tmp_path, target, deadline_seconds=5)
    found[1].full = True
    for step in (1, 2):
        await asyncio.to_thread(publisher.publish, WEIGHTS, version(step))
    found[1].full = False
    async with asyncio.timeout(20):
        while found[1].told != ["run/1-2"]:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)  # its answer is heard
    third = await asyncio.to_thread(publisher.publish, WEIGHTS, version(3))
    assert [replica.split(":")[1] for replica in third.returned] == [ADDRESSES[1]]
    assert (third.failures, third.left_out) == ({}, [])
    assert found[1].told == ["run/1-2", "run/1-3"]


async def test_where_none_answers_in_time_the_error_says_that_it_may_pass(
    replicas: tuple[str, list[Replica]], tmp_path: Path
) -> None:
    target, found = replicas
    publisher = await publisher_of(tmp_path, target, deadline_seconds=0.5)
    for replica in found:
        replica.hangs = True
    with pytest.raises(NoReplicaUpdated) as hanging:
        await asyncio.to_thread(publisher.publish, WEIGHTS, version(1))
    assert hanging.value.passing
    for replica in found:
        replica.hangs, replica.full = False, True
    with pytest.raises(NoReplicaUpdated) as refusing:
        await asyncio.to_thread(publisher.publish, WEIGHTS, version(1))
    assert not refusing.value.passing


async def test_a_policy_that_is_started_again_is_waited_for_and_told_of_once(
    replicas: tuple[str, list[Replica]], tmp_path: Path
) -> None:
    target, found = replicas
    publisher = await publisher_of(tmp_path, target, deadline_seconds=0.3)
    for replica in found:
        replica.hangs = True
    told: list[str] = []
    waiting = asyncio.create_task(
        asyncio.to_thread(publisher.publish_patiently, WEIGHTS, version(1), 30.0, lambda: None, told.append)
    )
    await asyncio.sleep(3.5)  # it has asked twice by now
    found[0].hangs = False
    published = await asyncio.wait_for(waiting, 20)
    assert [replica.split(":")[1] for replica in published.failures] == list(ADDRESSES[1:])
    assert len(told) == 1 and "step 1" in told[0]
    for replica in found:
        replica.hangs = True
    with pytest.raises(NoReplicaUpdated):
        await asyncio.to_thread(publisher.publish_patiently, WEIGHTS, version(2), 0.0, lambda: None, told.append)
