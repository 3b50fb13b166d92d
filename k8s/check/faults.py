"""Faults that people make, each planted into manifests that are whole, and the check that must see it.

A rule that cannot find its fault is no rule. `caught_by` names the rule of our own, "schema" or checkov's check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

from k8s.check.manifests import Manifest, named, parse

Plant = Callable[[list[Manifest]], None]


@dataclass(frozen=True)
class Fault:
    name: str
    caught_by: str
    plant: Plant
    by_tool: bool = False

    def planted(self, manifests: Sequence[Manifest]) -> list[Manifest]:
        faulty = deepcopy(list(manifests))
        self.plant(faulty)
        return faulty


@dataclass(frozen=True)
class DockerFault:
    """A line of a Dockerfile, changed; hadolint must see it."""

    name: str
    caught_by: str
    file: str
    line: str
    planted_line: str

    def planted(self, text: str) -> str:
        assert self.line in text, f"{self.file} has no {self.line} to plant a fault in"
        return text.replace(self.line, self.planted_line, 1)


def _of(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    manifest = named(manifests, kind, name)
    assert manifest is not None, f"there is no {kind}/{name} to plant a fault in"
    return manifest


def _spec(manifests: Sequence[Manifest], name: str) -> Manifest:
    """The pod of a workload."""
    kind = "StatefulSet" if name == "trainer" else "Deployment"
    spec: Manifest = _of(manifests, kind, name)["spec"]["template"]["spec"]
    return spec


def _container(manifests: Sequence[Manifest], name: str) -> Manifest:
    container: Manifest = _spec(manifests, name)["containers"][0]
    return container


def _config(manifests: Sequence[Manifest], name: str) -> Manifest:
    """The ConfigMap with the workload's TOML: kustomize puts a hash behind its name."""
    data = next(m["data"] for m in manifests if m["kind"] == "ConfigMap" and f"{name}.toml" in m.get("data", {}))
    assert isinstance(data, dict)
    return data


def _rules(manifests: Sequence[Manifest], policy: str, direction: str) -> list[Manifest]:
    rules: list[Manifest] = _of(manifests, "NetworkPolicy", policy)["spec"][direction]
    return rules


def _wrong_selector(manifests: list[Manifest]) -> None:
    _of(manifests, "Service", "rubric")["spec"]["selector"]["app.kubernetes.io/name"] = "rubrics"


def _shared_selector(manifests: list[Manifest]) -> None:
    """Without its component the rubrics' autoscaler would count the evaluation's pod."""
    del _of(manifests, "Deployment", "rubric")["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]


def _missing_probe(manifests: list[Manifest]) -> None:
    del _container(manifests, "inference-policy")["startupProbe"]


def _wrong_probe_service(manifests: list[Manifest]) -> None:
    probe = _container(manifests, "rubric")["readinessProbe"]
    probe["grpc"]["service"] = "anamnesis.simulator.v1.PatientSimulatorService"


def _misspelt_probe_service(manifests: list[Manifest]) -> None:
    _container(manifests, "trainer")["readinessProbe"]["grpc"]["service"] = "anamnesis.trainer.v1.TrainingService"


def _readiness_as_liveness(manifests: list[Manifest]) -> None:
    container = _container(manifests, "inference-frozen")
    container["livenessProbe"]["grpc"]["service"] = container["readinessProbe"]["grpc"]["service"]


def _probe_behind_tls(manifests: list[Manifest]) -> None:
    _container(manifests, "gateway")["livenessProbe"]["grpc"]["port"] = 7100


def _wrong_port(manifests: list[Manifest]) -> None:
    _of(manifests, "Service", "simulator")["spec"]["ports"][0]["port"] = 7110


def _wrong_container_port(manifests: list[Manifest]) -> None:
    _container(manifests, "trainer")["ports"][0]["containerPort"] = 7106


def _wrong_target(manifests: list[Manifest]) -> None:
    data = _config(manifests, "gateway")
    data["gateway.toml"] = data["gateway.toml"].replace("trainer:7105", "trainer-svc:7105")


def _one_address(manifests: list[Manifest]) -> None:
    del _of(manifests, "Service", "inference-policy")["spec"]["clusterIP"]


def _unknown_setting(manifests: list[Manifest]) -> None:
    _config(manifests, "simulator")["simulator.toml"] += 'case_dir = "/cases"\n'


def _wrong_value(manifests: list[Manifest]) -> None:
    _container(manifests, "rubric")["env"].append({"name": "ANAMNESIS_RUBRIC_VOID_SHARE", "value": "30"})


def _variable_of_another(manifests: list[Manifest]) -> None:
    _container(manifests, "rollout-worker")["env"].append({"name": "ANAMNESIS_SIMULATOR_DRAFT_SECONDS", "value": "4"})


def _unmounted_path(manifests: list[Manifest]) -> None:
    container = _container(manifests, "rubric")
    container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] != "cases"]


