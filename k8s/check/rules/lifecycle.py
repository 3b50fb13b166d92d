"""A pod that is told to stop has the time that its process was promised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8s.check.configuration import readable
from k8s.check.manifests import Finding, Manifest, subject
from service_kit.telemetry import FLUSH_SECONDS

RULE = "lifecycle"


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for pod, _, settings in readable(manifests):
        pause = pod.spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pause <= 0:
            yield Finding(RULE, subject(pod.owner), "preStop leaves callers no time to learn that the address goes")
        # serve() lets calls finish for drain_seconds, and then close() may take as long.
        needed = pause + 2 * settings.drain_seconds + FLUSH_SECONDS
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        if grace <= needed:
            yield Finding(RULE, subject(pod.owner), f"is killed after {grace} s, and stopping may take {needed:g} s")
