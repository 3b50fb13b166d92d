"""A service's life as Kubernetes sees it: alive, ready, draining, gone with the right exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc as services
from service_kit.errors import STREAM_INTERRUPTED, Code, Unavailable
from service_kit.grpc.channel import open_channel, service_error
from service_kit.grpc.server import GrpcServer, StartFailed
from service_kit.settings import ServiceSettings
from tests.contract.service_kit_probe import SERVICE, Probe, register

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def process(**settings: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, grpc.aio.Channel]]:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")}
    environment |= {f"ANAMNESIS_PROBE_{name.upper()}": value for name, value in settings.items()}
    environment["ANAMNESIS_PROBE_GRPC_PORT"] = str(port)
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contract.service_kit_probe", env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield started, channel
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def health(channel: grpc.aio.Channel, service: str = SERVICE) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service=service)
    return int((await stub.Check(request, timeout=20, wait_for_ready=True)).status)


async def until_serving(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(20):
        while await health(channel) != SERVING:
            await asyncio.sleep(0.05)


async def ended(started: asyncio.subprocess.Process) -> tuple[int, str]:
    _, errors = await asyncio.wait_for(started.communicate(), 20)
    assert started.returncode is not None
    return started.returncode, errors.decode()


async def test_sigterm_finishes_the_call_in_flight_and_exits_with_0() -> None:
    async with process(drain_seconds="10") as (started, channel):
        await until_serving(channel)
        stub: Any = services.PatientSimulatorServiceStub(channel)
        call = asyncio.ensure_future(stub.GetCase(pb.GetCaseRequest(case_id="sleep:1.5"), timeout=15))
        await asyncio.sleep(0.5)
        started.send_signal(signal.SIGTERM)
        assert (await call).case.case_id == "sleep:1.5"
        code, log = await ended(started)
    assert code == 0
    assert "closed" in log


async def test_a_call_that_outlasts_the_drain_is_cut_and_the_exit_is_still_0() -> None:
    async with process(drain_seconds="0.5") as (started, channel):
        await until_serving(channel)
        stub: Any = services.PatientSimulatorServiceStub(channel)
        call = asyncio.ensure_future(stub.GetCase(pb.GetCaseRequest(case_id="sleep:60"), timeout=15))
        await asyncio.sleep(0.3)
        started.send_signal(signal.SIGINT)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert (await ended(started))[0] == 0
    assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_a_stream_that_outlasts_the_drain_is_told_that_it_was_interrupted() -> None:
    async with process(drain_seconds="0.5") as (started, channel):
        await until_serving(channel)
        stub: Any = services.PatientSimulatorServiceStub(channel)
        stream = stub.Consult(timeout=15)
        await stream.write(pb.ConsultRequest(doctor_turn="hello"))
        assert (await stream.read()).patient_turn == "hello"
        started.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stream.read()
        assert (await ended(started))[0] == 0
    ours = service_error(error.value, "probe")
    assert (ours.code, ours.reason) == (Code.UNAVAILABLE, STREAM_INTERRUPTED)
    assert ours.metadata["service"] == "probe"
    assert ours.retry_after is not None


async def test_a_watcher_of_health_hears_of_the_drain_and_does_not_hold_it_up() -> None:
    async with process(drain_seconds="15") as (started, channel):
        await until_serving(channel)
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == SERVING
        started.send_signal(signal.SIGTERM)
        assert (await watch.read()).status == NOT_SERVING
        code, _ = await asyncio.wait_for(ended(started), 10)
    assert code == 0


async def test_while_it_prepares_it_is_alive_but_not_ready_and_says_so() -> None:
    async with process(prepare="3") as (_, channel):
        assert await health(channel, "") == SERVING
        assert await health(channel) == NOT_SERVING
        stub: Any = services.PatientSimulatorServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stub.GetCase(pb.GetCaseRequest(case_id="c"), timeout=5)
        ours = service_error(error.value, "probe")
        assert isinstance(ours, Unavailable)
        assert ours.metadata["dependency_reason"] == "SERVICE_STARTING"
        await until_serving(channel)
        await stub.GetCase(pb.GetCaseRequest(case_id="c"), timeout=5)


async def test_sigterm_while_it_prepares_ends_it_at_once_with_0() -> None:
    async with process(prepare="60") as (started, channel):
        assert await health(channel, "") == SERVING
        started.send_signal(signal.SIGTERM)
        code, log = await ended(started)
    assert code == 0
    assert "closed" in log


async def test_a_start_that_fails_exits_with_1_and_the_reason() -> None:
    async with process(prepare="fails") as (started, _):
        code, log = await ended(started)
    assert code == 1
    assert "no weights there" in log and "closed" in log


async def test_wrong_settings_exit_with_2_before_anything_starts() -> None:
    async with process(grpc_prot="1") as (started, _):
        code, log = await ended(started)
    assert code == 2
    assert "ANAMNESIS_PROBE_GRPC_PORT" in log


async def test_a_taken_port_is_refused_instead_of_shared() -> None:
    first = GrpcServer(ServiceSettings(), "first", register(Probe()))
    port = await first.start()
    second = GrpcServer(ServiceSettings(grpc_port=port), "second", register(Probe()))
    with pytest.raises(StartFailed):
        await second.start()
    await first.drain(0)


@pytest.mark.parametrize("offered", [True, False])
async def test_reflection_is_a_setting(offered: bool) -> None:
    server = GrpcServer(ServiceSettings(reflection=offered), "probe", register(Probe()))
    port = await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5)
        if offered:
            names = {service.name for service in (await call.read()).list_services_response.service}
            assert {SERVICE, "grpc.health.v1.Health"} <= names
        else:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await call.read()
                await call.read()
            assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    await server.drain(0)
