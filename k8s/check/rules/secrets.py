"""No secret stands in a file: a Secret is referred to by name, and its maker is elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from k8s.check.manifests import Finding, Manifest, of_kind, pods, subject

RULE = "secrets"
SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|CREDENTIAL|API_?KEY", re.IGNORECASE)
SECRET_SETTING = re.compile(
    r"^\s*\w*(password|secret|credential|api_?key|auth_token)\w*\s*=", re.IGNORECASE | re.MULTILINE
)


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for manifest in of_kind(manifests, "Secret"):
        yield Finding(RULE, subject(manifest), "is a Secret in a file")
    for pod in pods(manifests):
        for container in pod.containers:
            for entry in container.get("env", []):
                if SECRET_NAME.search(entry["name"]) and "value" in entry:
                    yield Finding(RULE, subject(pod.owner), f"{entry['name']} stands here in plain text")
    for manifest in of_kind(manifests, "ConfigMap"):
        for key, text in manifest.get("data", {}).items():
            for setting in SECRET_SETTING.finditer(text):
                yield Finding(RULE, subject(manifest), f"{key} holds {setting.group().strip(' =')}")
