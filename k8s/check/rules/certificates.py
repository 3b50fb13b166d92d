"""Either no workload speaks mutual TLS, or every one does, with the certificate that bears its own name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8s.check.configuration import readable
from k8s.check.manifests import Finding, Manifest, named, subject
from service_kit.grpc.callers import SPIFFE

RULE = "certificates"


def required(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    """Outside of a small cluster somebody has to speak TLS, and then, by the other rule, everybody."""
    if not any(settings.tls is not None for _, _, settings in readable(manifests)):
        yield Finding(RULE, "overlay", "no workload shows or asks for a certificate")


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    with_tls: list[str] = []
    without: list[str] = []
    for pod, _, settings in readable(manifests):
        (with_tls if settings.tls is not None else without).append(subject(pod.owner))
        if settings.tls is None:
            continue
        mount = str(settings.tls.certificate.parent)
        mounts = {m["mountPath"]: m["name"] for m in pod.spec["containers"][0]["volumeMounts"]}
        volume: Manifest = next((v for v in pod.spec["volumes"] if v["name"] == mounts.get(mount)), {})
        secret = volume.get("secret", {}).get("secretName")
        certificate = named(manifests, "Certificate", pod.name)
        if certificate is None or certificate["spec"]["secretName"] != secret:
            yield Finding(RULE, subject(pod.owner), f"the Secret {secret} is not its Certificate's")
        elif certificate["spec"].get("uris") != [f"{SPIFFE}{pod.name}"]:
            yield Finding(RULE, subject(certificate), f"its callees would know it as {certificate['spec'].get('uris')}")
        elif pod.name not in certificate["spec"].get("dnsNames", []):
            yield Finding(RULE, subject(certificate), f"its callers look for the name {pod.name}")
    if with_tls:
        for name in without:
            yield Finding(RULE, name, "speaks plaintext where the others ask for certificates")
