"""Every container says what it needs and what it may take at most, memory and processor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8s.check.manifests import Finding, Manifest, pods, subject

RULE = "resources"


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for pod in pods(manifests):
        for container in pod.containers:
            for bound in ("requests", "limits"):
                for resource in ("cpu", "memory"):
                    if resource not in container.get("resources", {}).get(bound, {}):
                        message = f"container {container['name']} has no {bound} of {resource}"
                        yield Finding(RULE, subject(pod.owner), message)
