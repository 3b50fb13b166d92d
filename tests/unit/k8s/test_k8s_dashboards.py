"""The dashboards are generated, and show nothing that no service exports."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k8s.dashboards.generate import HERE, written
from k8s.telemetry.catalogue import catalogue, metrics_of

DASHBOARDS = {path.name: json.loads(text) for path, text in written().items()}


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def test_the_files_are_what_the_code_makes() -> None:
    found = {path: path.read_text(encoding="utf-8") for path in HERE.glob("*.json")}
    assert found == written(), "run make dashboards"


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_reads_metrics_of_the_table(name: str) -> None:
    for query in queries(DASHBOARDS[name]):
        assert metrics_of(query), f"{name}: {query} reads no metric at all"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt install prometheus")
def test_every_query_is_promql(tmp_path: Path) -> None:
    """As the expressions of recording rules, which promtool parses."""
    asked = [query for dashboard in DASHBOARDS.values() for query in queries(dashboard) if "label_values" not in query]
    rules = [{"record": f"panel:{n}", "expr": q.replace("$__rate_interval", "5m")} for n, q in enumerate(asked)]
    file = tmp_path / "panels.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_on_a_dashboard() -> None:
    shown = {
        metric for dashboard in DASHBOARDS.values() for query in queries(dashboard) for metric in metrics_of(query)
    }
    # Sizes of REST bodies are for who looks for them, not for a panel.
    unseen = {name for name in catalogue() if not name.startswith("http.server.")} - shown
    assert unseen == set()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_places_of_their_own(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