def _missing_arrow(manifests: list[Manifest]) -> None:
    _rules(manifests, "trainer", "egress").pop(0)


def _missing_half(manifests: list[Manifest]) -> None:
    rules = _rules(manifests, "inference-frozen", "ingress")
    rules[0]["from"] = [peer for peer in rules[0]["from"] if "rubric" not in str(peer)]


def _surplus_arrow(manifests: list[Manifest]) -> None:
    """The simulator may reach the trainer, in both policies."""
    for policy, direction, side, other in (
        ("simulator", "egress", "to", "trainer"),
        ("trainer", "ingress", "from", "simulator"),
    ):
        peer = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": other}}}
        _rules(manifests, policy, direction).append({side: [peer], "ports": [{"protocol": "TCP", "port": 7105}]})


def _open_world(manifests: list[Manifest]) -> None:
    _rules(manifests, "rubric", "egress").append({"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]})


def _open_listener(manifests: list[Manifest]) -> None:
    del _of(manifests, "Kafka", "anamnesis")["spec"]["kafka"]["listeners"][0]["networkPolicyPeers"]


def _peer_nobody_is(manifests: list[Manifest]) -> None:
    peer = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "debug"}}}
    _rules(manifests, "inference-policy", "ingress")[0]["from"].append(peer)


def _no_default_deny(manifests: list[Manifest]) -> None:
    manifests.remove(_of(manifests, "NetworkPolicy", "default-deny"))


def _missing_limits(manifests: list[Manifest]) -> None:
    del _container(manifests, "gateway")["resources"]["limits"]["memory"]


def _short_grace(manifests: list[Manifest]) -> None:
    _spec(manifests, "rollout-worker")["terminationGracePeriodSeconds"] = 120


def _longer_drain(manifests: list[Manifest]) -> None:
    _container(manifests, "simulator")["env"].append({"name": "ANAMNESIS_SIMULATOR_DRAIN_SECONDS", "value": "90"})


def _no_pause(manifests: list[Manifest]) -> None:
    del _container(manifests, "gateway")["lifecycle"]


def _inline_secret(manifests: list[Manifest]) -> None:
    entry = {"name": "ANAMNESIS_TRAINER_KAFKA__SASL_PASSWORD", "value": "correct horse"}
    _container(manifests, "trainer")["env"].append(entry)


def _secret_in_config(manifests: list[Manifest]) -> None:
    _config(manifests, "rollout-worker")["rollout-worker.toml"] += 'sasl_password = "correct horse"\n'


def _latest_image(manifests: list[Manifest]) -> None:
    _container(manifests, "rubric")["image"] = "registry.example.com/anamnesis/rubric:latest"


def _privileged(manifests: list[Manifest]) -> None:
    _container(manifests, "inference-policy")["securityContext"]["privileged"] = True


def _root(manifests: list[Manifest]) -> None:
    context = _spec(manifests, "simulator")["securityContext"]
    context["runAsNonRoot"], context["runAsUser"] = False, 0


def _token(manifests: list[Manifest]) -> None:
    _spec(manifests, "gateway")["automountServiceAccountToken"] = True


def _host_volume(manifests: list[Manifest]) -> None:
    _spec(manifests, "trainer")["volumes"].append({"name": "host", "hostPath": {"path": "/var/run"}})


def _lost_acl(manifests: list[Manifest]) -> None:
    _of(manifests, "KafkaUser", "trainer")["spec"]["authorization"]["acls"].pop(0)


def _surplus_acl(manifests: list[Manifest]) -> None:
    _of(manifests, "KafkaUser", "rollout-worker")["spec"]["authorization"]["acls"][0]["operations"] = ["All"]


