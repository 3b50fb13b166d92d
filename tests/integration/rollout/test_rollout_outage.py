"""The worker outlives its broker: it waits, says so in its health, and then loses and repeats nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from simulator_svc.rollout.__main__ import READINESS
from tests.integration.restartable_broker import restartable_broker
from tests.integration.rollout.rollout_servers import FaultyServers, faulty_servers
from tests.integration.rollout.rollout_traffic import Traffic, consultations, new_run
from tests.integration.rollout.test_rollout_worker import CASES, until_calls

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
# Longer than every one of the bounds below: partitions are lost, and deliveries fail for good.
OUTAGE_SECONDS = 20.0
BOUNDS = {"REQUEST_TIMEOUT_SECONDS": "4", "DELIVERY_TIMEOUT_SECONDS": "6", "SESSION_TIMEOUT_SECONDS": "6"}


@asynccontextmanager
async def worker_process(bootstrap: str, servers: FaultyServers, log: Path) -> AsyncIterator[grpc.aio.Channel]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    settings = {
        "GRPC_PORT": str(port),
        "KAFKA__BOOTSTRAP": bootstrap,
        **{f"KAFKA__{name}": value for name, value in BOUNDS.items()},
        "INFERENCE_POLICY_TARGET": servers.target,
        "INFERENCE_FROZEN_TARGET": servers.target,
        "RUBRIC_TARGET": servers.target,
        "PATIENT__DRAFT_SHARE": "0",
        "CONCURRENCY": "4",
    }
    environment = os.environ | {f"ANAMNESIS_ROLLOUT_{name}": value for name, value in settings.items()}
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "simulator_svc.rollout", env=environment, stderr=stderr
        )
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
                process.terminate()
                assert await asyncio.wait_for(process.wait(), 40) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def until_health(channel: grpc.aio.Channel, wanted: int, seconds: float) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    async with asyncio.timeout(seconds):
        while True:
            for name, status in (("", SERVING), (READINESS, wanted)):
                request = health_pb2.HealthCheckRequest(service=name)
                answer = await stub.Check(request, timeout=20, wait_for_ready=True)
                if answer.status != status:
                    break
            else:
                return
            await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_a_broker_that_goes_and_comes_back_costs_no_request_and_repeats_none(tmp_path: Path) -> None:
    run = new_run()
    requests = consultations(run, CASES, 12)
    with restartable_broker(tmp_path / "broker") as broker:
        traffic = Traffic(broker.bootstrap)
        traffic.publish(requests)
        traffic.close()
        async with (
            faulty_servers() as servers,
            worker_process(broker.bootstrap, servers, tmp_path / "worker.log") as channel,
        ):
            servers.inference.delay = 0.3
            await until_health(channel, SERVING, 30)
            await until_calls(servers, 14)  # some have finished, some are under way, some were never taken
            await asyncio.to_thread(broker.stop)
            await until_health(channel, NOT_SERVING, OUTAGE_SECONDS)  # not ready, and alive
            await asyncio.sleep(OUTAGE_SECONDS)
            await asyncio.to_thread(broker.start)
            await until_health(channel, SERVING, 40)
            traffic = Traffic(broker.bootstrap)
            await asyncio.to_thread(traffic.terminal, requests, 60)
            await asyncio.sleep(1)  # a second record of the same would come now
            records = await asyncio.to_thread(traffic.records, run, lambda found: len(found) >= len(requests), 20)
            traffic.close()
    played = Counter(record.message.request.request_id for record in records)
    assert played == Counter(request.request_id for request in requests)


async def test_a_worker_that_starts_before_its_broker_waits_for_it(tmp_path: Path) -> None:
    run = new_run()
    requests = consultations(run, CASES, 2)
    with restartable_broker(tmp_path / "broker") as broker:
        await asyncio.to_thread(broker.stop)
        async with (
            faulty_servers() as servers,
            worker_process(broker.bootstrap, servers, tmp_path / "worker.log") as channel,
        ):
            await until_health(channel, NOT_SERVING, 20)
            await asyncio.sleep(6)
            await until_health(channel, NOT_SERVING, 1)
            await asyncio.to_thread(broker.start)
            await until_health(channel, SERVING, 30)
            traffic = Traffic(broker.bootstrap)
            traffic.publish(requests)
            assert len(await asyncio.to_thread(traffic.terminal, requests, 30)) == 2
            traffic.close()
