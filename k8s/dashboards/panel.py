"""What Grafana's JSON needs of a dashboard, and how panels are laid out on its grid of 24 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from k8s.telemetry.catalogue import catalogue, series

COLUMNS = 24
HEIGHT = 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The window of rates: Grafana makes it fit the resolution.
WINDOW = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """`legend` is Grafana's: {{label}} is filled in."""

    text: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    title: str
    queries: Sequence[Query]
    unit: str = "short"
    description: str = ""
    width: int = 8
    # Where a point leads to a trace: of histograms, whose buckets bear exemplars.
    exemplars: bool = False
    greatest: float | None = None


@dataclass(frozen=True)
class Dashboard:
    uid: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    # Name, label, and the metric whose values of that label it offers.
    variables: Sequence[tuple[str, str, str]] = field(default=())


def rate(metric: str, by: str, where: str = "") -> str:
    """Of a counter, or of how often a histogram was recorded."""
    return f"sum by ({by}) (rate({_counted(metric)}{{{where}}}[{WINDOW}]))"


def share(metric: str, of: str, where: str = "", by: str = "") -> str:
    """What part of all is `of`, a selector beside `where`; 0 while there is some and none of it."""
    grouped = f" by ({by})" if by else ""
    counted = _counted(metric)
    some = f"sum{grouped} (rate({counted}{{{_both(where, of)}}}[{WINDOW}]))"
    every = f"sum{grouped} (rate({counted}{{{where}}}[{WINDOW}]))"
    return f"({some} or {every} * 0) / ({every} > 0)"


def quantile(share_below: float, metric: str, by: str = "", where: str = "") -> str:
    labels = ", ".join(filter(None, ("le", by)))
    inner = f"rate({series(metric, 'bucket')}{{{where}}}[{WINDOW}])"
    return f"histogram_quantile({share_below}, sum by ({labels}) ({inner}))"


def quantiles(metric: str, by: str = "", where: str = "") -> list[Query]:
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        Query(quantile(0.5, metric, by, where), f"p50{legend}"),
        Query(quantile(0.95, metric, by, where), f"p95{legend}"),
    ]


def now(metric: str, by: str = "", where: str = "", how: str = "sum") -> str:
    grouped = f" by ({by})" if by else ""
    return f"{how}{grouped} ({series(metric)}{{{where}}})"


def _counted(metric: str) -> str:
    histogram = metric in catalogue() and catalogue()[metric].type == "histogram"
    return series(metric, "count" if histogram else "")


def _both(*selectors: str) -> str:
    return ", ".join(filter(None, selectors))


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["anamnesis"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_datasource(), *(_variable(*variable) for variable in dashboard.variables)]},
        "panels": list(_placed(dashboard.rows)),
    }


def _placed(rows: Sequence[tuple[str, Sequence[Panel]]]) -> Sequence[dict[str, Any]]:
    placed: list[dict[str, Any]] = []
    top = 0
    for title, panels in rows:
        placed.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}})
        top += 1
        left = 0
        for panel in panels:
            if left + panel.width > COLUMNS:
                left, top = 0, top + HEIGHT
            placed.append(_panel(panel, {"x": left, "y": top, "w": panel.width, "h": HEIGHT}))
            left += panel.width
        top += HEIGHT
    return [{"id": number, **panel} for number, panel in enumerate(placed, 1)]


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    custom = {"showPoints": "never", "fillOpacity": 10, "spanNulls": True}
    defaults: dict[str, Any] = {"unit": panel.unit, "min": None, "max": panel.greatest, "custom": custom}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": query.text,
                "legendFormat": query.legend or "__auto",
                "exemplar": panel.exemplars,
                "datasource": DATASOURCE,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, label: str, metric: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": f"label_values({_counted(metric)}{{}}, {label})", "refId": name},
        "includeAll": True,
        "multi": True,
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
    }