def _certificate_of_another(manifests: list[Manifest]) -> None:
    volume = next(volume for volume in _spec(manifests, "rollout-worker")["volumes"] if volume["name"] == "kafka")
    volume["projected"]["sources"][1]["secret"]["name"] = "trainer"


def _plaintext_kafka(manifests: list[Manifest]) -> None:
    data = _config(manifests, "trainer")
    data["trainer.toml"] = data["trainer.toml"].partition("security_protocol")[0]


def _one_replica_in_sync(manifests: list[Manifest]) -> None:
    _of(manifests, "KafkaTopic", "anamnesis.rollout.requests.v1")["spec"]["config"]["min.insync.replicas"] = 1


def _misspelt_topic(manifests: list[Manifest]) -> None:
    metadata = _of(manifests, "KafkaTopic", "anamnesis.rollout.trajectories.v1")["metadata"]
    metadata["name"] = "anamnesis.rollout.trajectory.v1"


def _unknown_metric(manifests: list[Manifest]) -> None:
    scaler = _of(manifests, "HorizontalPodAutoscaler", "inference-policy")
    scaler["spec"]["metrics"][0]["pods"]["metric"]["name"] = "inference_queue_length"


def _more_workers_than_partitions(manifests: list[Manifest]) -> None:
    _of(manifests, "ScaledObject", "rollout-worker")["spec"]["maxReplicaCount"] = 48


def _another_group(manifests: list[Manifest]) -> None:
    trigger = _of(manifests, "ScaledObject", "rollout-worker")["spec"]["triggers"][0]
    trigger["metadata"]["consumerGroup"] = "rollout-worker"


def _fixed_replicas(manifests: list[Manifest]) -> None:
    _of(manifests, "Deployment", "gateway")["spec"]["replicas"] = 3


def _wrong_identity(manifests: list[Manifest]) -> None:
    _of(manifests, "Certificate", "simulator")["spec"]["uris"] = ["spiffe://anamnesis/trainer"]


def _one_in_plaintext(manifests: list[Manifest]) -> None:
    container = _container(manifests, "rubric")
    container["env"] = [entry for entry in container["env"] if "_TLS__" not in entry["name"]]


