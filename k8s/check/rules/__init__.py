"""Our own rules over rendered manifests. Each is a function from manifests to findings, and knows one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from k8s.check.manifests import Finding, Manifest
from k8s.check.rules import (
    arrows,
    autoscaling,
    certificates,
    images,
    kafka,
    lifecycle,
    pod_security,
    ports,
    probes,
    resources,
    secrets,
    selectors,
    settings,
)

Rule = Callable[[Sequence[Manifest]], Iterable[Finding]]

# What holds for any pod, also one of another namespace whose image is not ours.
ANYWHERE: tuple[Rule, ...] = (
    pod_security.check,
    resources.check,
    secrets.check,
)
# What holds for any set of manifests of ours, an example too.
GENERAL: tuple[Rule, ...] = (
    *ANYWHERE,
    images.check,
    selectors.check,
)
# What holds for a whole deployment.
WHOLE: tuple[Rule, ...] = (
    *GENERAL,
    arrows.check,
    autoscaling.check,
    certificates.check,
    kafka.check,
    lifecycle.check,
    ports.check,
    probes.check,
    settings.check,
)
# What holds where strangers are near.
PRODUCTION: tuple[Rule, ...] = (*WHOLE, certificates.required)


def findings(manifests: Sequence[Manifest], rules: Iterable[Rule] = WHOLE) -> list[Finding]:
    return [finding for rule in rules for finding in rule(manifests)]
