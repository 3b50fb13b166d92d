"""A port is the same in the process's settings, on its container, on its Service and in its callers' targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8s.check.configuration import readable
from k8s.check.manifests import Finding, Manifest, Pod, named, of_kind, pods, selects, subject
from k8s.check.topology import service_calls
from service_kit.settings import ServiceSettings

RULE = "ports"
GRPC = "grpc://"


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    yield from _services(manifests)
    for pod, _, settings in readable(manifests):
        declared = container_ports(pod)
        for name, setting in (("grpc", "grpc_port"), ("rest", "rest_port"), ("health", "health_port")):
            wanted = getattr(settings, setting, None)
            if declared.get(name) != wanted:
                yield Finding(RULE, subject(pod.owner), f"port {name} is {declared.get(name)}, {setting} is {wanted}")
        for setting, target in targets(settings):
            for message in _wrong_target(pod, target, manifests):
                yield Finding(RULE, subject(pod.owner), f"{setting} = {target}: {message}")


def container_ports(pod: Pod) -> dict[str, int]:
    ports: list[Manifest] = pod.spec["containers"][0].get("ports", [])
    return {port["name"]: port["containerPort"] for port in ports}


def targets(settings: ServiceSettings) -> Iterator[tuple[str, str]]:
    """Every host:port of another service, with the setting's name."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if name.endswith("_target") and isinstance(value, str):
            yield name, value
        elif name.endswith("_targets"):
            yield from ((name, target) for target in value)
        elif name == "candidates":
            yield from ((name, address.removeprefix(GRPC)) for address in value.values() if address.startswith(GRPC))


def _services(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for service in of_kind(manifests, "Service"):
        spec = service["spec"]
        for pod in pods(manifests):
            if not selects({"matchLabels": spec["selector"]}, pod.labels):
                continue
            ports = container_ports(pod)
            for port in spec["ports"]:
                if ports.get(port["targetPort"], port["targetPort"]) != port["port"]:
                    yield Finding(RULE, subject(service), f"port {port['port']} leads to {port['targetPort']}")
            balanced_by_clients = pod.name in {callee for _, callee in service_calls()}
            if balanced_by_clients and spec.get("clusterIP") != "None":
                yield Finding(RULE, subject(service), "is not headless: gRPC's clients would see one address")


def _wrong_target(pod: Pod, target: str, manifests: Sequence[Manifest]) -> Iterator[str]:
    host, _, port = target.rpartition(":")
    service = named(manifests, "Service", host)
    if service is None:
        yield "there is no such Service"
    elif port not in {str(entry["port"]) for entry in service["spec"]["ports"]}:
        yield "the Service has no such port"
    else:
        selector = {"matchLabels": service["spec"]["selector"]}
        behind = {other.name for other in pods(manifests) if selects(selector, other.labels)}
        if not {(pod.name, name) for name in behind} & service_calls():
            yield f"{pod.name} has no business with it"
