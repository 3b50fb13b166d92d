"""Whatever selects pods selects some, and whatever names an object names one that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8s.check.manifests import NAMESPACE, Finding, Manifest, named, of_kind, pods, selects, subject

RULE = "selectors"
# Strimzi's pods are no manifests of ours; it gives them these labels.
STRIMZI = {"strimzi.io/cluster": "anamnesis", "strimzi.io/kind": "Kafka", "strimzi.io/name": "anamnesis-kafka"}


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    labels = [pod.labels for pod in pods(manifests)]
    for manifest in of_kind(manifests, "Deployment", "StatefulSet"):
        if not selects(manifest["spec"]["selector"], manifest["spec"]["template"]["metadata"]["labels"]):
            yield Finding(RULE, subject(manifest), "its selector does not select its own pods")
        for pod in pods(manifests):
            if pod.owner is not manifest and selects(manifest["spec"]["selector"], pod.labels):
                yield Finding(RULE, subject(manifest), f"its selector selects the pods of {subject(pod.owner)} too")
    for manifest in of_kind(manifests, "Service"):
        if not any(selects({"matchLabels": manifest["spec"]["selector"]}, of_pod) for of_pod in labels):
            yield Finding(RULE, subject(manifest), f"selects no pod: {manifest['spec']['selector']}")
    for manifest in of_kind(manifests, "PodDisruptionBudget"):
        if not any(selects(manifest["spec"]["selector"], of_pod) for of_pod in labels):
            yield Finding(RULE, subject(manifest), "selects no pod")
    for manifest in of_kind(manifests, "NetworkPolicy"):
        if labels and not any(selects(manifest["spec"]["podSelector"], of_pod) for of_pod in [*labels, STRIMZI]):
            yield Finding(RULE, subject(manifest), "selects no pod")
    for pod in pods(manifests):
        for constraint in pod.spec.get("topologySpreadConstraints", []):
            if not selects(constraint.get("labelSelector"), pod.labels):
                yield Finding(RULE, subject(pod.owner), f"spreads over {constraint['topologyKey']} pods not its own")
        account = pod.spec.get("serviceAccountName", "default")
        if named(manifests, "ServiceAccount", account) is None:
            yield Finding(RULE, subject(pod.owner), f"there is no ServiceAccount {account}")
    yield from _targets(manifests)
    yield from _places(manifests)


def _targets(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for manifest in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = manifest["spec"]["scaleTargetRef"]
        if named(manifests, target["kind"], target["name"]) is None:
            yield Finding(RULE, subject(manifest), f"there is no {target['kind']} {target['name']} to scale")


def _places(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    """Claims and ConfigMaps that pods mount are there, and everything lives in our namespace."""
    for pod in pods(manifests):
        for volume in pod.spec.get("volumes", []):
            for field, kind, key in (
                ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
                ("configMap", "ConfigMap", "name"),
            ):
                name = volume.get(field, {}).get(key)
                if name is not None and named(manifests, kind, name) is None:
                    yield Finding(RULE, subject(pod.owner), f"there is no {kind} {name}")
    for manifest in manifests:
        if manifest["kind"] != "Namespace" and manifest["metadata"].get("namespace") != NAMESPACE:
            yield Finding(RULE, subject(manifest), f"is not in the namespace {NAMESPACE}")
