"""Topics are those of the code, survive the loss of a broker, and each user may do what it does and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from k8s.check.configuration import readable
from k8s.check.manifests import Finding, Manifest, Pod, named, of_kind, subject
from k8s.check.topology import outside_calls
from service_kit.kafka.settings import KafkaSettings
from service_kit.kafka.topics import DEAD_LETTERS
from simulator_svc.rollout.worker import REQUESTS, TRAJECTORIES

RULE = "kafka"
# Topic operations of each caller. Nobody creates a topic, or reads what is not for it.
TOPICS = {
    "trainer": {REQUESTS: {"Write"}, TRAJECTORIES: {"Read"}, DEAD_LETTERS: {"Write"}},
    "rollout-worker": {REQUESTS: {"Read"}, TRAJECTORIES: {"Write"}, DEAD_LETTERS: {"Write"}},
    "kafka-lag": {REQUESTS: set[str]()},
    "dead-letters": {DEAD_LETTERS: {"Read", "Write"}, REQUESTS: {"Write"}, TRAJECTORIES: {"Write"}},
}


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    yield from _topics(manifests)
    yield from _users(manifests)
    for pod, _, settings in readable(manifests):
        kafka = getattr(settings, "kafka", None)
        if isinstance(kafka, KafkaSettings):
            for message in _wrong_client(manifests, pod, kafka):
                yield Finding(RULE, subject(pod.owner), message)


def _topics(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    found = {topic["metadata"]["name"] for topic in of_kind(manifests, "KafkaTopic")}
    for name in {REQUESTS, TRAJECTORIES, DEAD_LETTERS} ^ found:
        yield Finding(RULE, f"KafkaTopic/{name}", "is missing" if name not in found else "is used by nobody")
    brokers = sum(pool["spec"]["replicas"] for pool in of_kind(manifests, "KafkaNodePool"))
    limit = KafkaSettings().max_message_bytes
    for topic in of_kind(manifests, "KafkaTopic"):
        spec, config = topic["spec"], topic["spec"]["config"]
        if spec["replicas"] > brokers:
            yield Finding(RULE, subject(topic), f"wants {spec['replicas']} replicas of {brokers} brokers")
        if brokers > 1 and not 1 < config["min.insync.replicas"] < spec["replicas"]:
            message = f"min.insync.replicas {config['min.insync.replicas']} of {spec['replicas']}: a lost broker loses"
            yield Finding(RULE, subject(topic), f"{message} messages, or stops them")
        if config["max.message.bytes"] != limit:
            yield Finding(RULE, subject(topic), f"takes {config['max.message.bytes']} bytes, the services send {limit}")


def _users(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    users = {user["metadata"]["name"]: user for user in of_kind(manifests, "KafkaUser")}
    for name in {caller for caller, callee in outside_calls() if callee == "kafka"} - users.keys():
        yield Finding(RULE, f"KafkaUser/{name}", "is missing")
    for name, user in users.items():
        if "quotas" not in user["spec"]:
            yield Finding(RULE, subject(user), "has no quotas")
        allowed: dict[str, set[str]] = {}
        for acl in user["spec"]["authorization"]["acls"]:
            if acl["resource"]["type"] == "topic":
                allowed.setdefault(acl["resource"]["name"], set()).update(acl["operations"])
        wanted = {topic: operations | {"Describe"} for topic, operations in TOPICS.get(name, {}).items()}
        if allowed != wanted:
            yield Finding(RULE, subject(user), f"may {_shown(allowed)}, and does {_shown(wanted)}")


def _wrong_client(manifests: Sequence[Manifest], pod: Pod, kafka: KafkaSettings) -> Iterator[str]:
    cluster = named(manifests, "Kafka", "anamnesis")
    listeners = cluster["spec"]["kafka"]["listeners"] if cluster else []
    if kafka.bootstrap not in {f"anamnesis-kafka-bootstrap:{listener['port']}" for listener in listeners}:
        yield f"kafka.bootstrap = {kafka.bootstrap}, where no listener is"
    if kafka.security_protocol != "SSL" or kafka.ssl_certfile is None:
        yield f"kafka.security_protocol = {kafka.security_protocol}: the brokers know their clients by certificates"
        return
    shown = [
        source["secret"]["name"]
        for mount in pod.spec["containers"][0]["volumeMounts"]
        if PurePosixPath(kafka.ssl_certfile).is_relative_to(mount["mountPath"])
        for volume in pod.spec["volumes"]
        if volume["name"] == mount["name"]
        for source in volume.get("projected", {}).get("sources", [])
        if any(item["path"] == PurePosixPath(kafka.ssl_certfile).name for item in source["secret"]["items"])
    ]
    if shown != [pod.name]:
        yield f"shows the certificate of {shown}, which is not its own user's"


def _shown(operations: dict[str, set[str]]) -> str:
    return ", ".join(f"{'+'.join(sorted(of_topic))} {topic}" for topic, of_topic in sorted(operations.items()))
