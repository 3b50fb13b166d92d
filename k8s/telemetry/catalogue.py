"""The table of metrics, and what each is called in Prometheus.

Invariant: a query built here names a metric that is in the table; a misspelt one raises when it is written, not when
somebody looks at an empty panel at night.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("metrics.toml")
_UNITS = {"s": "seconds", "By": "bytes"}
_PER = {"s": "second"}
# What a query may select or group by beside a metric: functions and keywords are no metrics, labels neither.
_IN_QUERY = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[{\[])")


@dataclass(frozen=True)
class Metric:
    name: str
    type: str
    unit: str
    description: str
    services: tuple[str, ...]
    # Services that may export it too, when they come to do what it measures.
    also: tuple[str, ...] = ()
    # What has to happen before it is exported; empty where a stack that works shows it.
    after: str = ""

    @property
    def prometheus(self) -> str:
        """Its name behind the collector's Prometheus exporter, without a histogram's _bucket, _sum or _count.

        As the exporter with add_metric_suffixes builds it: words joined by underscores, then the unit where no word
        says it yet, `ratio` for a gauge of unit 1, `total` for a counter.
        """
        words = [word for word in re.split(r"[^a-zA-Z0-9]+", self.name) if word]
        main, _, per = self.unit.partition("/")
        if main in _UNITS and _UNITS[main] not in words:
            words.append(_UNITS[main])
        if per in _PER and _PER[per] not in words:
            words += ["per", _PER[per]]
        if self.unit == "1" and self.type == "gauge":
            words.append("ratio")
        if self.type == "counter":
            words.append("total")
        return "_".join(words)

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its time series."""
        if self.type == "histogram":
            return tuple(f"{self.prometheus}_{part}" for part in ("bucket", "sum", "count"))
        return (self.prometheus,)


class UnknownMetric(Exception):
    """No service exports that."""


@cache
def catalogue() -> dict[str, Metric]:
    """By OpenTelemetry name."""
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["metric"]
    metrics = [
        Metric(**{**row, "services": tuple(row["services"]), "also": tuple(row.get("also", ()))}) for row in rows
    ]
    found = {metric.name: metric for metric in metrics}
    assert len(found) == len(metrics), "a metric stands twice in the table"
    return found


def series(name: str, part: str = "") -> str:
    """The time series of a metric: `part` is bucket, sum or count of a histogram, and nothing else's."""
    metric = catalogue().get(name)
    if metric is None:
        raise UnknownMetric(name)
    wanted = f"{metric.prometheus}_{part}" if part else metric.prometheus
    if wanted not in metric.series:
        raise UnknownMetric(f"{name} is a {metric.type}: {wanted}")
    return wanted


def metrics_of(query: str) -> set[str]:
    """OpenTelemetry names of all metrics that a PromQL query reads. Each selector has braces, be they empty.

    Raises UnknownMetric for a selector of anything else; recording rules (with a colon in their name) are not metrics.
    """
    by_series = {one: metric.name for metric in catalogue().values() for one in metric.series}
    found = set()
    for name in _IN_QUERY.findall(query):
        if ":" in name:
            continue
        if name not in by_series:
            raise UnknownMetric(name)
        found.add(by_series[name])
    return found
