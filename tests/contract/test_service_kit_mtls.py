"""Mutual TLS between services: who is not who it should be is refused, each with a reason on both ends' side."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from anamnesis.simulator.v1 import simulator_pb2 as pb
from anamnesis.simulator.v1 import simulator_pb2_grpc as services
from service_kit.errors import Code, ServiceError
from service_kit.grpc.certificates import CertificatesWrong
from service_kit.grpc.channel import open_channel, service_error
from service_kit.grpc.server import GrpcServer, StartFailed
from service_kit.settings import ServiceSettings
from service_kit.tls import KeyPair, TlsSettings, Trust
from tests.certificates import DAY, Authority
from tests.contract.service_kit_probe import SERVICE, Probe, register

CALLERS = f"""
[probe."{SERVICE}"]
GetCase = ["gateway"]
Consult = ["gateway"]
"""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority.make("another authority")


def table(tmp_path: Path) -> Path:
    path = tmp_path / "callers.toml"
    path.write_text(CALLERS)
    return path


@asynccontextmanager
async def serving(tmp_path: Path, tls: TlsSettings, **settings: Any) -> AsyncIterator[tuple[GrpcServer, str]]:
    server = GrpcServer(ServiceSettings(tls=tls, callers_file=table(tmp_path), **settings), "probe", register(Probe()))
    port = await server.start()
    await server.ready()
    try:
        yield server, f"127.0.0.1:{port}"
    finally:
        await server.drain(0)


@pytest.fixture
async def server_process(tmp_path: Path, authority: Authority) -> AsyncIterator[tuple[str, Path]]:
    """Target and log of a process: the log of refused handshakes is written by gRPC's core, below Python."""
    files, log = authority.issue(tmp_path / "server", "probe"), tmp_path / "server.log"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANAMNESIS_")} | {
        "ANAMNESIS_PROBE_GRPC_PORT": str(port),
        "ANAMNESIS_PROBE_TLS__CERTIFICATE": str(files.certificate),
        "ANAMNESIS_PROBE_TLS__KEY": str(files.key),
        "ANAMNESIS_PROBE_TLS__CA": str(files.ca),
        "ANAMNESIS_PROBE_CALLERS_FILE": str(table(tmp_path)),
    }
    with log.open("wb") as stderr:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.contract.service_kit_probe", env=environment, stderr=stderr
        )
        try:
            async with asyncio.timeout(20):
                while b'"serving"' not in log.read_bytes():
                    await asyncio.sleep(0.05)
            yield f"127.0.0.1:{port}", log
        finally:
            started.terminate()
            await started.wait()


async def get_case(channel: grpc.aio.Channel, seconds: float = 5) -> None:
    stub: Any = services.PatientSimulatorServiceStub(channel)
    await stub.GetCase(pb.GetCaseRequest(case_id="c"), timeout=seconds)


async def refusal(channel: grpc.aio.Channel) -> ServiceError:
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await get_case(channel)
    return service_error(error.value, "the probe")


async def logged(log: Path, text: str) -> None:
    async with asyncio.timeout(5):
        while text.encode() not in log.read_bytes():
            await asyncio.sleep(0.02)


def unchecked(files: TlsSettings) -> grpc.ChannelCredentials:
    """What a client shows that does not look at its own certificate first, as ours do."""
    return grpc.ssl_channel_credentials(files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes())


async def test_two_that_know_each_other_speak(tmp_path: Path, authority: Authority) -> None:
    caller = authority.issue(tmp_path, "gateway")
    async with (
        serving(tmp_path, authority.issue(tmp_path, "probe")) as (_, target),
        open_channel(target, tls=caller, peer="probe") as channel,
    ):
        await get_case(channel)


HANG_UP = "it refuses our certificate"


