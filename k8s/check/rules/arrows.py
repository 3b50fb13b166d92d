"""The network policies allow the calls of callers.toml, DNS, Kafka and telemetry, and not one connection more.

A connection inside the namespace needs two arrows: its caller may send, its callee may receive. Both are looked at for
every pair of pods and every port that any policy or container knows, so an arrow too few and one too many both show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from k8s.check.manifests import NAMESPACE, Finding, Manifest, named, of_kind, pods, selects
from k8s.check.rules.ports import container_ports
from k8s.check.rules.selectors import STRIMZI
from k8s.check.topology import outside_calls, service_calls

RULE = "arrows"
KAFKA_PORT, OTLP_PORT, DNS_PORT = 9093, 4317, 53
# A port that nobody serves: only a policy that names no ports lets it through.
ANY_PORT = 1


@dataclass(frozen=True)
class End:
    """One end of a connection. Names of ends that are not ours stand in brackets."""

    name: str
    namespace: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def ours(self) -> bool:
        return self.namespace == NAMESPACE


def end(name: str, namespace: str, **labels: str) -> End:
    return End(name, namespace, tuple(sorted(labels.items())))


KAFKA = End("kafka", NAMESPACE, tuple(sorted(STRIMZI.items())))
OTLP = End("otlp", "observability", (("app.kubernetes.io/name", "otel-collector"),))
DNS = End("(dns)", "kube-system", (("k8s-app", "kube-dns"),))
ENTRANCE = end("(entrance)", "entrance")
KEDA = end("(keda)", "keda", app="keda-operator")
# The Job of examples/dead-letters: an operator's, no service.
REPLAY = End("(dead-letters)", NAMESPACE, (("app.kubernetes.io/name", "dead-letters"),))
STRANGER = end("(stranger)", "somewhere-else")
OTHERS = (KAFKA, OTLP, DNS, ENTRANCE, KEDA, REPLAY, STRANGER)
NAMESPACE_LABELS = {ENTRANCE.namespace: {"anamnesis/public-entrance": "true"}}

Arrow = tuple[str, str, int]


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    ends = [*_our_ends(manifests), *OTHERS]
    wanted = wanted_arrows(manifests)
    policies = [*of_kind(manifests, "NetworkPolicy"), *_listener_policies(manifests)]
    yield from _nobody(policies, ends)
    known = {port for _, _, port in wanted} | _ports_of(policies) | {ANY_PORT}
    for caller in ends:
        for callee in ends:
            if not (caller.ours or callee.ours) or caller == callee == KAFKA:
                continue
            for port in sorted(known):
                arrow = (caller.name, callee.name, port)
                sends = not caller.ours or allows(policies, "Egress", caller, callee, port)
                receives = not callee.ours or allows(policies, "Ingress", callee, caller, port)
                shown = f"{caller.name} → {callee.name}:{port}"
                if arrow in wanted and not sends and caller != REPLAY:
                    yield Finding(RULE, shown, f"missing: {caller.name} may not send")
                if arrow in wanted and not receives:
                    yield Finding(RULE, shown, f"missing: {callee.name} may not receive")
                # Strimzi's pods speak to the API server, whose address no selector names.
                if arrow not in wanted and sends and receives and caller != KAFKA:
                    yield Finding(RULE, shown, "surplus: callers.toml has no such call")
                elif arrow not in wanted and caller.ours and callee.ours and sends != receives and caller != KAFKA:
                    yield Finding(RULE, shown, f"half: only the {'caller' if sends else 'callee'}'s policy has it")


def _nobody(policies: Sequence[Manifest], ends: Sequence[End]) -> Iterator[Finding]:
    """A peer that is none of the ends is a door to whoever takes its labels."""
    for policy in policies:
        for rules, field in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(rules, []):
                for peer in rule.get(field) or []:
                    if not any(_is(peer, known) for known in ends):
                        yield Finding(RULE, str(peer), f"a policy for {policy['spec']['podSelector']} names nobody")


def wanted_arrows(manifests: Sequence[Manifest]) -> set[Arrow]:
    served = {pod.name: container_ports(pod) for pod in pods(manifests) if pod.serves}
    arrows = {(caller, callee, served.get(callee, {}).get("grpc", 0)) for caller, callee in service_calls()}
    outside = {"kafka": KAFKA_PORT, "otlp": OTLP_PORT}
    arrows |= {(caller, callee, outside[callee]) for caller, callee in outside_calls()}
    arrows |= {(name, DNS.name, DNS_PORT) for name in [*served, KAFKA.name]}
    arrows |= {(ENTRANCE.name, "gateway", served.get("gateway", {}).get(door, 0)) for door in ("grpc", "rest")}
    return arrows | {(asker.name, KAFKA.name, KAFKA_PORT) for asker in (KEDA, REPLAY)}


def allows(policies: Sequence[Manifest], direction: str, subject: End, peer: End, port: int) -> bool:
    """Whether `subject` may send to `peer` (Egress), or receive from it (Ingress). Without a policy everything may."""
    applying = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], dict(subject.labels))
    ]
    if not applying:
        return True
    rules, field = (("egress", "to"), ("ingress", "from"))[direction == "Ingress"]
    return any(
        _covers(rule.get("ports"), port) and _names(rule.get(field), peer)
        for spec in applying
        for rule in spec.get(rules, [])
    )


def _covers(ports: list[Any] | None, port: int) -> bool:
    return not ports or any(entry.get("port") in (None, port) for entry in ports)


def _names(peers: list[Any] | None, peer: End) -> bool:
    return not peers or any(_is(entry, peer) for entry in peers)


def _is(entry: Manifest, peer: End) -> bool:
    if "ipBlock" in entry:
        return peer == STRANGER
    if "namespaceSelector" in entry:
        labels = {"kubernetes.io/metadata.name": peer.namespace, **NAMESPACE_LABELS.get(peer.namespace, {})}
        if not selects(entry["namespaceSelector"], labels):
            return False
    elif not peer.ours:
        return False
    return selects(entry.get("podSelector", {}), dict(peer.labels))


def _our_ends(manifests: Sequence[Manifest]) -> Iterable[End]:
    return {End(pod.name, NAMESPACE, tuple(sorted(pod.labels.items()))) for pod in pods(manifests)}


def _listener_policies(manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """What Strimzi makes of a listener: who may connect, or everybody where it names nobody."""
    cluster = named(manifests, "Kafka", "anamnesis")
    for listener in cluster["spec"]["kafka"]["listeners"] if cluster else []:
        peers = listener.get("networkPolicyPeers", [])
        yield {
            "spec": {
                "podSelector": {"matchLabels": STRIMZI},
                "policyTypes": ["Ingress"],
                "ingress": [{"from": peers, "ports": [{"port": listener["port"]}]}],
            }
        }


def _ports_of(policies: Sequence[Manifest]) -> set[int]:
    return {
        port["port"]
        for policy in policies
        for rules in ("ingress", "egress")
        for rule in policy["spec"].get(rules, [])
        for port in rule.get("ports") or []
        if isinstance(port.get("port"), int)
    }
