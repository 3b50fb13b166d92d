"""Writes the dashboards as Grafana reads them (`make dashboards`). A test says when that was forgotten."""

from __future__ import annotations

import json
from pathlib import Path

from k8s.dashboards.learning import JUDGE, PATIENT, ROLLOUT, TRAINING
from k8s.dashboards.panel import grafana
from k8s.dashboards.serving import INFERENCE, KAFKA, SERVICES

HERE = Path(__file__).parent
DASHBOARDS = (SERVICES, INFERENCE, TRAINING, ROLLOUT, PATIENT, JUDGE, KAFKA)


def written() -> dict[Path, str]:
    """File and content of each dashboard."""
    return {
        HERE / f"{dashboard.uid.removeprefix('anamnesis-')}.json": json.dumps(grafana(dashboard), indent=1) + "\n"
        for dashboard in DASHBOARDS
    }


def main() -> None:
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(HERE.parents[1]))


if __name__ == "__main__":
    main()
