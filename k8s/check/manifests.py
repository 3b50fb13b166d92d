"""Rendered manifests and the few questions that every rule asks of them. Nothing here judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).resolve().parents[1]
NAMESPACE = "anamnesis"
NAME_LABEL = "app.kubernetes.io/name"

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """Something is wrong with `subject` (Kind/name), and a person can mend it from `message` alone."""

    rule: str
    subject: str
    message: str


@dataclass(frozen=True)
class Pod:
    """A pod template and who makes pods of it."""

    owner: Manifest
    template: Manifest

    @property
    def name(self) -> str:
        return str(self.labels.get(NAME_LABEL, self.owner["metadata"]["name"]))

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.template["metadata"].get("labels", {}))

    @property
    def spec(self) -> Manifest:
        spec: Manifest = self.template["spec"]
        return spec

    @property
    def containers(self) -> list[Manifest]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def serves(self) -> bool:
        """A service that runs until it is told to stop, not a Job."""
        return self.owner["kind"] in ("Deployment", "StatefulSet", "LeaderWorkerSet")


def subject(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> Iterator[Manifest]:
    return (manifest for manifest in manifests if manifest["kind"] in kinds)


def named(manifests: Iterable[Manifest], kind: str, name: str) -> Manifest | None:
    return next((manifest for manifest in of_kind(manifests, kind) if manifest["metadata"]["name"] == name), None)


def pods(manifests: Iterable[Manifest]) -> Iterator[Pod]:
    """Every pod template of built-in workloads, and of LeaderWorkerSets."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield Pod(manifest, manifest["spec"]["template"])
        elif manifest["kind"] == "LeaderWorkerSet":
            group = manifest["spec"]["leaderWorkerTemplate"]
            for template in ("leaderTemplate", "workerTemplate"):
                if template in group:
                    yield Pod(manifest, group[template])


def selects(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A label selector over labels; None selects nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_expression_holds(expression, labels) for expression in selector.get("matchExpressions", []))


def _expression_holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values", [])
    return {
        "In": value is not None and value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }[str(expression["operator"])]


def read_plain(directory: Path) -> list[Manifest]:
    """A kustomization of resources and generated ConfigMaps alone (the base), read without kustomize."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text(encoding="utf-8"))
    manifests = [
        m for name in kustomization["resources"] for m in parse((directory / name).read_text(encoding="utf-8"))
    ]
    for generator in kustomization.get("configMapGenerator", []):
        files = [directory / name for name in generator["files"]]
        manifests.append(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": generator["name"], "namespace": generator["namespace"]},
                "data": {file.name: file.read_text(encoding="utf-8") for file in files},
            }
        )
    return manifests


def parse(text: str) -> list[Manifest]:
    return [document for document in yaml.safe_load_all(text) if document]
