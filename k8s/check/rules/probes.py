"""Every service is started, kept alive and made ready by its own gRPC health, on its plaintext port."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8s.check.configuration import readable
from k8s.check.manifests import Finding, Manifest, subject

RULE = "probes"


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for pod, workload, settings in readable(manifests):
        container = pod.spec["containers"][0]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            grpc = container.get(probe, {}).get("grpc")
            if grpc is None:
                yield Finding(RULE, subject(pod.owner), f"has no gRPC {probe}")
                continue
            if grpc["port"] != settings.health_port:
                message = f"{probe} asks port {grpc['port']}, health is on {settings.health_port}"
                yield Finding(RULE, subject(pod.owner), message)
            service, wanted = grpc.get("service", ""), {""} if probe == "livenessProbe" else workload.health
            if service not in wanted:
                yield Finding(RULE, subject(pod.owner), f"{probe} asks for {service!r}, not one of {sorted(wanted)}")
