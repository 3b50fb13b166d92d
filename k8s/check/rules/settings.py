"""Every setting is one that the service accepts, and every path in it is mounted where it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel

from k8s.check.configuration import Unreadable, settings_of, workload_of
from k8s.check.manifests import Finding, Manifest, pods, subject

RULE = "settings"


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for pod in pods(manifests):
        workload = workload_of(pod)
        if workload is None:
            continue
        try:
            settings = settings_of(pod, workload, manifests)
        except Unreadable as unreadable:
            for problem in unreadable.problems:
                yield Finding(RULE, subject(pod.owner), problem)
            continue
        container = pod.spec["containers"][0]
        if container.get("args") != ["-m", workload.module]:
            yield Finding(RULE, subject(pod.owner), f"runs {container.get('args')}, not -m {workload.module}")
        mounts = {mount["mountPath"]: bool(mount.get("readOnly")) for mount in container["volumeMounts"]}
        for name, path in paths(settings):
            if not any(PurePosixPath(path).is_relative_to(mount) for mount in mounts):
                yield Finding(RULE, subject(pod.owner), f"{name} = {path}, where nothing is mounted")
        if mounts.get(str(settings.state_dir), True):
            yield Finding(RULE, subject(pod.owner), f"state_dir = {settings.state_dir} cannot be written")


def paths(settings: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Absolute paths among the values that were given, with the setting's name."""
    for name in settings.model_fields_set:
        value: Any = getattr(settings, name)
        if isinstance(value, BaseModel):
            yield from paths(value, f"{prefix}{name}.")
        elif isinstance(value, Path | str) and str(value).startswith("/"):
            yield f"{prefix}{name}", str(value)
