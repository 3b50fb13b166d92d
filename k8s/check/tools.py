"""The tools that judge beside our own rules, each run as a program of the environment .venv-k8s.

Invariant: what a tool does not know counts as wrong: an unknown kind, a resource it says nothing of, an output that
cannot be read.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from k8s.check.manifests import Finding, Manifest, pods, subject

KUBERNETES_VERSION = "1.37"
SCHEMAS = Path(__file__).parent / "schemas"
SECONDS = 300.0


class ToolFailed(Exception):
    """A tool could not do its work; the message is its own."""


class Tools:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def run(self, name: str, *arguments: str, codes: Sequence[int] = (0,)) -> str:
        """Standard output. Raises ToolFailed where the exit code is none of `codes`."""
        command = [str(self._directory / name), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        except FileNotFoundError as error:
            raise ToolFailed(f"{command[0]} is missing: run make k8s-check, which installs it") from error
        if done.returncode not in codes:
            raise ToolFailed(f"{name} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def render(self, directory: Path) -> list[Manifest]:
        rendered = yaml.safe_load_all(self.run("kubectl", "kustomize", str(directory)))
        return [document for document in rendered if document]


def schema_findings(tools: Tools, manifests: Sequence[Manifest]) -> Iterator[Finding]:
    """Kubernetes' own kinds against its schemas, with no property more; other kinds against schemas/ (JSON Schema)."""
    builtin: list[Manifest] = []
    for manifest in manifests:
        file = SCHEMAS / f"{manifest['apiVersion'].replace('/', '_')}_{manifest['kind']}.yaml"
        if not file.is_file():
            builtin.append(manifest)
            continue
        schema = yaml.safe_load(file.read_text(encoding="utf-8"))
        for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest):
            place = ".".join(str(step) for step in error.absolute_path)
            yield Finding("schema", subject(manifest), f"{place}: {error.message[:300]}")
    builtin += [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": pod.name}, "template": pod.template}
        for pod in pods(manifests)
        if pod.owner["kind"] == "LeaderWorkerSet"
    ]
    yield from _builtin_findings(tools, builtin)


def _builtin_findings(tools: Tools, manifests: Sequence[Manifest]) -> Iterator[Finding]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as file:
        yaml.safe_dump_all(manifests, file)
        file.flush()
        said = tools.run("kubernetes-validate", "--strict", "-k", KUBERNETES_VERSION, file.name, codes=(0, 1))
    passed = said.count(" passed for resource ")
    for line in said.splitlines():
        if line.startswith(("WARN", "ERROR")):
            shown = re.sub(r"^\w+\s+\S*\.yaml\s*", "", line)
            yield Finding("schema", "manifest", shown[:400])
            passed += 1
    if passed < len(manifests):
        yield Finding("schema", "manifest", f"kubernetes-validate spoke of {passed} of {len(manifests)} manifests")


def policy_findings(tools: Tools, sets: Mapping[str, Sequence[Manifest]]) -> dict[str, list[Finding]]:
    """checkov's failed checks, by the name of the set that they are in; one run for all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, manifests in sets.items():
            (Path(scratch) / f"{name}.yaml").write_text(yaml.safe_dump_all(manifests), encoding="utf-8")
        arguments = (
            "--framework",
            "kubernetes",
            "--skip-download",
            "--quiet",
            "--output",
            "json",
            "--directory",
            scratch,
        )
        report = _one_report(tools.run("checkov", *arguments, codes=(0, 1)))
    found: dict[str, list[Finding]] = {name: [] for name in sets}
    for failed in report["results"]["failed_checks"]:
        rule, message = failed["check_id"], failed["check_name"]
        found[Path(failed["file_path"]).stem].append(Finding(rule, _resource(failed["resource"]), message))
    if report["summary"]["parsing_errors"]:
        raise ToolFailed(f"checkov could not read {report['results'].get('parsing_errors')}")
    return found


def _one_report(text: str) -> dict[str, Any]:
    report: Any = json.loads(text)
    if not isinstance(report, dict) or "results" not in report or not report["summary"]["passed"]:
        raise ToolFailed(f"checkov looked at nothing: {text[:300]}")
    return report


def _resource(name: str) -> str:
    """Deployment.anamnesis.gateway as Deployment/gateway."""
    kind, *_, last = name.split(".")
    return f"{kind}/{last}"


def dockerfile_findings(tools: Tools, files: Sequence[Path]) -> Iterator[Finding]:
    """hadolint's findings, notes too."""
    said = tools.run("hadolint", "--no-fail", "--format", "json", *map(str, files))
    for found in json.loads(said):
        yield Finding(found["code"], Path(found["file"]).name, f"line {found['line']}: {found['message']}")
