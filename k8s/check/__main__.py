"""`make k8s-check`: render, validate, scan, hold against our own rules, and plant faults that must be seen.

Ends with `figures: {json}`; the exit code is 1 where a finding stands or a planted fault was not seen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from k8s.check.faults import FAULTS, IN_DOCKERFILES, DockerFault, Fault
from k8s.check.manifests import K8S, Finding, Manifest
from k8s.check.rules import ANYWHERE, GENERAL, PRODUCTION, WHOLE, findings
from k8s.check.tools import ToolFailed, Tools, dockerfile_findings, policy_findings, schema_findings
from k8s.check.waivers import apart, read_waivers

# The overlay that has every kind of thing in it: faults are planted there.
RICHEST = "cpu"
# The overlay of a small cluster, where services speak plaintext.
SMALL = "dev"
DOCKER = K8S / "docker"
# Of a namespace of their own, beside ours.
NEIGHBOURS = ("collector",)

Sets = dict[str, list[Manifest]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="k8s.check", description=__doc__)
    parser.add_argument("--tools", type=Path, required=True, help="the bin directory of the tools' environment")
    tools = Tools(parser.parse_args().tools)
    console = Console(highlight=False, soft_wrap=True)
    try:
        overlays = {path.name: tools.render(path) for path in sorted((K8S / "overlays").iterdir())}
        examples = {path.name: tools.render(path) for path in sorted((K8S / "examples").iterdir())}
        neighbours = {name: tools.render(K8S / name) for name in NEIGHBOURS}
        found = everything_found(tools, overlays, examples, neighbours)
        against, waived = apart(found, read_waivers())
        uncaught: list[Fault | DockerFault] = [*unseen_faults(tools, overlays[RICHEST]), *unseen_docker_faults(tools)]
    except ToolFailed as failed:
        console.print(f"error: {failed}", style="red", markup=False)
        return 1
    for name, manifests in {**overlays, **examples, **neighbours}.items():
        console.print(f"  {name}: {len(manifests)} manifests", markup=False)
    for finding in against:
        console.print(f"  {finding.rule}: {finding.subject}: {finding.message}", style="red", markup=False)
    for waiver in read_waivers():
        count = sum(waiver.covers(finding) for finding in waived)
        console.print(f"  waived, {count} times: {waiver.rule}. {' '.join(waiver.reason.split())}", markup=False)
    for fault in uncaught:
        console.print(f"  not seen by {fault.caught_by}: {fault.name}", style="red", markup=False)
    planted = len(FAULTS) + len(IN_DOCKERFILES)
    figures = {
        "manifests": sum(
            len(manifests) for manifests in [*overlays.values(), *examples.values(), *neighbours.values()]
        ),
        "findings": len(against),
        "waived": len(waived),
        "faults_planted": planted,
        "faults_caught": planted - len(uncaught),
    }
    print(f"figures: {json.dumps(figures)}")
    return 1 if against or uncaught else 0


def everything_found(tools: Tools, overlays: Sets, examples: Sets, neighbours: Sets) -> list[Finding]:
    found: list[Finding] = []
    for manifests in [*overlays.values(), *examples.values(), *neighbours.values()]:
        found += schema_findings(tools, manifests)
    for manifests in neighbours.values():
        found += findings(manifests, ANYWHERE)
    for of_set in policy_findings(tools, {**overlays, **examples, **neighbours}).values():
        found += of_set
    for name, manifests in overlays.items():
        found += findings(manifests, WHOLE if name == SMALL else PRODUCTION)
    base = overlays[RICHEST]
    for name, manifests in examples.items():
        # An example is applied beside an overlay and may name what is in it.
        held = set(findings(base, GENERAL))
        found += [finding for finding in findings([*base, *manifests], GENERAL) if finding not in held]
        assert manifests, f"{name} is empty"
    found += dockerfile_findings(tools, sorted(DOCKER.glob("*.Dockerfile")))
    return found


def unseen_faults(tools: Tools, whole: Sequence[Manifest]) -> list[Fault]:
    """Each fault is planted alone; it is seen where its check says more than it says of the whole manifests."""
    unseen = [
        fault
        for fault in FAULTS
        if not fault.by_tool and not _seen(fault, whole, findings(fault.planted(whole), PRODUCTION))
    ]
    scanned = [fault for fault in FAULTS if fault.by_tool and fault.caught_by != "schema"]
    reports = policy_findings(tools, {f"fault-{i}": fault.planted(whole) for i, fault in enumerate(scanned)})
    unseen += [fault for i, fault in enumerate(scanned) if not _names_rule(fault, reports[f"fault-{i}"])]
    for fault in FAULTS:
        if fault.by_tool and fault.caught_by == "schema":
            found = list(schema_findings(tools, fault.planted(whole)))
            if not _names_rule(fault, found):
                unseen.append(fault)
    return unseen


def unseen_docker_faults(tools: Tools) -> list[DockerFault]:
    unseen = []
    with tempfile.TemporaryDirectory() as scratch:
        for fault in IN_DOCKERFILES:
            file = Path(scratch) / fault.file
            file.write_text(fault.planted((DOCKER / fault.file).read_text(encoding="utf-8")), encoding="utf-8")
            if not _names_rule(fault, list(dockerfile_findings(tools, [file]))):
                unseen.append(fault)
    return unseen


def _seen(fault: Fault, whole: Sequence[Manifest], found: Sequence[Finding]) -> bool:
    before = set(findings(whole, PRODUCTION))
    return _names_rule(fault, [finding for finding in found if finding not in before])


def _names_rule(fault: Fault | DockerFault, found: Sequence[Finding]) -> bool:
    return any(finding.rule == fault.caught_by for finding in found)


if __name__ == "__main__":
    sys.exit(main())
