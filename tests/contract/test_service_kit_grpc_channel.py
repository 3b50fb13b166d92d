"""Calls between services: deadlines shrink on the way, only idempotent calls are sent twice, a dead callee is named."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc as services
from service_kit.errors import Code, DeadlineExceeded, Unavailable
from service_kit.grpc import deadlines
from service_kit.grpc.channel import call_deadline, open_channel, service_error
from service_kit.grpc.server import GrpcServer
from service_kit.settings import ServiceSettings
from tests.contract.service_kit_probe import SERVICE, Probe, register

# Nothing listens on the discard port of loopback.
NOBODY = "127.0.0.1:9"


@pytest.fixture
async def far() -> AsyncIterator[tuple[str, Probe]]:
    probe = Probe()
    server = GrpcServer(ServiceSettings(), "far", register(probe))
    port = await server.start()
    await server.ready()
    yield f"127.0.0.1:{port}", probe
    await server.drain(1)


async def serving(onward: str) -> tuple[GrpcServer, str]:
    server = GrpcServer(ServiceSettings(), "near", register(Probe(onward)))
    port = await server.start()
    await server.ready()
    return server, f"127.0.0.1:{port}"


async def test_a_deadline_reaches_the_second_hop_a_little_shorter(far: tuple[str, Probe]) -> None:
    target, probe = far
    server, near = await serving(target)
    async with open_channel(near) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        await stub.ListCases(pb.ListCasesRequest(page_token="c1"), timeout=3.0)
    await server.drain(1)
    assert probe.remaining is not None
    assert 2.0 < probe.remaining < 3.0  # although the hop itself would have allowed 30 s


async def test_a_caller_without_a_deadline_leaves_the_hops_own_limit(far: tuple[str, Probe]) -> None:
    target, probe = far
    server, near = await serving(target)
    async with open_channel(near) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        await stub.ListCases(pb.ListCasesRequest(page_token="c1"))
    await server.drain(1)
    assert probe.remaining is not None
    assert 25 < probe.remaining < 31


async def test_a_slow_second_hop_ends_with_the_callers_deadline_and_is_cancelled(far: tuple[str, Probe]) -> None:
    target, probe = far
    server, near = await serving(target)
    async with open_channel(near) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ListCases(pb.ListCasesRequest(page_token="sleep:30"), timeout=1.0)
    assert time.monotonic() - started < 2
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "the next service" in (error.value.details() or "")  # there was time to say who was late
    await asyncio.wait_for(probe.cancelled.wait(), 5)
    await server.drain(1)


async def test_a_dead_dependency_is_unavailable_within_the_deadline_and_named() -> None:
    server, near = await serving(NOBODY)
    async with open_channel(near) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        started = time.monotonic()
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.ListCases(pb.ListCasesRequest(page_token="c1"), timeout=5.0)
    await server.drain(1)
    assert time.monotonic() - started < 5
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    ours = service_error(error.value, "near")
    assert "the next service" in ours.message


async def test_only_idempotent_calls_are_sent_again(far: tuple[str, Probe]) -> None:
    target, probe = far
    async with open_channel(target, idempotent={SERVICE: ["GetCase"]}) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        await stub.GetCase(pb.GetCaseRequest(case_id="flaky:3"), timeout=5)
    assert probe.calls == ["flaky"] * 3
    probe.calls.clear()
    async with open_channel(target, idempotent={SERVICE: ["ListCases"]}) as channel:
        stub = services.PatientSimulatorServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetCase(pb.GetCaseRequest(case_id="flaky:3"), timeout=5)
    assert isinstance(service_error(error.value, "far"), Unavailable)
    assert probe.calls == ["flaky"]


async def test_a_service_that_comes_back_is_found_again() -> None:
    first = GrpcServer(ServiceSettings(), "far", register(Probe()))
    port = await first.start()
    await first.ready()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        await stub.GetCase(pb.GetCaseRequest(case_id="c"), timeout=5)
        await first.drain(0)
        second = GrpcServer(ServiceSettings(grpc_port=port), "far", register(Probe()))
        await second.start()
        await second.ready()
        await stub.GetCase(pb.GetCaseRequest(case_id="c"), timeout=10, wait_for_ready=True)
        await second.drain(0)


async def test_calls_are_spread_over_all_addresses() -> None:
    probes = [Probe(), Probe()]
    servers = [GrpcServer(ServiceSettings(), "far", register(probe)) for probe in probes]
    ports = [await server.start() for server in servers]
    for server in servers:
        await server.ready()
    async with open_channel("ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)) as channel:
        await channel.channel_ready()
        stub: Any = services.PatientSimulatorServiceStub(channel)
        for _ in range(50):
            await stub.GetCase(pb.GetCaseRequest(case_id="c"), timeout=5)
            if all(len(probe.calls) >= 5 for probe in probes):
                break
            await asyncio.sleep(0.02)
    for server in servers:
        await server.drain(0)
    assert all(len(probe.calls) >= 5 for probe in probes)


async def test_the_deadline_of_a_call_is_the_nearer_one() -> None:
    async def within(remaining: float | None) -> float:
        deadlines.enter_call(remaining)
        return call_deadline(10.0)

    results = [await asyncio.create_task(within(remaining)) for remaining in (None, 60.0, 4.0, -1.0)]
    assert results[:2] == [10.0, 10.0]
    assert 3.5 < results[2] < 4.0
    assert results[3] == 0.0
    assert call_deadline(10.0) == 10.0  # outside of those calls


async def test_a_deadline_error_of_the_callee_names_it(far: tuple[str, Probe]) -> None:
    target, _ = far
    async with open_channel(target) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetCase(pb.GetCaseRequest(case_id="sleep:9"), timeout=0.1)
    ours = service_error(error.value, "far")
    assert isinstance(ours, DeadlineExceeded)
    assert (ours.code, ours.metadata["dependency"]) == (Code.DEADLINE_EXCEEDED, "far")


async def test_no_call_goes_to_a_replica_that_still_starts_or_drains_already() -> None:
    probes = [Probe(), Probe()]
    first, second = (GrpcServer(ServiceSettings(), "far", register(probe)) for probe in probes)
    ports = [await server.start() for server in (first, second)]
    await first.ready()
    target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
    async with open_channel(target, health_of=SERVICE) as channel:
        stub: Any = services.PatientSimulatorServiceStub(channel)

        async def calls(count: int) -> None:
            for _ in range(count):
                await stub.GetCase(pb.GetCaseRequest(case_id="c"), timeout=5)

        await calls(50)
        assert [len(probe.calls) for probe in probes] == [50, 0]
        await second.ready()
        while not probes[1].calls:
            await calls(1)
        draining = asyncio.create_task(first.drain(5))
        await calls(100)
        await draining
        before = len(probes[0].calls)
        await calls(50)
        assert len(probes[0].calls) == before
        await second.drain(0)
