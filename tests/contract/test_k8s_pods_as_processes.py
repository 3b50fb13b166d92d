"""What a pod would run, run here as a process: the manifests' own arguments, variables, files and probes.

Those services are taken that need no engine and no broker to be ready. Only places differ: ports are free ones, mounts
are directories of the test, the host is the loopback interface, telemetry goes to the tests' receiver.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anamnesis.rubric.v1 import rubric_pb2, rubric_pb2_grpc
from k8s.check.configuration import mounted_file, settings_of, variables, workload_of
from k8s.check.manifests import K8S, Manifest, Pod, pods, read_plain
from service_kit.local_stack.readiness import is_ready
from simulator_svc.cases.library import BUILT_IN
from tests.certificates import Authority
from tests.otlp_receiver import OtlpReceiver

STARTED_BY_THEMSELVES = ("gateway", "simulator", "rubric", "trainer")
START_SECONDS = 60.0


@dataclass
class Running:
    pod: Pod
    process: asyncio.subprocess.Process
    health_port: int
    grpc_port: int

    def probe(self, name: str) -> bool:
        """As the kubelet would: plaintext, on the health port, for the probe's service."""
        grpc_probe = self.pod.spec["containers"][0][name]["grpc"]
        return is_ready(self.health_port, grpc_probe["service"])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def with_certificates(pod: Pod) -> None:
    """What the component adds to the container."""
    patch = yaml.safe_load((K8S / "components" / "mtls" / f"{pod.name}.yaml").read_text(encoding="utf-8"))
    pod.spec["containers"][0]["env"] += patch["spec"]["template"]["spec"]["containers"][0]["env"]


def certificates(directory: Path, name: str) -> None:
    """As cert-manager names the files in a Secret."""
    issued = Authority.make().issue(directory, name)
    for file, key in ((issued.certificate, "tls.crt"), (issued.key, "tls.key"), (issued.ca, "ca.crt")):
        file.rename(directory / key)


@asynccontextmanager
async def started(name: str, scratch: Path, otlp: OtlpReceiver, *, tls: bool) -> AsyncIterator[Running]:
    manifests: list[Manifest] = read_plain(K8S / "base")
    pod = next(pod for pod in pods(manifests) if pod.name == name)
    workload = workload_of(pod)
    assert workload is not None
    container = pod.spec["containers"][0]
    if tls:
        with_certificates(pod)
        for folder in ("tls", "public-tls"):
            certificates(scratch / folder, name)
    settings = settings_of(pod, workload, manifests)
    ports = {
        setting: free_port() for setting in ("grpc_port", "rest_port", "health_port") if hasattr(settings, setting)
    }
    places = {"/etc/anamnesis": str(scratch), '"/cases"': f'"{BUILT_IN}"', "/models": str(scratch)}
    moved = {"host": "127.0.0.1", "state_dir": str(scratch / "state"), "otlp_endpoint": otlp.endpoint, **ports}
    environment = variables(container)
    config = scratch / "config.toml"
    config.write_text(_in(places, mounted_file(pod, container, environment[f"{workload.prefix}CONFIG"], manifests)))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *container["args"],
        cwd=scratch,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            **{key: _in(places, value) for key, value in environment.items()},
            f"{workload.prefix}CONFIG": str(config),
            **{f"{workload.prefix}{setting.upper()}": str(value) for setting, value in moved.items()},
        },
    )
    try:
        yield Running(pod, process, ports["health_port"], ports["grpc_port"])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _in(places: dict[str, str], text: str) -> str:
    for place, here in places.items():
        text = text.replace(place, here)
    return text


async def becomes(condition: Callable[[], bool], process: asyncio.subprocess.Process, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert process.returncode is None, f"the process ended with {process.returncode}"
        assert time.monotonic() < until, "not in time"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", STARTED_BY_THEMSELVES)
async def test_a_pods_process_passes_its_probes_and_ends_within_its_grace(
    name: str, tmp_path: Path, otlp: OtlpReceiver
) -> None:
    async with started(name, tmp_path, otlp, tls=True) as running:
        await becomes(lambda: running.probe("startupProbe"), running.process, START_SECONDS)
        assert running.probe("livenessProbe") and running.probe("readinessProbe")
        # No probe but those of the health port: the others want certificates.
        assert not is_ready(running.grpc_port, "")
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), running.pod.spec["terminationGracePeriodSeconds"]) == 0


async def test_the_health_port_serves_nothing_but_health(tmp_path: Path, otlp: OtlpReceiver) -> None:
    async with started("rubric", tmp_path, otlp, tls=False) as running:
        await becomes(lambda: running.probe("readinessProbe"), running.process, START_SECONDS)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.health_port}") as channel:
            rubrics = rubric_pb2_grpc.RubricServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await rubrics.ScoreDialogue(rubric_pb2.ScoreDialogueRequest(), timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=10)
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            watch.cancel()
