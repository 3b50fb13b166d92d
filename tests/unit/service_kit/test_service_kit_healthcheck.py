"""A container's health check says yes only where that gRPC service is SERVING."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import pytest

from service_kit.grpc.server import GrpcServer
from service_kit.healthcheck import main
from service_kit.settings import ServiceSettings

SERVICE = "anamnesis.test.v1.Service"


def register(server: grpc.aio.Server) -> Sequence[str]:
    return [SERVICE]


async def test_it_is_healthy_once_the_service_is_ready() -> None:
    server = GrpcServer(ServiceSettings(health_port=0), "test", register)
    await server.start()
    port = str(server.health_port)
    try:
        assert await asyncio.to_thread(main, [port, SERVICE]) == 1
        await server.ready()
        assert await asyncio.to_thread(main, [port, SERVICE]) == 0
        assert await asyncio.to_thread(main, [port, "anamnesis.test.v1.Another"]) == 1
    finally:
        await server.drain(0)


def test_a_wrong_call_is_told_how_to_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rubric"]) == 2
    assert "PORT SERVICE" in capsys.readouterr().err
