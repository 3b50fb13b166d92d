"""Every RPC of every service, asked by every caller over mutual TLS: who may, and who may not."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

import anamnesis
from service_kit.errors import Code, ServiceError
from service_kit.grpc.callers import BUILT_IN, CallersWrong, load_callers
from service_kit.grpc.channel import open_channel, service_error
from service_kit.grpc.server import GrpcServer
from service_kit.settings import ServiceSettings
from tests.certificates import Authority

DEPLOYMENTS = ("gateway", "simulator", "rollout-worker", "rubric", "inference-policy", "inference-frozen", "trainer")
# What each deployment serves; the gateway's callers bring keys.
SERVES = {
    "simulator": ["anamnesis.simulator.v1.PatientSimulatorService"],
    "rubric": ["anamnesis.rubric.v1.RubricService", "anamnesis.rubric.v1.EvaluationService"],
    "inference-policy": ["anamnesis.inference.v1.InferenceService"],
    "inference-frozen": ["anamnesis.inference.v1.InferenceService"],
    "trainer": ["anamnesis.trainer.v1.TrainerService"],
}
# DESIGN's table of callers, by hand: callers.toml may be finer, never wider.
ARROWS = {
    ("gateway", "simulator"),
    ("gateway", "rubric"),
    ("gateway", "inference-policy"),
    ("gateway", "trainer"),
    ("simulator", "inference-frozen"),
    ("rollout-worker", "inference-frozen"),
    ("rollout-worker", "inference-policy"),
    ("rollout-worker", "rubric"),
    ("rubric", "inference-frozen"),
    ("rubric", "simulator"),
    ("rubric", "inference-policy"),  # where the candidate of an evaluation is the policy
    ("trainer", "inference-policy"),
}


def contracts() -> dict[str, tuple[ServiceDescriptor, Any]]:
    """Every service of the contracts but the gateway's, with the module that registers it."""
    found = {}
    for module in pkgutil.walk_packages(anamnesis.__path__, "anamnesis."):
        if not module.name.endswith("_pb2_grpc"):
            continue
        described = importlib.import_module(module.name.removesuffix("_grpc")).DESCRIPTOR
        for service in described.services_by_name.values():
            found[service.full_name] = (service, importlib.import_module(module.name))
    return {name: found[name] for name in found if not name.startswith("anamnesis.gateway.")}


SERVICES = contracts()
RPCS = [
    (deployment, service, method.name)
    for deployment, services in SERVES.items()
    for service in services
    for method in SERVICES[service][0].methods
]


@dataclass
class World:
    channels: dict[tuple[str, str], grpc.aio.Channel]

    async def ask(self, caller: str, callee: str, service: str, rpc: str) -> ServiceError:
        """How the call ends: nothing is built behind the door, so nobody is answered."""
        method: MethodDescriptor = SERVICES[service][0].methods_by_name[rpc]
        channel = self.channels[caller, callee]
        path = f"/{service}/{rpc}"
        request = GetMessageClass(method.input_type)()
        encode, decode = type(request).SerializeToString, GetMessageClass(method.output_type).FromString
        with pytest.raises(grpc.aio.AioRpcError) as error:
            if method.client_streaming:
                call: Any = channel.stream_stream(path, encode, decode)(iter([request]), timeout=10)
                await call.read()
                await call.read()
            elif method.server_streaming:
                async for _ in channel.unary_stream(path, encode, decode)(request, timeout=10):
                    pass
            else:
                await channel.unary_unary(path, encode, decode)(request, timeout=10)
        return service_error(error.value, callee)


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    directory: Path = tmp_path_factory.mktemp("certificates")
    authority = Authority.make()
    tls = {name: authority.issue(directory, name) for name in DEPLOYMENTS}
    channels: dict[tuple[str, str], grpc.aio.Channel] = {}
    async with AsyncExitStack() as stack:
        for callee, services in SERVES.items():

            def register(server: grpc.aio.Server, services: list[str] = services) -> list[str]:
                for name in services:
                    descriptor, module = SERVICES[name]
                    servicer = getattr(module, f"{descriptor.name}Servicer")()
                    getattr(module, f"add_{descriptor.name}Servicer_to_server")(servicer, server)
                return services

            server = GrpcServer(ServiceSettings(tls=tls[callee]), callee, register)
            port = await server.start()
            await server.ready()
            stack.push_async_callback(server.drain, 0)
            for caller in DEPLOYMENTS:
                channel = open_channel(f"127.0.0.1:{port}", tls=tls[caller], peer=callee)
                channels[caller, callee] = await stack.enter_async_context(channel)
        yield World(channels)


def test_every_service_of_the_contracts_is_served_by_a_deployment_here() -> None:
    assert {service for services in SERVES.values() for service in services} == set(SERVICES)


def test_the_table_names_every_rpc_and_nothing_else() -> None:
    table = load_callers()
    named = [(callee, service, rpc) for callee in table for service in table[callee] for rpc in table[callee][service]]
    assert sorted(named) == sorted(RPCS)


def test_the_table_draws_the_arrows_of_the_design_and_no_other() -> None:
    table = load_callers()
    drawn = {
        (caller, callee)
        for callee, services in table.items()
        for rpcs in services.values()
        for callers in rpcs.values()
        for caller in callers
    }
    assert drawn == ARROWS


def test_only_the_trainer_may_update_weights_and_only_the_policys() -> None:
    table = load_callers()
    allowed = {
        callee: table[callee]["anamnesis.inference.v1.InferenceService"]["UpdateWeights"]
        for callee in table
        if callee.startswith("inference")
    }
    assert allowed == {"inference-policy": ["trainer"], "inference-frozen": []}


@pytest.mark.parametrize(("callee", "service", "rpc"), RPCS, ids=lambda part: str(part).rpartition(".")[2])
async def test_an_rpc_is_answered_for_its_callers_and_refused_to_everybody_else(
    world: World, callee: str, service: str, rpc: str
) -> None:
    allowed = set(load_callers()[callee][service][rpc])
    ends = await asyncio.gather(*(world.ask(caller, callee, service, rpc) for caller in DEPLOYMENTS))
    for caller, end in zip(DEPLOYMENTS, ends, strict=True):
        if caller in allowed:
            # Past the door: the empty request breaks the contract, or the RPC is not built here.
            assert end.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED), f"{caller}: {end}"
        else:
            assert (end.code, end.reason) == (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED"), f"{caller}: {end}"
            assert end.metadata["rpc"] == f"{service}/{rpc}"


async def test_nobody_but_the_trainer_updates_weights(world: World) -> None:
    service = "anamnesis.inference.v1.InferenceService"
    for callee in ("inference-policy", "inference-frozen"):
        for caller in DEPLOYMENTS:
            end = await world.ask(caller, callee, service, "UpdateWeights")
            refused = end.code is Code.PERMISSION_DENIED
            assert refused is not ((caller, callee) == ("trainer", "inference-policy")), f"{caller} at {callee}: {end}"


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "callers.toml"
    path.write_text('[simulator."a.B"]\nGet = "gateway"\n')
    with pytest.raises(CallersWrong, match=r"callers\.toml"):
        load_callers(path)
    with pytest.raises(CallersWrong, match=r"missing\.toml"):
        load_callers(tmp_path / "missing.toml")
    assert BUILT_IN.is_file()
