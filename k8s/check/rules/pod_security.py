"""The restricted profile of the Pod Security Standards, and what it does not ask for: a read-only root, no token.

Source: kubernetes.io/docs/concepts/security/pod-security-standards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8s.check.manifests import Finding, Manifest, Pod, of_kind, pods, subject

RULE = "pod-security"
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def check(manifests: Sequence[Manifest]) -> Iterator[Finding]:
    for pod in pods(manifests):
        for message in [*_of_pod(pod), *(m for container in pod.containers for m in _of_container(container))]:
            yield Finding(RULE, subject(pod.owner), message)
    for namespace in of_kind(manifests, "Namespace"):
        if namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce") != "restricted":
            yield Finding(RULE, subject(namespace), "does not enforce the restricted profile")


def _of_pod(pod: Pod) -> Iterator[str]:
    spec, context = pod.spec, pod.spec.get("securityContext", {})
    if any(spec.get(field) for field in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares a namespace of its host"
    if context.get("runAsNonRoot") is not True or context.get("runAsUser", 0) == 0:
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "has no seccomp profile"
    if spec.get("automountServiceAccountToken") is not False:
        yield "is given a token for the API server"
    for volume in spec.get("volumes", []):
        if not VOLUMES & set(volume):
            yield f"volume {volume['name']} is of a kind that is not allowed"


def _of_container(container: Manifest) -> Iterator[str]:
    context, name = container.get("securityContext", {}), container["name"]
    if context.get("privileged"):
        yield f"container {name} is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"container {name} may gain privileges"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context.get("capabilities", {}).get("add"):
        yield f"container {name} keeps capabilities"
    if context.get("readOnlyRootFilesystem") is not True:
        yield f"container {name} may write to its image"
