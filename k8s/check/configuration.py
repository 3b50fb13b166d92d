"""What a container's process will read as its settings: its variables, and the TOML file out of its ConfigMap.

Invariant: the judgement is the service's own (service_kit.settings); nothing about a setting is repeated here.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from k8s.check.manifests import Manifest, Pod, named, pods
from k8s.check.workloads import WORKLOADS, Workload
from service_kit.settings import ServiceSettings, WrongSettings, read_settings

# Stands for what a Secret holds; no file of ours knows it.
FROM_SECRET = "from-a-secret"


class Unreadable(Exception):
    """The settings cannot be put together or are refused; one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


def workload_of(pod: Pod) -> Workload | None:
    """None for what is no service of ours, a Job for example."""
    return WORKLOADS.get(pod.name) if pod.serves else None


def settings_of(pod: Pod, workload: Workload, manifests: Sequence[Manifest]) -> ServiceSettings:
    """As the process will read them. Raises Unreadable."""
    container = pod.spec["containers"][0]
    environment = variables(container)
    foreign = [name for name in environment if name.startswith("ANAMNESIS_") and not name.startswith(workload.prefix)]
    if foreign:
        raise Unreadable([f"{name} is read by no part of {workload.module}" for name in foreign])
    path = environment.get(f"{workload.prefix}CONFIG")
    if path is None:
        raise Unreadable([f"{workload.prefix}CONFIG is not set"])
    return _read(workload, tuple(environment.items()), mounted_file(pod, container, path, manifests))


@functools.lru_cache(maxsize=256)
def _read(workload: Workload, environment: tuple[tuple[str, str], ...], text: str) -> ServiceSettings:
    """Many rules ask for the same settings."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        with environment_of({**dict(environment), f"{workload.prefix}CONFIG": file.name}):
            try:
                return read_settings(workload.settings, workload.service)
            except WrongSettings as wrong:
                raise Unreadable(wrong.problems) from wrong


def readable(manifests: Sequence[Manifest]) -> Iterator[tuple[Pod, Workload, ServiceSettings]]:
    """Every service with its settings; one whose settings are refused is the settings rule's affair alone."""
    for pod in pods(manifests):
        workload = workload_of(pod)
        if workload is None:
            continue
        try:
            settings = settings_of(pod, workload, manifests)
        except Unreadable:
            continue
        yield pod, workload, settings


def variables(container: Manifest) -> dict[str, str]:
    return {entry["name"]: str(entry.get("value", FROM_SECRET)) for entry in container.get("env", [])}


def mounted_file(pod: Pod, container: Manifest, path: str, manifests: Sequence[Manifest]) -> str:
    """The text of a file that a ConfigMap puts at `path`. Raises Unreadable."""
    for mount in container.get("volumeMounts", []):
        if not PurePosixPath(path).is_relative_to(mount["mountPath"]):
            continue
        volume = next(v for v in pod.spec["volumes"] if v["name"] == mount["name"])
        config_map = named(manifests, "ConfigMap", volume.get("configMap", {}).get("name", ""))
        if config_map is None:
            raise Unreadable([f"volume {mount['name']} is of no ConfigMap here"])
        key = str(PurePosixPath(path).relative_to(mount["mountPath"]))
        if key not in config_map["data"]:
            raise Unreadable([f"ConfigMap {config_map['metadata']['name']} has no {key}"])
        return str(config_map["data"][key])
    raise Unreadable([f"nothing is mounted at {path}"])


@contextlib.contextmanager
def environment_of(variables: Mapping[str, str]) -> Iterator[None]:
    """This process has these ANAMNESIS_* variables and no others, until the end of the block."""
    before = dict(os.environ)
    try:
        for name in [name for name in os.environ if name.upper().startswith("ANAMNESIS_")]:
            del os.environ[name]
        os.environ.update({name: value for name, value in variables.items() if name.startswith("ANAMNESIS_")})
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