@pytest.mark.parametrize(
    ("who", "told", "written"),
    [
        ("signed by another authority", HANG_UP, "unable to get local issuer certificate"),
        ("expired", HANG_UP, "certificate has expired"),
        ("without a certificate", HANG_UP, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        ("in plaintext", "either it wants TLS", "WRONG_VERSION_NUMBER"),
    ],
)
async def test_a_caller_that_is_refused_in_the_handshake_is_told_and_written_down(
    server_process: tuple[str, Path],
    tmp_path: Path,
    authority: Authority,
    stranger: Authority,
    who: str,
    told: str,
    written: str,
) -> None:
    target, log = server_process
    made: dict[str, Callable[[], grpc.ChannelCredentials]] = {
        "signed by another authority": lambda: unchecked(stranger.issue(tmp_path, "gateway", trust=authority)),
        "expired": lambda: unchecked(authority.issue(tmp_path, "gateway", expires=-DAY)),
        "without a certificate": lambda: grpc.ssl_channel_credentials(
            authority.issue(tmp_path, "gateway").ca.read_bytes()
        ),
    }
    if who == "in plaintext":
        channel = open_channel(target)
    else:
        channel = grpc.aio.secure_channel(target, made[who](), [("grpc.default_authority", "probe")])
    error = await refusal(channel)
    assert error.code is Code.UNAVAILABLE
    assert told in error.message
    await logged(log, written)


async def test_a_caller_with_the_wrong_identity_is_refused_by_name(
    server_process: tuple[str, Path], tmp_path: Path, authority: Authority
) -> None:
    target, log = server_process
    error = await refusal(open_channel(target, tls=authority.issue(tmp_path, "rubric"), peer="probe"))
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "CALLER_NOT_ALLOWED")
    assert error.metadata["caller"] == "rubric"
    assert error.message == f"rubric may not call {SERVICE}/GetCase of probe"
    await logged(log, '"caller": "rubric"')


@pytest.mark.parametrize("identity", ["spiffe://elsewhere/gateway", "https://anamnesis/gateway"])
async def test_a_caller_without_an_identity_of_ours_is_refused(
    tmp_path: Path, authority: Authority, identity: str
) -> None:
    caller = authority.issue(tmp_path, "gateway", identity=identity)
    async with serving(tmp_path, authority.issue(tmp_path, "probe")) as (_, target):
        error = await refusal(open_channel(target, tls=caller, peer="probe"))
    assert (error.code, error.reason) == (Code.PERMISSION_DENIED, "CALLER_HAS_NO_IDENTITY")


async def test_a_server_signed_by_another_authority_is_not_spoken_to(
    tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    async with serving(tmp_path, stranger.issue(tmp_path, "probe")) as (_, target):
        error = await refusal(open_channel(target, tls=authority.issue(tmp_path, "gateway"), peer="probe"))
    assert error.code is Code.UNAVAILABLE
    assert "unable to get local issuer certificate" in error.message


async def test_a_server_that_is_somebody_else_is_not_spoken_to(tmp_path: Path, authority: Authority) -> None:
    async with serving(tmp_path, authority.issue(tmp_path, "probe")) as (_, target):
        error = await refusal(open_channel(target, tls=authority.issue(tmp_path, "gateway"), peer="rubric"))
    assert error.code is Code.UNAVAILABLE
    assert "Hostname Verification Check failed" in error.message


async def test_a_server_in_plaintext_is_not_spoken_to(tmp_path: Path, authority: Authority) -> None:
    server = GrpcServer(ServiceSettings(), "probe", register(Probe()))
    port = await server.start()
    await server.ready()
    caller = authority.issue(tmp_path, "gateway")
    error = await refusal(open_channel(f"127.0.0.1:{port}", tls=caller, peer="probe"))
    await server.drain(0)
    assert error.code is Code.UNAVAILABLE
    assert "WRONG_VERSION_NUMBER" in error.message


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("expired", "certificate has expired"),
        ("signed by another authority", "unable to get local issuer certificate"),
        ("of another key", "key values mismatch"),
        ("missing", "No such file or directory"),
    ],
)
async def test_wrong_certificates_of_our_own_are_found_before_anybody_refuses_them(
    tmp_path: Path, authority: Authority, stranger: Authority, fault: str, why: str
) -> None:
    files = authority.issue(tmp_path, "probe", expires=-DAY if fault == "expired" else DAY)
    if fault == "signed by another authority":
        files = stranger.issue(tmp_path, "probe", trust=authority)
    elif fault == "of another key":
        files.key.write_bytes(authority.issue(tmp_path, "other").key.read_bytes())
    elif fault == "missing":
        files.key.unlink()
    with pytest.raises(CertificatesWrong, match=why):
        open_channel("127.0.0.1:1", tls=files, peer="probe")
    with pytest.raises(StartFailed, match=why):
        await GrpcServer(ServiceSettings(tls=files), "probe", register(Probe())).start()


