"""What scales a workload is measured by the workload, is answered by the adapter, and stops where more would idle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from k8s.check.configuration import readable
from k8s.check.manifests import K8S, Finding, Manifest, named, of_kind, subject
from k8s.telemetry.catalogue import catalogue
from service_kit.kafka.settings import KafkaSettings
from simulator_svc.rollout.worker import REQUESTS

RULE = "autoscaling"
ADAPTER = K8S / "components" / "autoscaling" / "prometheus-adapter.values.yaml"


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    adapted = _adapted()
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        workload = scaler["spec"]["scaleTargetRef"]["name"]
        for metric in scaler["spec"]["metrics"]:
            name = metric.get("pods", {}).get("metric", {}).get("name", "")
            if name not in exported(workload):
                yield Finding(RULE, subject(scaler), f"{name or metric['type']} is no metric that its pods export")
            elif name not in adapted:
                yield Finding(RULE, subject(scaler), f"the adapter has no rule for {name}")
    for scaler in of_kind(manifests, "ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            for message in _wrong_trigger(manifests, scaler, trigger):
                yield Finding(RULE, subject(scaler), message)
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]
        scaled = named(manifests, target["kind"], target["name"])
        if scaled is not None and "replicas" in scaled["spec"]:
            yield Finding(
                RULE, subject(scaled), "sets replicas, which an autoscaler sets too: each apply would undo it"
            )


def _wrong_trigger(manifests: Sequence[Manifest], scaler: Manifest, trigger: Manifest) -> Iterator[str]:
    asked: dict[str, Any] = trigger["metadata"]
    topic = named(manifests, "KafkaTopic", asked.get("topic", ""))
    if asked.get("topic") != REQUESTS or topic is None:
        yield f"watches the topic {asked.get('topic')}, and the workers read {REQUESTS}"
    elif scaler["spec"]["maxReplicaCount"] != topic["spec"]["partitions"]:
        at_most, partitions = scaler["spec"]["maxReplicaCount"], topic["spec"]["partitions"]
        yield f"scales to {at_most} workers, and the topic has {partitions} partitions"
    for pod, _, settings in readable(manifests):
        if pod.name != scaler["spec"]["scaleTargetRef"]["name"]:
            continue
        if asked.get("consumerGroup") != getattr(settings, "group", None):
            yield f"watches the group {asked.get('consumerGroup')}, not the workers' own"
        broker: KafkaSettings = getattr(settings, "kafka", KafkaSettings())
        if asked["bootstrapServers"].replace(".anamnesis.svc", "") != broker.bootstrap:
            yield f"asks {asked['bootstrapServers']}, and the workers {broker.bootstrap}"
        concurrency = getattr(settings, "concurrency", 0)
        if asked["lagThreshold"] != str(concurrency):
            yield f"a worker plays {concurrency} at once, lagThreshold is {asked['lagThreshold']}"


def exported(workload: str) -> set[str]:
    """Prometheus names of what a workload's process measures."""
    return {metric.prometheus for metric in catalogue().values() if workload in metric.services}


def _adapted(file: Path = ADAPTER) -> set[str]:
    rules = yaml.safe_load(file.read_text(encoding="utf-8"))["rules"]["custom"]
    return {rule["seriesQuery"].partition("{")[0] for rule in rules}