def _all_in_plaintext(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            container = manifest["spec"]["template"]["spec"]["containers"][0]
            container["env"] = [entry for entry in container["env"] if "_TLS__" not in entry["name"]]


def _removed_version(manifests: list[Manifest]) -> None:
    _of(manifests, "PodDisruptionBudget", "gateway")["apiVersion"] = "policy/v1beta1"


def _unknown_kind(manifests: list[Manifest]) -> None:
    manifests += parse("apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: thing, namespace: anamnesis}\n")


def _misspelt_field(manifests: list[Manifest]) -> None:
    spec = _spec(manifests, "gateway")
    spec["terminationGracePeriod"] = spec.pop("terminationGracePeriodSeconds")


def _misspelt_custom_field(manifests: list[Manifest]) -> None:
    spec = _of(manifests, "ScaledObject", "rollout-worker")["spec"]
    spec["maxReplicas"] = spec.pop("maxReplicaCount")


def _removed_strimzi_version(manifests: list[Manifest]) -> None:
    _of(manifests, "KafkaTopic", "anamnesis.dead-letters.v1")["apiVersion"] = "kafka.strimzi.io/v1beta2"


# Seen by rules that need no tool, in the base alone.
IN_THE_BASE = (
    Fault("a Service selects another name", "selectors", _wrong_selector),
    Fault("a Deployment selects another workload's pods", "selectors", _shared_selector),
    Fault("an engine has no startup probe", "probes", _missing_probe),
    Fault("a probe asks for another service's health", "probes", _wrong_probe_service),
    Fault("a probe asks for a service that no contract has", "probes", _misspelt_probe_service),
    Fault("liveness asks what readiness does", "probes", _readiness_as_liveness),
    Fault("a probe asks the port that wants certificates", "probes", _probe_behind_tls),
    Fault("a Service has another port than its pods", "ports", _wrong_port),
    Fault("a container declares another port than it listens on", "ports", _wrong_container_port),
    Fault("a caller's target is no Service", "ports", _wrong_target),
    Fault("a gRPC Service is not headless", "ports", _one_address),
    Fault("a setting that the service does not have", "settings", _unknown_setting),
    Fault("a value that the service refuses", "settings", _wrong_value),
    Fault("a variable that another service reads", "settings", _variable_of_another),
    Fault("a directory of the settings is not mounted", "settings", _unmounted_path),
    Fault("the trainer may not send to the policy", "arrows", _missing_arrow),
    Fault("the frozen engine does not receive from the rubrics", "arrows", _missing_half),
    Fault("the simulator may reach the trainer", "arrows", _surplus_arrow),
    Fault("a service may send to the whole world", "arrows", _open_world),
    Fault("anybody may connect to Kafka", "arrows", _open_listener),
    Fault("a policy lets in labels that nobody has", "arrows", _peer_nobody_is),
    Fault("there is no default deny", "arrows", _no_default_deny),
    Fault("a container has no memory limit", "resources", _missing_limits),
    Fault("the grace period is shorter than the drain", "lifecycle", _short_grace),
    Fault("an overlay drains longer than the grace period", "lifecycle", _longer_drain),
    Fault("preStop is gone", "lifecycle", _no_pause),
    Fault("a password stands in a variable", "secrets", _inline_secret),
    Fault("a password stands in a ConfigMap", "secrets", _secret_in_config),
    Fault("an image of no version", "images", _latest_image),
    Fault("a privileged container", "pod-security", _privileged),
    Fault("a pod runs as root", "pod-security", _root),
    Fault("a pod has a token for the API server", "pod-security", _token),
    Fault("a pod mounts its host", "pod-security", _host_volume),
    Fault("the trainer may not write requests", "kafka", _lost_acl),
    Fault("the worker may do anything to a topic", "kafka", _surplus_acl),
    Fault("the worker is the trainer to Kafka", "kafka", _certificate_of_another),
    Fault("the trainer speaks plaintext to Kafka", "kafka", _plaintext_kafka),
    Fault("one lost broker loses messages", "kafka", _one_replica_in_sync),
    Fault("a topic that the code does not know", "kafka", _misspelt_topic),
)
# Seen in an overlay with certificates and autoscaling.
IN_AN_OVERLAY = (
    Fault("an autoscaler watches a metric that nobody exports", "autoscaling", _unknown_metric),
    Fault("more workers than partitions", "autoscaling", _more_workers_than_partitions),
    Fault("lag of a group that nobody is in", "autoscaling", _another_group),
    Fault("replicas beside an autoscaler", "autoscaling", _fixed_replicas),
    Fault("a certificate bears another's name", "certificates", _wrong_identity),
    Fault("one workload speaks plaintext", "certificates", _one_in_plaintext),
    Fault("production speaks plaintext", "certificates", _all_in_plaintext),
)
BY_TOOLS = (
    Fault("an API version that Kubernetes has removed", "schema", _removed_version, by_tool=True),
    Fault("a kind that nobody knows", "schema", _unknown_kind, by_tool=True),
    Fault("a misspelt field of a pod", "schema", _misspelt_field, by_tool=True),
    Fault("a misspelt field of a ScaledObject", "schema", _misspelt_custom_field, by_tool=True),
    Fault("an API version that Strimzi has removed", "schema", _removed_strimzi_version, by_tool=True),
    Fault("a privileged container, to checkov", "CKV_K8S_16", _privileged, by_tool=True),
    Fault("no memory limit, to checkov", "CKV_K8S_13", _missing_limits, by_tool=True),
    Fault("no liveness probe, to checkov", "CKV_K8S_8", lambda m: _container(m, "rubric").pop("livenessProbe"), True),
)
FAULTS = (*IN_THE_BASE, *IN_AN_OVERLAY, *BY_TOOLS)
IN_DOCKERFILES = (
    DockerFault(
        "a base of no version", "DL3007", "rubric.Dockerfile", "FROM python:3.11.14-slim-bookworm", "FROM python:latest"
    ),
    DockerFault("an image runs as root", "DL3002", "gateway.Dockerfile", "USER 10001:10001", "USER root"),
    DockerFault("a package of no version", "DL3008", "inference.Dockerfile", "libnuma1=2.0.16-1", "libnuma1"),
)