async def test_certificates_are_renewed_under_a_server_and_a_client_that_run(
    tmp_path: Path, authority: Authority
) -> None:
    """The whole authority changes: its files first trust both, then only the new one. Nothing is restarted."""
    new = Authority.make("the next authority")
    server_files, caller_files = authority.issue(tmp_path, "probe"), authority.issue(tmp_path, "gateway")
    old_caller = authority.issue(tmp_path / "old", "gateway", trust=new)
    async with (
        serving(tmp_path, server_files) as (_, target),
        open_channel(target, tls=caller_files, peer="probe") as channel,
    ):
        stub: Any = services.PatientSimulatorServiceStub(channel)
        begun = stub.Consult()
        await begun.write(pb.ConsultRequest(doctor_turn="before"))
        assert (await begun.read()).patient_turn == "before"

        new.issue(tmp_path, "probe")
        new.issue(tmp_path, "gateway")
        await get_case(channel)  # over a new connection: the old one would have been good as well
        error = await refusal(
            grpc.aio.secure_channel(target, unchecked(old_caller), [("grpc.default_authority", "probe")])
        )
        assert error.code is Code.UNAVAILABLE  # its authority is trusted no more

        await begun.write(pb.ConsultRequest(doctor_turn="after"))  # and what was begun goes on
        assert (await begun.read()).patient_turn == "after"
        begun.cancel()


async def test_a_half_written_renewal_is_not_taken_and_the_next_whole_one_is(
    tmp_path: Path, authority: Authority
) -> None:
    files = authority.issue(tmp_path, "probe")
    caller = authority.issue(tmp_path, "gateway")
    async with serving(tmp_path, files) as (_, target):
        files.certificate.write_bytes(authority.issue(tmp_path / "next", "probe").certificate.read_bytes())
        async with open_channel(target, tls=caller, peer="probe") as channel:
            await get_case(channel)  # shown is still the pair that belongs together
        files.key.write_bytes((tmp_path / "next" / "probe.key").read_bytes())
        async with open_channel(target, tls=caller, peer="probe") as channel:
            await get_case(channel)


async def test_the_health_port_speaks_plaintext_and_serves_health_alone(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue(tmp_path, "probe")
    async with (
        serving(tmp_path, files, health_port=0) as (server, _),
        open_channel(f"127.0.0.1:{server.health_port}") as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await get_case(channel)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await reflected(channel)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("asked", "offered"), [(None, False), (True, True)])
async def test_with_tls_reflection_is_off_unless_it_is_asked_for(
    tmp_path: Path, authority: Authority, asked: bool | None, offered: bool
) -> None:
    files = authority.issue(tmp_path, "probe")
    async with (
        serving(tmp_path, files, reflection=asked) as (_, target),
        open_channel(target, tls=authority.issue(tmp_path, "gateway"), peer="probe") as channel,
    ):
        if offered:
            assert await reflected(channel)
        else:
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await reflected(channel)
            assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def reflected(channel: grpc.aio.Channel) -> list[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    async for answer in stub.ServerReflectionInfo(requests, timeout=5):
        return [service.name for service in answer.list_services_response.service]
    return []


async def test_a_public_door_shows_a_certificate_and_asks_for_none(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue(tmp_path, "localhost")

    class Public(ServiceSettings):
        @property
        def listener_tls(self) -> KeyPair:
            return KeyPair(certificate=files.certificate, key=files.key)

    server = GrpcServer(Public(), "gateway", register(Probe()))
    port = await server.start()
    await server.ready()
    async with open_channel(f"localhost:{port}", tls=Trust(ca=files.ca)) as channel:
        await get_case(channel)
    await server.drain(0)
