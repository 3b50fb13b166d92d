"""An image is named by an exact version, which is this project's own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence

from k8s.check.manifests import Finding, Manifest, pods, subject
from k8s.check.workloads import REPOSITORY

RULE = "images"


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    pinned = re.compile(rf"[\w.-]+/anamnesis/[a-z-]+:{re.escape(version)}(@sha256:[0-9a-f]{{64}})?")
    for pod in pods(manifests):
        for container in pod.containers:
            if not pinned.fullmatch(container["image"]):
                message = f"image {container['image']} is not of the project's version {version}"
                yield Finding(RULE, subject(pod.owner), message)
