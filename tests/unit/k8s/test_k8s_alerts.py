"""Alerts fire on what they are for, read metrics that exist, and each leads to a page that says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.telemetry.catalogue import metrics_of

K8S = Path(__file__).parents[3] / "k8s"
FILES = sorted(path for path in (K8S / "alerts").glob("*.yaml") if path.name != "kustomization.yaml")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing: apt install prometheus")
SECTIONS = ("**Symptom.**", "**What it means.**", "**First three commands**", "**Then.**")


def rules() -> Iterator[dict[str, Any]]:
    for path in FILES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, timeout=250)


def test_every_rule_reads_metrics_of_the_table_or_what_another_rule_records() -> None:
    for rule in rules():
        recorded = set(re.findall(r"anamnesis:[a-z_]+:[a-z0-9_]+", rule["expr"]))
        assert recorded <= RECORDED, rule
        assert metrics_of(rule["expr"]) or recorded, rule


def test_every_alert_has_a_severity_a_summary_and_a_runbook_and_no_runbook_is_without_an_alert() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "ticket"), name
        assert rule["annotations"]["summary"], name
        assert rule["annotations"]["runbook"] == f"k8s/runbooks/{name}.md"
    assert {path.stem for path in (K8S / "runbooks").glob("*.md")} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_runbook_says_what_is_seen_what_it_means_and_three_commands(name: str) -> None:
    text = (K8S / "runbooks" / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    places = [text.find(section) for section in SECTIONS]
    assert -1 not in places and places == sorted(places)
    commands = text.split("```")[1].strip().splitlines()
    assert len(commands) == 3
    for command in commands:
        if found := re.search(r"query instant \$PROMETHEUS '(.+)'$", command):
            assert metrics_of(found.group(1))
    assert set(re.findall(r"\*([A-Z]\w+)\*", text)) <= set(ALERTS), "it leads to an alert that does not exist"


def test_every_alert_is_tested_firing_and_silent() -> None:
    fires: set[str] = set()
    silent: set[str] = set()
    for path in (K8S / "alerts" / "tests").glob("*.yaml"):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for expected in test["alert_rule_test"]:
                (fires if expected["exp_alerts"] else silent).add(expected["alertname"])
    assert fires == silent == set(ALERTS)


@needs_promtool
def test_promtool_finds_the_rules_sound_and_their_tests_pass() -> None:
    checked = promtool("check", "rules", "--lint-fatal", *map(str, FILES))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", *map(str, sorted((K8S / "alerts" / "tests").glob("*.yaml"))))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
@pytest.mark.parametrize("file", [path.name for path in FILES])
def test_a_rule_that_never_fires_fails_its_test(file: str, tmp_path: Path) -> None:
    content = yaml.safe_load((K8S / "alerts" / file).read_text(encoding="utf-8"))
    broken = [rule for group in content["groups"] for rule in group["rules"] if "alert" in rule]
    for rule in broken:
        rule["expr"] = f"({rule['expr']}) and on () vector(0) > 0"
    (tmp_path / "tests").mkdir()
    (tmp_path / file).write_text(yaml.safe_dump(content), encoding="utf-8")
    shutil.copy(K8S / "alerts" / "tests" / file, tmp_path / "tests" / file)
    tested = promtool("test", "rules", str(tmp_path / "tests" / file))
    assert tested.returncode != 0
    for rule in broken:
        assert rule["alert"] in tested.stdout + tested.stderr
